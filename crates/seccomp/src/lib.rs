//! Seccomp: a profile becomes a BPF program, cached by hash.
//!
//! It owns the OCI `LinuxSeccomp` types, Docker's profile format and default profile, the tables of system call
//! numbers and the compiler from one to the other. Which profile a container gets is decided elsewhere.

mod assembler;
mod cache;
mod compare;
mod compile;
mod error;
mod multiplex;
mod oci;
mod profile;
mod program;
mod table;

pub use cache::Source;
pub use compile::compile;
pub use error::Error;
pub use oci::{Action, Architecture, LinuxSeccomp, LinuxSeccompArg, LinuxSyscall, Operator};
pub use profile::{Kernel, Profile};
pub use program::Program;
