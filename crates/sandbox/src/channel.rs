//! The one conversation between a child and its parent: a pair of SEQPACKET sockets, closed by a successful execve.
//!
//! The child says where it is and with what it failed; the parent says "go on", and hands over the root, which it mounts
//! while the child makes the rest. No other synchronisation exists.

use std::{
    cell::Cell,
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
    Error, Gate,
    error::{At, Stage},
};

/// What a child tells its parent.
pub(crate) enum Message {
    /// The master of its terminal.
    Console(OwnedFd),
    /// Everything is mounted and waits for "go on": the moment of the runtime's hooks.
    Mounted,
    /// Everything is ready and waits at its gate.
    Held,
    /// The descriptor of a seccomp filter that asks.
    Listener(OwnedFd),
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
const MOUNTED: u8 = b'M';
const HELD: u8 = b'H';
const LISTENER: u8 = b'L';
const EXECUTING: u8 = b'X';
const CHILD: u8 = b'P';
const FAILED: u8 = b'E';
/// A pipe takes as much in one piece (PIPE_BUF).
pub(crate) const LONGEST: usize = 4096;

/// The descriptors from here on are not a program's streams; the child's end is one of them, so that it never has to
/// move.
pub(crate) const RESERVED: RawFd = 3;

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
    Ok((Parent(ours), Child::from(theirs)))
}

/// The parent's end.
#[derive(Debug)]
pub(crate) struct Parent(OwnedFd);

impl Parent {
    /// Lets the child go on.
    pub(crate) fn go_on(&self) -> Result<(), Error> {
        self.say(b"G", None)
    }

    /// Lets the child go on with a descriptor.
    pub(crate) fn hand_over(&self, fd: &OwnedFd) -> Result<(), Error> {
        self.say(b"G", Some(fd.as_raw_fd()))
    }

    fn say(&self, bytes: &[u8], fd: Option<RawFd>) -> Result<(), Error> {
        match send(self.0.as_fd(), bytes, fd) {
            // The child has ended: what it said last tells why, and is read next.
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
        parse(&buffer[..length], fd)
    }
}

/// What these bytes mean.
pub(crate) fn parse(bytes: &[u8], fd: Option<OwnedFd>) -> Result<Message, Error> {
    Ok(match (bytes, fd) {
        ([], _) => Message::End,
        ([CONSOLE, ..], Some(fd)) => Message::Console(fd),
        ([LISTENER, ..], Some(fd)) => Message::Listener(fd),
        ([MOUNTED, ..], _) => Message::Mounted,
        ([HELD, ..], _) => Message::Held,
        ([EXECUTING, ..], _) => Message::Executing,
        ([CHILD, a, b, c, d], _) => Message::Child(i32::from_ne_bytes([*a, *b, *c, *d])),
        ([FAILED, stage, a, b, c, d, words @ ..], _) => Message::Failed(Error::new(
            Stage::from_byte(*stage),
            i32::from_ne_bytes([*a, *b, *c, *d]),
            String::from_utf8_lossy(words),
        )),
        _ => {
            return Err(Error::new(Stage::Channel, libc::EPROTO, "the container's process spoke nonsense"));
        }
    })
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The child's end.
pub(crate) struct Child {
    socket: OwnedFd,
    /// What it speaks through: the socket, and once it has passed a gate the way to whoever opened that.
    voice: Cell<RawFd>,
}

impl Child {
    /// Waits until the parent says "go on"; a parent that is gone is an error.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        self.hear(&mut [0u8; 1]).map(drop)
    }

    fn hear(&self, bytes: &mut [u8]) -> Result<usize, Error> {
        loop {
            match nix::unistd::read(&self.socket, bytes) {
                Ok(0) => return Err(Error::new(Stage::Channel, libc::EPIPE, "the parent is gone")),
                Ok(count) => return Ok(count),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::system(Stage::Channel, errno, "cannot hear the parent")),
            }
        }
    }

    /// Waits for a descriptor.
    pub(crate) fn take_over(&self) -> Result<OwnedFd, Error> {
        let (_, fd) =
            receive(self.socket.as_fd(), &mut [0u8; 1]).at(Stage::Channel, || "cannot hear the parent")?;
        fd.ok_or_else(|| Error::new(Stage::Channel, libc::EPIPE, "the parent is gone"))
    }

    /// Whether the parent has ended.
    pub(crate) fn is_orphan(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: 0, revents: 0 };
        // SAFETY: `poll` is one pollfd.
        unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & libc::POLLHUP != 0 }
    }

    /// Sends the terminal's master.
    pub(crate) fn console(&self, master: &OwnedFd) -> Result<(), Error> {
        self.send(CONSOLE, master)
    }

    /// A second handle on the same channel, for another thread.
    pub(crate) fn duplicate(&self) -> Result<Self, Error> {
        let copy = self.socket.try_clone().at(Stage::Channel, || "cannot copy a socket")?;
        Ok(Self::from(copy))
    }

    /// Sends the listener of the seccomp filter.
    pub(crate) fn listener(&self, listener: &OwnedFd) -> Result<(), Error> {
        self.send(LISTENER, listener)
    }

    /// Says that everything is mounted, and waits.
    pub(crate) fn mounted(&self) -> Result<(), Error> {
        self.say(&[MOUNTED])?;
        self.wait()
    }

    /// Says that everything is ready, and waits at the gate.
    pub(crate) fn hold(&self, gate: &Gate) -> Result<(), Error> {
        self.say(&[HELD])?;
        gate.wait()?;
        self.voice.set(gate.fate().as_raw_fd());
        Ok(())
    }

    /// Says that everything is ready, and waits for the parent.
    pub(crate) fn held(&self) -> Result<(), Error> {
        self.say(&[HELD])?;
        self.wait()
    }

    /// Says that execve is next.
    pub(crate) fn executing(&self) -> Result<(), Error> {
        self.say(&[EXECUTING])
    }

    /// Says which process is the real one.
    pub(crate) fn child(&self, pid: i32) -> Result<(), Error> {
        let [a, b, c, d] = pid.to_ne_bytes();
        self.say(&[CHILD, a, b, c, d])
    }

    /// Says what failed. Nobody may be listening any more, and nothing can be done about it.
    pub(crate) fn failed(&self, error: &Error) {
        let mut buffer = vec![FAILED, error.stage as u8];
        buffer.extend(error.errno.to_ne_bytes());
        buffer.extend(error.message.bytes());
        buffer.truncate(LONGEST);
        let _ = self.say(&buffer);
    }

    /// The descriptor that it hears its parent through.
    pub(crate) fn as_raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The descriptor that it speaks through.
    pub(crate) fn voice(&self) -> RawFd {
        self.voice.get()
    }

    /// write(2) and nothing else: the program's own filter may be in force already, and every program writes.
    fn say(&self, bytes: &[u8]) -> Result<(), Error> {
        // SAFETY: the socket is ours, and a gate's descriptors are kept open until execve.
        let voice = unsafe { BorrowedFd::borrow_raw(self.voice.get()) };
        nix::unistd::write(voice, bytes).map(drop).at(Stage::Channel, || "cannot speak to the parent")
    }

    fn send(&self, what: u8, fd: &OwnedFd) -> Result<(), Error> {
        send(self.socket.as_fd(), &[what], Some(fd.as_raw_fd()))
            .at(Stage::Channel, || "cannot speak to the parent")
    }
}

impl From<OwnedFd> for Child {
    fn from(socket: OwnedFd) -> Self {
        Self { voice: Cell::new(socket.as_raw_fd()), socket }
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
            // The other end closed without having heard us. That is told once, before what it said last.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_says_last_is_heard_though_it_did_not_hear_its_parent() {
        let (parent, child) = pair().unwrap();
        parent.go_on().unwrap();
        child.failed(&Error::new(Stage::Mount, libc::EINVAL, "why not"));
        drop(child);
        assert!(matches!(parent.receive(), Ok(Message::Failed(error)) if error.message == "why not"));
        assert!(matches!(parent.receive(), Ok(Message::End)));
    }
}
