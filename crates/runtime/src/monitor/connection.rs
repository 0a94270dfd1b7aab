//! One client's connection: bytes and descriptors become lines, lines go out. What a line means is decided elsewhere.
//!
//! The peer may be hostile: half a message, a megabyte of nothing, descriptors with every byte, or never reading.
//! Each of those ends its own connection and costs the others nothing.

use std::collections::VecDeque;
use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::epoll::{self, Epoll, Token, Watched};
use super::stdio::send;

/// Longest line, in bytes: an exec's environment may be large.
const LONGEST: usize = 1024 * 1024;
/// Bytes of unread events after which a client is taken for dead.
const UNREAD: usize = 64 * 1024;
/// Descriptors that one message may carry: stdin, stdout, stderr.
const DESCRIPTORS: usize = 3;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer closed it, or broke it.
    Closed,
    /// A line longer than it may be.
    TooLong,
    /// More descriptors than it may send, or some that no request asked for.
    TooManyDescriptors,
}

/// A stream socket with its unfinished line, its unclaimed descriptors and its unsent events.
#[derive(Debug)]
pub struct Connection {
    socket: Watched,
    received: Vec<u8>,
    /// How much of `received` holds no line end, so that a peer who sends byte by byte costs no more than another.
    scanned: usize,
    descriptors: VecDeque<OwnedFd>,
    unsent: Vec<u8>,
}

impl Connection {
    /// Takes over a connected stream socket.
    pub fn new(socket: OwnedFd, epoll: &Epoll, id: u32) -> io::Result<Self> {
        let mut socket = epoll.watch(socket, Token::Connection(id));
        socket.set(epoll::READ)?;
        Ok(Self {
            socket,
            received: Vec::new(),
            scanned: 0,
            descriptors: VecDeque::new(),
            unsent: Vec::new(),
        })
    }

    /// Reads once. True where something came and there may be more.
    pub fn receive(&mut self) -> Result<bool, End> {
        let mut bytes = [0_u8; 4096];
        // Room for exactly the descriptors allowed, aligned as a cmsghdr must be.
        let mut control = [0_u64; 4];
        const { assert!(size_of::<[u64; 4]>() >= size_of::<libc::cmsghdr>() + DESCRIPTORS * size_of::<RawFd>()) };
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: an all-zero msghdr is a valid value of that type.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<libc::cmsghdr>() + DESCRIPTORS * size_of::<RawFd>();
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: `message` names `bytes` and `control` with their lengths; both outlive the call.
        let count = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, flags) };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            let again = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            return if again { Ok(false) } else { Err(End::Closed) };
        };
        self.keep_descriptors(&message, &control);
        // MSG_CTRUNC: there were more, which the kernel has closed.
        if message.msg_flags & libc::MSG_CTRUNC != 0 || self.descriptors.len() > 2 * DESCRIPTORS {
            return Err(End::TooManyDescriptors);
        }
        if count == 0 {
            return Err(End::Closed);
        }
        self.received.extend_from_slice(&bytes[..count]);
        Ok(true)
    }

    /// Owns the descriptors of a received message.
    fn keep_descriptors(&mut self, message: &libc::msghdr, control: &[u64; 4]) {
        let header = size_of::<libc::cmsghdr>();
        let length = message.msg_controllen.min(size_of_val(control));
        if length < header {
            return;
        }
        // SAFETY: the kernel has written a whole cmsghdr at the start of `control`, which is aligned for it.
        let first = unsafe { &*control.as_ptr().cast::<libc::cmsghdr>() };
        if first.cmsg_level != libc::SOL_SOCKET || first.cmsg_type != libc::SCM_RIGHTS {
            return;
        }
        let count = (first.cmsg_len.min(length) - header) / size_of::<RawFd>();
        for index in 0..count {
            // SAFETY: the message's data follows its header, `count` descriptors long.
            let fd: RawFd = unsafe {
                control
                    .as_ptr()
                    .cast::<u8>()
                    .add(header + index * size_of::<RawFd>())
                    .cast::<RawFd>()
                    .read_unaligned()
            };
            // SAFETY: the kernel has just installed this descriptor for us, and nobody else has it.
            self.descriptors.push_back(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }

    /// The next whole line, without its end.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>, End> {
        if let Some(end) = self.received[self.scanned..].iter().position(|&byte| byte == b'\n') {
            let rest = self.received.split_off(self.scanned + end + 1);
            self.scanned = 0;
            let mut line = std::mem::replace(&mut self.received, rest);
            line.pop();
            return Ok(Some(line));
        }
        self.scanned = self.received.len();
        if self.received.len() > LONGEST {
            return Err(End::TooLong);
        }
        if self.received.is_empty() {
            // Nothing has begun: descriptors that no request asked for are closed here.
            self.descriptors.clear();
            self.received = Vec::new();
        }
        Ok(None)
    }

    /// Bytes of the unfinished line: what the peer makes us keep.
    pub fn unfinished(&self) -> usize {
        self.received.len()
    }

    /// The next descriptor that came with a request.
    pub fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Sends a line, or keeps it until the peer reads.
    pub fn say(&mut self, line: &str) -> Result<(), End> {
        self.unsent.extend_from_slice(line.as_bytes());
        self.unsent.push(b'\n');
        self.flush()
    }

    /// Sends what has been kept.
    pub fn flush(&mut self) -> Result<(), End> {
        while !self.unsent.is_empty() {
            match send(self.socket.as_fd(), &self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Err(End::Closed),
            }
        }
        if self.unsent.len() > UNREAD {
            return Err(End::Closed);
        }
        let interest = if self.unsent.is_empty() { epoll::READ } else { epoll::READ | epoll::WRITE };
        self.socket.set(interest).map_err(|_| End::Closed)
    }

    /// Whether the kernel has taken everything that was said.
    pub fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }
}

/// Whether the peer of a socket may ask for things: the same user, or root. Root outside our user namespace has no id
/// in it and is refused like everybody without one.
pub fn is_trusted(socket: &OwnedFd) -> bool {
    let mut credentials = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `credentials` has room for a ucred, and `length` says so.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    // SAFETY: no arguments, cannot fail.
    let own = unsafe { libc::geteuid() };
    result == 0 && (credentials.uid == own || credentials.uid == 0)
}
