//! A process that was started and what its caller can still do with it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::Error;

/// A process on its way to its program. Dropping this does not end it; the caller waits for it by `pidfd`.
#[derive(Debug)]
pub struct Launched {
    /// Its id in the caller's PID namespace.
    pub pid: i32,
    /// Readable when it has ended; for waitid(P_PIDFD) and pidfd_send_signal(2).
    pub pidfd: OwnedFd,
    /// The master of its terminal, where it has one.
    pub console: Option<OwnedFd>,
    channel: OwnedFd,
}

impl Launched {
    /// Lets a held program start.
    pub fn release(&mut self) -> Result<(), Error> {
        let _ = &self.channel;
        Err(Error::config("not yet"))
    }

    /// Returns once execve succeeded, or with what failed; the process has ended then and is to be reaped.
    pub fn wait_exec(&mut self) -> Result<(), Error> {
        Err(Error::config("not yet"))
    }
}

/// Readable when [`Launched::wait_exec`] has something to say: a caller with an event loop waits there.
impl AsFd for Launched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
