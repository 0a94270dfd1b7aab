//! The kernel's side of containers' networks: links, addresses, the packet filter. It takes complete descriptions, decides
//! nothing, prints nothing.

pub mod error;
pub mod names;
pub mod namespace;
pub mod netlink;
mod poll;
