//! The sandbox: an OCI config becomes a process ready to exec.
//!
//! [`launch`] starts a container's first process, [`join`] a further one in it. Both take complete descriptions, decide
//! nothing, and give back a pidfd. What was asked for and cannot be had is an [`Error`], never silently less.

pub mod capabilities;
mod channel;
mod copy_up;
mod devices;
mod error;
mod furnish;
mod gate;
pub mod hooks;
mod identity;
pub mod init;
mod join;
mod kernel;
mod labels;
mod launch;
mod launched;
mod limits;
mod masks;
mod mounts;
mod namespaces;
mod netdevices;
mod notify;
mod plan;
mod process;
mod program;
mod resolve;
mod root;
mod seal;
mod signals;
pub mod spec;
mod streams;
mod sys;
mod sysctl;
mod terminal;
mod trace;
pub mod userns;
mod workdir;

pub use error::{Error, Stage};
pub use furnish::furnish;
pub use gate::Gate;
pub use join::join;
pub use launch::launch;
pub use launched::Launched;
pub use mounts::mount_options;
pub use notify::{Listener, connect};
pub use plan::{Container, Join, Manner, Plan, Rootfs, Stdio};
pub use seal::seal;
pub use trace::Trace;
