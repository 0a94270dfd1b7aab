//! The one epoll of the monitor, and the names of what it watches.
//!
//! Owns the registration state: a watched descriptor knows what it waits for, and leaves when it is dropped.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::rc::Rc;

use crate::error::{Error, Result};

/// What an event is about. `u32`s are the ids of processes and connections, which are never used twice: an event
/// that comes after its subject has gone finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// A new connection on the control socket.
    Listener,
    /// A signal to the monitor itself.
    Signals,
    /// CRIU says how a checkpoint goes.
    Checkpoint,
    /// Something for what serves the container's network.
    Network,
    /// The process that holds an ordinary user's network has ended.
    Hub,
    /// A process has ended.
    Exit(u32),
    /// A process being started says how that went.
    Start(u32),
    /// A process has written: its stdout or terminal (0), its stderr (1).
    Output(u32, u8),
    /// A process's stdin takes more.
    Input(u32),
    /// A connection has a request, or takes more events.
    Connection(u32),
    /// A client's stdin has bytes.
    Source(u32),
    /// A client's stdout (0) or stderr (1) takes more.
    Sink(u32, u8),
}

impl Token {
    fn pack(self) -> u64 {
        let (kind, id, part) = match self {
            Self::Listener => (0, 0, 0),
            Self::Signals => (1, 0, 0),
            Self::Exit(id) => (2, id, 0),
            Self::Start(id) => (3, id, 0),
            Self::Output(id, part) => (4, id, part),
            Self::Input(id) => (5, id, 0),
            Self::Connection(id) => (6, id, 0),
            Self::Source(id) => (7, id, 0),
            Self::Sink(id, part) => (8, id, part),
            Self::Checkpoint => (9, 0, 0),
            Self::Network => (10, 0, 0),
            Self::Hub => (11, 0, 0),
        };
        u64::from(id) << 16 | u64::from(part) << 8 | kind
    }

    fn unpack(packed: u64) -> Self {
        let (id, part) = ((packed >> 16) as u32, (packed >> 8) as u8);
        match packed as u8 {
            0 => Self::Listener,
            1 => Self::Signals,
            2 => Self::Exit(id),
            3 => Self::Start(id),
            4 => Self::Output(id, part),
            5 => Self::Input(id),
            6 => Self::Connection(id),
            7 => Self::Source(id),
            8 => Self::Sink(id, part),
            9 => Self::Checkpoint,
            10 => Self::Network,
            _ => Self::Hub,
        }
    }
}

/// Readable, an end of file or an error.
pub const READ: u32 = libc::EPOLLIN as u32;
/// Writable, or an error.
pub const WRITE: u32 = libc::EPOLLOUT as u32;
/// An error only: of a pipe, that nobody reads it any more.
pub const BROKEN: u32 = libc::EPOLLERR as u32;

/// The epoll instance; what is watched shares it.
#[derive(Debug, Clone)]
pub struct Epoll(Rc<OwnedFd>);

impl Epoll {
    /// A new one.
    pub fn new() -> Result<Self> {
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(Error::last("cannot make an epoll instance"));
        }
        // SAFETY: the call has just made this descriptor, and nobody else has it.
        Ok(Self(Rc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Waits for events, at most `timeout` milliseconds (-1: for ever), and gives them with the kernel's bits.
    pub fn wait(&self, timeout: i32) -> io::Result<Vec<(Token, u32)>> {
        const ROOM: usize = 16;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; ROOM];
        // SAFETY: `events` has room for as many events as the kernel is told.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), ROOM as i32, timeout) };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(Vec::new()) } else { Err(error) };
        }
        Ok(events[..count as usize].iter().map(|event| (Token::unpack(event.u64), event.events)).collect())
    }

    /// Takes a descriptor in, waiting for nothing yet.
    pub fn watch(&self, fd: OwnedFd, token: Token) -> Watched {
        Watched { fd, token, interest: 0, epoll: self.clone() }
    }

    fn control(&self, operation: i32, fd: i32, token: Token, interest: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest, u64: token.pack() };
        // SAFETY: `event` is valid for the call, which does not keep it.
        match unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// A descriptor in the epoll, with what it waits for.
#[derive(Debug)]
pub struct Watched {
    fd: OwnedFd,
    token: Token,
    interest: u32,
    epoll: Epoll,
}

impl Watched {
    /// Waits for `interest` from now on. With none it leaves the epoll altogether: EPOLLHUP and EPOLLERR are reported
    /// whether asked for or not, and would wake us for ever.
    pub fn set(&mut self, interest: u32) -> io::Result<()> {
        if interest == self.interest {
            return Ok(());
        }
        let operation = match (self.interest, interest) {
            (0, _) => libc::EPOLL_CTL_ADD,
            (_, 0) => libc::EPOLL_CTL_DEL,
            _ => libc::EPOLL_CTL_MOD,
        };
        self.epoll.control(operation, self.fd.as_raw_fd(), self.token, interest)?;
        self.interest = interest;
        Ok(())
    }
}

impl Drop for Watched {
    /// Closing is not enough: an open file description that somebody else shares, such as a client's stdout, stays in
    /// the epoll after our close, and its events would name a descriptor that is gone.
    fn drop(&mut self) {
        let _ = self.set(0);
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_kernel() {
        let all = [
            Token::Listener,
            Token::Signals,
            Token::Exit(1),
            Token::Start(u32::MAX),
            Token::Output(7, 1),
            Token::Input(9),
            Token::Connection(u32::MAX),
            Token::Source(3),
            Token::Sink(u32::MAX, 1),
            Token::Checkpoint,
            Token::Network,
        ];
        assert!(all.iter().all(|&token| Token::unpack(token.pack()) == token));
    }
}
