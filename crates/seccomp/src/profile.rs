//! Docker's profile format: an OCI filter whose rules depend on capabilities, architecture and kernel.

use crate::{Architecture, Error, LinuxSeccomp};

/// The version of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kernel {
    /// 6 of 6.18
    pub major: u32,
    /// 18 of 6.18
    pub minor: u32,
}

impl Kernel {
    /// The kernel that is running.
    pub fn running() -> Self {
        Self { major: 0, minor: 0 }
    }
}

/// A profile in Docker's format or the OCI's (the latter is the former without conditions).
#[derive(Clone, Debug)]
pub struct Profile {}

impl Profile {
    /// Docker's default profile.
    pub fn docker_default() -> Self {
        Self {}
    }

    /// Reads a profile.
    pub fn parse(_json: &str) -> Result<Self, Error> {
        Err(Error::InvalidProfile { why: String::new() })
    }

    /// Settles the conditions for a container with these capabilities (its bounding set, `CAP_…`).
    pub fn resolve(
        &self,
        _capabilities: &[String],
        _architecture: Architecture,
        _kernel: Kernel,
    ) -> LinuxSeccomp {
        LinuxSeccomp {
            default_action: crate::Action::Kill,
            default_errno_ret: None,
            architectures: Vec::new(),
            flags: Vec::new(),
            listener_path: None,
            listener_metadata: None,
            syscalls: Vec::new(),
        }
    }
}
