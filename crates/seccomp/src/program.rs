//! A compiled filter and its way into the kernel.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
};

/// A compiled filter.
#[derive(Clone)]
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

    /// Whether a system call may wait for a supervisor's answer, so that [`Program::load`] gives a listener.
    pub fn notifies(&self) -> bool {
        self.flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32 != 0
    }

    /// Installs the filter on the calling thread, which must have CAP_SYS_ADMIN in its user namespace or
    /// no_new_privs. Gives the listener's descriptor (close-on-exec) where a rule notifies.
    /// Async-signal-safe: one system call, nothing allocated.
    pub fn load(&self) -> io::Result<Option<OwnedFd>> {
        let program = libc::sock_fprog {
            len: self.instructions.len() as u16,
            filter: self.instructions.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel reads `len` instructions and writes none; both outlive the call.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, self.flags, &raw const program)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: with NEW_LISTENER the result is a new descriptor, which is ours.
        Ok(self.notifies().then(|| unsafe { OwnedFd::from_raw_fd(result as i32) }))
    }
}
