//! The kernel's side of containers' networks: links, addresses, the packet filter. It takes complete descriptions, decides
//! nothing, prints nothing.

pub mod attach;
pub mod bridge;
pub mod cable;
pub mod connect;
pub mod description;
pub mod doctor;
pub mod egress;
pub mod error;
pub mod hub;
mod inner;
mod keyed;
pub mod link;
pub mod names;
pub mod namespace;
pub mod netlink;
pub mod nftables;
mod poll;
pub mod relay;
pub mod services;
mod shaper;
pub mod sysctl;
