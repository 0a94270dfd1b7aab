//! The one conversation between a child and its parent: a pair of SEQPACKET sockets, closed by a successful execve.
//!
//! The child says where it is and with what it failed; the parent says "go on", and hands over the root, which it mounts
//! while the child makes the rest. No other synchronisation exists.

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
        socketpair,
    },
};

use crate::{
    Error,
    error::{At, Stage},
};

/// What a child tells its parent.
pub(crate) enum Message {
    /// The master of its terminal.
    Console(OwnedFd),
    /// Everything is ready and waits for "go on".
    Held,
    /// The next thing is execve: if nothing follows, it succeeded.
    Executing,
    /// An intermediate process made the real one, with this id.
    Child(i32),
    /// The end.
    Failed(Error),
    /// The socket was closed.
    End,
}

const CONSOLE: u8 = b'C';
const HELD: u8 = b'H';
const EXECUTING: u8 = b'X';
const CHILD: u8 = b'P';
const FAILED: u8 = b'E';
const LONGEST: usize = 4096;

/// The descriptors that a program's streams and its init's executable are put on; the child's end is above them, so
/// that it never has to move.
pub(crate) const RESERVED: RawFd = 5;

/// Both ends: the parent's and the child's.
pub(crate) fn pair() -> Result<(Parent, Child), Error> {
    let what = || "cannot make a socket pair";
    let (ours, mut theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .at(Stage::Channel, what)?;
    if theirs.as_raw_fd() < RESERVED {
        let fd = fcntl(&theirs, FcntlArg::F_DUPFD_CLOEXEC(RESERVED)).at(Stage::Channel, what)?;
        // SAFETY: the kernel has just given this descriptor to us and nobody else knows its number.
        theirs = unsafe { OwnedFd::from_raw_fd(fd) };
    }
    Ok((Parent(ours), Child(theirs)))
}

/// The parent's end.
#[derive(Debug)]
pub(crate) struct Parent(OwnedFd);

impl Parent {
    /// Lets the child go on.
    pub(crate) fn go_on(&self) -> Result<(), Error> {
        match send(self.0.as_fd(), b"G", None) {
            // The child has ended: what it said last tells why, and is read next.
            Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => {
                Err(Error::system(Stage::Channel, errno, "cannot speak to the container's process"))
            }
        }
    }

    /// Lets the child go on with a descriptor.
    pub(crate) fn hand_over(&self, fd: &OwnedFd) -> Result<(), Error> {
        match send(self.0.as_fd(), b"G", Some(fd.as_raw_fd())) {
            Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => {
                Err(Error::system(Stage::Channel, errno, "cannot speak to the container's process"))
            }
        }
    }

    /// The next message.
    pub(crate) fn receive(&self) -> Result<Message, Error> {
        let mut buffer = [0u8; LONGEST];
        let (length, fd) = receive(self.0.as_fd(), &mut buffer)
            .at(Stage::Channel, || "cannot hear the container's process")?;
        Ok(match (&buffer[..length], fd) {
            ([], _) => Message::End,
            ([CONSOLE, ..], Some(fd)) => Message::Console(fd),
            ([HELD, ..], _) => Message::Held,
            ([EXECUTING, ..], _) => Message::Executing,
            ([CHILD, a, b, c, d], _) => Message::Child(i32::from_ne_bytes([*a, *b, *c, *d])),
            ([FAILED, stage, a, b, c, d, words @ ..], _) => Message::Failed(Error::new(
                Stage::from_byte(*stage),
                i32::from_ne_bytes([*a, *b, *c, *d]),
                String::from_utf8_lossy(words),
            )),
            _ => {
                return Err(Error::new(
                    Stage::Channel,
                    libc::EPROTO,
                    "the container's process spoke nonsense",
                ));
            }
        })
    }
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The child's end.
pub(crate) struct Child(OwnedFd);

impl Child {
    /// Waits until the parent says "go on"; a parent that is gone is an error.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        let mut byte = [0u8; 1];
        loop {
            match nix::unistd::read(&self.0, &mut byte) {
                Ok(1) => return Ok(()),
                Ok(_) => return Err(Error::new(Stage::Channel, libc::EPIPE, "the parent is gone")),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::system(Stage::Channel, errno, "cannot hear the parent")),
            }
        }
    }

    /// Waits for a descriptor.
    pub(crate) fn take_over(&self) -> Result<OwnedFd, Error> {
        let (_, fd) =
            receive(self.0.as_fd(), &mut [0u8; 1]).at(Stage::Channel, || "cannot hear the parent")?;
        fd.ok_or_else(|| Error::new(Stage::Channel, libc::EPIPE, "the parent is gone"))
    }

    /// Whether the parent has ended.
    pub(crate) fn is_orphan(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: `poll` is one pollfd.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & libc::POLLHUP != 0 }
    }

    /// Sends the terminal's master.
    pub(crate) fn console(&self, master: &OwnedFd) -> Result<(), Error> {
        self.send(&[CONSOLE], Some(master.as_raw_fd()))
    }

    /// Says that everything is ready, and waits.
    pub(crate) fn hold(&self) -> Result<(), Error> {
        self.send(&[HELD], None)?;
        self.wait()
    }

    /// Says that execve is next.
    pub(crate) fn executing(&self) -> Result<(), Error> {
        self.send(&[EXECUTING], None)
    }

    /// Says which process is the real one.
    pub(crate) fn child(&self, pid: i32) -> Result<(), Error> {
        let [a, b, c, d] = pid.to_ne_bytes();
        self.send(&[CHILD, a, b, c, d], None)
    }

    /// Says what failed. Nobody may be listening any more, and nothing can be done about it.
    pub(crate) fn failed(&self, error: &Error) {
        let mut buffer = vec![FAILED, error.stage as u8];
        buffer.extend(error.errno.to_ne_bytes());
        buffer.extend(error.message.bytes());
        buffer.truncate(LONGEST);
        let _ = self.send(&buffer, None);
    }

    /// The number of the descriptor.
    pub(crate) fn as_raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn send(&self, bytes: &[u8], fd: Option<RawFd>) -> Result<(), Error> {
        send(self.0.as_fd(), bytes, fd).at(Stage::Channel, || "cannot speak to the parent")
    }
}

impl From<OwnedFd> for Child {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

fn send(socket: BorrowedFd, bytes: &[u8], fd: Option<RawFd>) -> nix::Result<()> {
    let fds = fd.map(|fd| [fd]);
    let control: Vec<ControlMessage> = fds.iter().map(|fds| ControlMessage::ScmRights(fds)).collect();
    // MSG_NOSIGNAL: a peer that is gone is an errno here, not a SIGPIPE.
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], &control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// One message: its length, 0 where the other end is closed, and the descriptor that came with it.
fn receive(socket: BorrowedFd, buffer: &mut [u8]) -> nix::Result<(usize, Option<OwnedFd>)> {
    let mut control = nix::cmsg_space!(RawFd);
    loop {
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Ok(message) => return Ok((message.bytes, received_fd(&message))),
            Err(Errno::EINTR) => {}
            Err(Errno::ECONNRESET) => return Ok((0, None)),
            Err(errno) => return Err(errno),
        }
    }
}

fn received_fd(message: &nix::sys::socket::RecvMsg<()>) -> Option<OwnedFd> {
    let control = message.cmsgs().ok()?.next()?;
    let ControlMessageOwned::ScmRights(fds) = control else { return None };
    // SAFETY: the kernel has just installed these descriptors for us; there is room for one only.
    fds.first().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) })
}
