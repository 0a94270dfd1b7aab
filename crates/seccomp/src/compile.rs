//! From an OCI filter to classic BPF.

use crate::{Error, LinuxSeccomp, Program};

/// Compiles a filter for the native architecture and the sub-architectures that it names.
pub fn compile(_seccomp: &LinuxSeccomp) -> Result<Program, Error> {
    Err(Error::Unsupported { why: String::new() })
}
