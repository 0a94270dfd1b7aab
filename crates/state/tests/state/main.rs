//! The database as its users see it: rows and events, many processes at once, crashes, the living and the dead.

mod children;
mod common;
mod crowd;
mod living;
mod networks;
mod rows;
