//! netlink(7), spoken synchronously: a batch of messages in one send, and its answers.

mod message;

use std::os::fd::{AsRawFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
    },
};

pub use message::{Attributes, Message, attribute, attributes, read_u32, text};
use message::{HEADER, Received, messages};

use crate::error::{At, Error, Result};

/// Which part of the kernel answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// rtnetlink(7): links, addresses, routes, queueing disciplines.
    Route,
    /// nfnetlink: nftables, conntrack.
    Netfilter,
}

/// Messages that are sent together, each with the words for its failure.
#[derive(Debug, Default)]
pub struct Batch {
    messages: Vec<Message>,
    steps: Vec<Step>,
}

#[derive(Debug, Default)]
struct Step {
    what: String,
    tolerated: i32,
}

impl Batch {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message. `what`: what it does, as it stands before a colon and the kernel's answer.
    pub fn push(&mut self, what: impl Into<String>, message: Message) {
        self.tolerating(what, 0, message);
    }

    /// Adds a message whose failure by this errno is none.
    pub fn tolerating(&mut self, what: impl Into<String>, errno: i32, message: Message) {
        self.messages.push(message);
        self.steps.push(Step { what: what.into(), tolerated: errno });
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

/// A socket in the network namespace that the calling thread was in when it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    number: u32,
}

/// Netlink answers are at most this long (NLMSG_GOODSIZE and what the kernel takes for a dump).
const ANSWER: usize = 32 << 10;

impl Socket {
    /// Opens one.
    pub fn open(family: Family) -> Result<Self> {
        let protocol = match family {
            Family::Route => SockProtocol::NetlinkRoute,
            Family::Netfilter => SockProtocol::NetlinkNetFilter,
        };
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .at(|| "cannot speak to the kernel's network")?;
        let socket = Self { fd, number: 0 };
        // Words with an error, and not the whole message that was wrong. Kernels before 4.12 have neither.
        socket.set(libc::NETLINK_EXT_ACK);
        socket.set(libc::NETLINK_CAP_ACK);
        Ok(socket)
    }

    fn set(&self, option: i32) {
        let on: i32 = 1;
        // SAFETY: the option's value is an int that outlives the call.
        unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const on).cast(),
                size_of::<i32>() as u32,
            )
        };
    }

    /// Sends all of them at once. The first that fails is the error; whether those after it are carried out is the
    /// family's business: nftables takes all or none.
    pub fn change(&mut self, mut batch: Batch) -> Result<()> {
        let (first, mut bytes) = (self.number, Vec::new());
        let count = batch.messages.len();
        for (index, message) in batch.messages.iter_mut().enumerate() {
            // Failures are always answered. Of the last two, since some kernels do not answer the end of a transaction.
            if index + 2 >= count {
                message.add_flags(libc::NLM_F_ACK);
            }
            message.set_number(self.number);
            self.number = self.number.wrapping_add(1);
            bytes.extend_from_slice(&message.0);
        }
        if count == 0 {
            return Ok(());
        }
        self.send_all(&bytes)?;
        let mut failure = None;
        let mut buffer = vec![0; ANSWER];
        // The kernel carries out what it is sent before it returns: every answer is there.
        while let Some(answer) = self.receive(&mut buffer, MsgFlags::MSG_DONTWAIT)? {
            for received in messages(answer).filter(|received| received.kind == libc::NLMSG_ERROR) {
                let index = received.number.wrapping_sub(first) as usize;
                let Some(step) = batch.steps.get(index) else { continue };
                let errno = errno_of(&received);
                if errno != 0 && errno != step.tolerated && failure.is_none() {
                    failure = Some(failed(&step.what, errno, &received));
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Asks for one thing; `None` where there is no such thing.
    pub fn get(&mut self, what: &str, message: Message) -> Result<Option<Vec<u8>>> {
        match self.ask(what, message, libc::NLM_F_ACK) {
            Ok(mut found) => Ok(found.pop()),
            Err(error) if [libc::ENOENT, libc::ENODEV].contains(&error.errno) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks for a list: the structure and the attributes of each entry.
    pub fn list(&mut self, what: &str, message: Message) -> Result<Vec<Vec<u8>>> {
        for _ in 0..8 {
            match self.ask(what, message.clone(), libc::NLM_F_DUMP) {
                Err(error) if error.errno == libc::EINTR => {}
                answer => return answer,
            }
        }
        Err(Error::system(Errno::EINTR, what))
    }

    fn ask(&mut self, what: &str, mut message: Message, flags: i32) -> Result<Vec<Vec<u8>>> {
        message.add_flags(flags);
        let number = self.number;
        message.set_number(number);
        self.number += 1;
        self.send_all(&message.0)?;
        let mut found = Vec::new();
        let mut buffer = vec![0; ANSWER];
        let mut changed = false;
        loop {
            let Some(answer) = self.receive(&mut buffer, MsgFlags::empty())? else { continue };
            for received in messages(answer).filter(|received| received.number == number) {
                // The list changed while it was told.
                changed |= received.flags & libc::NLM_F_DUMP_INTR != 0;
                match received.kind {
                    libc::NLMSG_DONE if changed => return Err(Error::system(Errno::EINTR, what)),
                    libc::NLMSG_DONE => return Ok(found),
                    libc::NLMSG_ERROR => match errno_of(&received) {
                        0 => return Ok(found),
                        errno => return Err(failed(what, errno, &received)),
                    },
                    libc::NLMSG_NOOP | libc::NLMSG_OVERRUN => {}
                    _ => found.push(received.payload.to_vec()),
                }
            }
        }
    }

    fn send_all(&self, bytes: &[u8]) -> Result<()> {
        /// The kernel's usual limit of a send, less its own overhead.
        const USUAL: usize = 100 << 10;
        if bytes.len() > USUAL {
            let room = 2 * bytes.len();
            if setsockopt(&self.fd, sockopt::SndBufForce, &room).is_err() {
                let _ = setsockopt(&self.fd, sockopt::SndBuf, &room);
            }
        }
        send(self.fd.as_raw_fd(), bytes, MsgFlags::empty()).at(|| "cannot speak to the kernel's network")?;
        Ok(())
    }

    /// `None`: nothing is there now.
    fn receive<'a>(&self, buffer: &'a mut [u8], flags: MsgFlags) -> Result<Option<&'a [u8]>> {
        loop {
            match recv(self.fd.as_raw_fd(), buffer, flags) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                length => {
                    let length = length.at(|| "cannot hear the kernel's network")?;
                    return Ok(Some(&buffer[..length]));
                }
            }
        }
    }
}

/// linux/netfilter/nfnetlink.h
pub(crate) const NFNL_MSG_BATCH_BEGIN: u16 = 16;

fn errno_of(received: &Received) -> i32 {
    received.payload.first_chunk().map_or(libc::EPROTO, |four| i32::from_ne_bytes(*four).wrapping_neg())
}

/// The kernel's answer, with its own words where it has some.
fn failed(what: &str, errno: i32, received: &Received) -> Error {
    /// linux/netlink.h
    const NLM_F_ACK_TLVS: i32 = 0x200;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    let mut error = Error::system(Errno::from_raw(errno), what);
    if received.flags & NLM_F_ACK_TLVS != 0 {
        // With NETLINK_CAP_ACK only the header of our message comes back.
        let words = received.payload.get(4 + HEADER..).and_then(|rest| attribute(rest, NLMSGERR_ATTR_MSG));
        if let Some(words) = words {
            error.message = format!("{} ({})", error.message, text(words));
        }
    }
    error
}
