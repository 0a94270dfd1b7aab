//! The way into a cgroup for a process that has just been cloned.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

/// Open descriptors (close-on-exec) through which a child enters the cgroup; made before the clone.
#[derive(Debug)]
pub struct Entry {
    pub(crate) unified: Option<OwnedFd>,
    pub(crate) tasks: Vec<OwnedFd>,
}

impl Entry {
    /// The directory of the v2 cgroup, for `clone3(CLONE_INTO_CGROUP)`; none on a machine without v2.
    pub fn unified_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Moves the calling process, which must have a single thread, into the cgroup of every v1 hierarchy; the v2
    /// cgroup is entered with [`Entry::unified_fd`]. Async-signal-safe: nothing but `write(2)`.
    ///
    /// The descriptors are of `tasks`, not of `cgroup.procs`: for a thread that moves itself the kernel (since 5.5)
    /// skips its lock on every fork of the machine, whose first taking waits for an RCU grace period: 5 ms against
    /// 10 µs a hierarchy, measured on 6.18.
    pub fn join(&self) -> io::Result<()> {
        for tasks in &self.tasks {
            // SAFETY: the buffer is a one-byte static and the descriptor is open for as long as `self` lives.
            let written = unsafe { libc::write(tasks.as_raw_fd(), c"0".as_ptr().cast(), 1) };
            if written != 1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}
