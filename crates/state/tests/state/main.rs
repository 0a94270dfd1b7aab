//! The database as its users see it: rows and events, many processes at once, crashes, the living and the dead.

mod common;
mod rows;
