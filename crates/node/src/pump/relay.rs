//! A relay: one direction of one stream. Pipes are spliced, so that bytes are not copied through this process; what
//! cannot be (terminals, appended files) or must be looked at (detach keys) goes through a buffer.
//!
//! A pipe or socket that is full never blocks the thread, whatever the flags of its description, which is shared
//! with other processes and must not be changed: splice and send have a "do not wait" of their own.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::poll::PollFlags;
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{read, write};

use super::detach::DetachKeys;

const BUFFER: usize = 64 << 10;
const SPLICE: usize = 1 << 20;

/// What one step came to.
pub enum Step {
    /// Something was moved, or nothing can be just now.
    Moved,
    /// There is nothing more to read.
    SourceEnded,
    /// Nobody reads what is written.
    SinkClosed,
    /// The detach keys were read.
    Detached,
}

enum Way {
    Splice {
        sink_full: bool,
    },
    Copy {
        /// What has been read; from `written` on it is still to be written.
        buffer: Vec<u8>,
        written: usize,
        socket: bool,
    },
}

/// From one descriptor to another.
pub struct Relay {
    source: OwnedFd,
    sink: OwnedFd,
    way: Way,
    keys: Option<DetachKeys>,
}

impl Relay {
    /// From this process's input to the container's stdin, whose description is this process's alone.
    pub fn input(source: OwnedFd, sink: OwnedFd, keys: Option<DetachKeys>) -> nix::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&sink, FcntlArg::F_GETFL)?);
        fcntl(&sink, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let splices = keys.is_none() && is(&sink, SFlag::S_IFIFO)? && is(&source, SFlag::S_IFIFO)?;
        let way = if splices { Way::Splice { sink_full: false } } else { copy(&sink)? };
        Ok(Self { source, sink, way, keys })
    }

    /// From a pipe or socket of the container's to an output of this process.
    pub fn output(source: OwnedFd, sink: OwnedFd) -> nix::Result<Self> {
        let way = if is(&sink, SFlag::S_IFIFO)? { Way::Splice { sink_full: false } } else { copy(&sink)? };
        Ok(Self { source, sink, way, keys: None })
    }

    /// Where it writes.
    pub fn sink(&self) -> BorrowedFd<'_> {
        self.sink.as_fd()
    }

    /// Whether something was read, or waits to be, that the sink does not take yet.
    pub fn is_writing(&self) -> bool {
        match &self.way {
            Way::Splice { sink_full } => *sink_full,
            Way::Copy { buffer, written, .. } => *written < buffer.len(),
        }
    }

    /// What a step needs.
    pub fn wants(&self) -> (BorrowedFd<'_>, PollFlags) {
        if self.is_writing() {
            (self.sink.as_fd(), PollFlags::POLLOUT)
        } else {
            (self.source.as_fd(), PollFlags::POLLIN)
        }
    }

    /// Moves what can be moved. Called when what it wants has happened.
    pub fn step(&mut self) -> nix::Result<Step> {
        let Way::Splice { sink_full } = &mut self.way else {
            return self.copy();
        };
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        match splice(&self.source, None, &self.sink, None, SPLICE, flags) {
            Ok(0) | Err(Errno::EIO | Errno::ECONNRESET) => Ok(Step::SourceEnded),
            Ok(_) => {
                *sink_full = false;
                Ok(Step::Moved)
            }
            // One of the two was ready: now it is the other's turn.
            Err(Errno::EAGAIN) => {
                *sink_full = !*sink_full;
                Ok(Step::Moved)
            }
            Err(Errno::EINTR) => Ok(Step::Moved),
            Err(Errno::EPIPE) => Ok(Step::SinkClosed),
            Err(Errno::EINVAL) => {
                self.way = copy(&self.sink)?;
                self.copy()
            }
            Err(errno) => Err(errno),
        }
    }

    fn copy(&mut self) -> nix::Result<Step> {
        let Way::Copy { buffer, written, socket } = &mut self.way else {
            return Ok(Step::Moved);
        };
        let mut detached = false;
        if *written == buffer.len() {
            let mut bytes = vec![0; BUFFER];
            let count = match read(&self.source, &mut bytes) {
                // A terminal whose other side is gone is EIO.
                Ok(0) | Err(Errno::EIO | Errno::ECONNRESET) => return Ok(Step::SourceEnded),
                Ok(count) => count,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(Step::Moved),
                Err(errno) => return Err(errno),
            };
            bytes.truncate(count);
            *written = 0;
            *buffer = match &mut self.keys {
                None => bytes,
                Some(keys) => {
                    let mut passed = Vec::with_capacity(count);
                    detached = keys.scan(&bytes, &mut passed);
                    passed
                }
            };
        }
        let step = push(&self.sink, buffer, written, *socket);
        if detached { Ok(Step::Detached) } else { step }
    }
}

/// Writes as much as the sink takes.
fn push(sink: &OwnedFd, buffer: &[u8], written: &mut usize, socket: bool) -> nix::Result<Step> {
    while *written < buffer.len() {
        let rest = &buffer[*written..];
        let outcome = if socket {
            send(sink.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
        } else {
            write(sink, rest)
        };
        match outcome {
            Ok(count) => *written += count,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => break,
            Err(Errno::EPIPE | Errno::ECONNRESET | Errno::EIO) => return Ok(Step::SinkClosed),
            Err(errno) => return Err(errno),
        }
    }
    Ok(Step::Moved)
}

fn copy(sink: &OwnedFd) -> nix::Result<Way> {
    Ok(Way::Copy { buffer: Vec::new(), written: 0, socket: is(sink, SFlag::S_IFSOCK)? })
}

fn is(fd: &OwnedFd, kind: SFlag) -> nix::Result<bool> {
    Ok(SFlag::from_bits_truncate(fstat(fd)?.st_mode) & SFlag::S_IFMT == kind)
}
