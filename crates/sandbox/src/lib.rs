//! The sandbox: an OCI config becomes a process ready to exec.
//!
//! [`launch`] starts a container's first process, [`join`] a further one in it. Both take complete descriptions, decide
//! nothing, and give back a pidfd. What was asked for and cannot be had is an [`Error`], never silently less.

mod error;
pub mod init;
mod join;
mod launch;
mod launched;
mod plan;
pub mod spec;
pub mod userns;

pub use error::{Error, Stage};
pub use join::join;
pub use launch::launch;
pub use launched::Launched;
pub use plan::{Join, Plan, Rootfs, Stdio};
