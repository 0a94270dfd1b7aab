//! The name server of a container: it answers at 127.0.0.11 in the container's network namespace for the names of its
//! networks, and forwards everything else from the namespace of whoever runs it.
//!
//! - [`message`]: DNS, bytes in, bytes out
//! - [`records`]: who has which name
//! - [`filter`]: what may be asked for, and what becomes of the answers
//! - [`server`]: the sockets, as one descriptor for somebody's loop

mod connection;
mod filter;
mod forward;
mod message;
mod records;
mod redirect;
mod server;

pub use filter::{Filter, Pin};
pub use message::Name;
pub use server::{Server, Settings, Sockets};
