//! Where a created container waits for its start (OCI runtime-spec, "create" and "start"): two fifos in a directory.
//!
//! Whoever created it is gone by then, so it cannot wait on a pipe of its maker; and it has given up its rights, perhaps
//! under a filter of its own, so it must get by with read(2) and write(2) on descriptors it has already.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::Mode,
    unistd::{mkfifo, read, write},
};

use crate::{
    Error,
    channel::{LONGEST, Message, parse},
    error::{At, Stage},
};

/// Through this fifo the waiting process is told to go on.
const GO: &str = "go";
/// And through this one it tells how it did.
const FATE: &str = "fate";

/// Both fifos, as the process that is to wait inherits them.
#[derive(Debug)]
pub struct Gate {
    go: OwnedFd,
    fate: OwnedFd,
}

impl Gate {
    /// Makes the fifos in a directory that has none, for their owner only.
    pub fn make(directory: &Path) -> Result<Self, Error> {
        let fifo = |name| {
            let path = directory.join(name);
            mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)
                // For both directions: whoever holds it so never sees an end, and never dies of a reader that is gone.
                .and_then(|()| open(&path, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()))
                .at(Stage::Channel, || format!("cannot make the fifo {}", path.display()))
        };
        Ok(Self { go: fifo(GO)?, fate: fifo(FATE)? })
    }

    /// Whether a process waits behind the gate in this directory.
    pub fn is_waiting(directory: &Path) -> bool {
        open(&directory.join(GO), OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty())
            .is_ok()
    }

    /// Lets the process go on, and returns once its execve succeeded or with what failed. A process that is not there,
    /// or not any more, is an error with errno ENXIO. One caller at a time.
    pub fn open(directory: &Path) -> Result<(), Error> {
        let nonblocking = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        // The answer's end first: what is said from now on is not lost.
        let fate = open(&directory.join(FATE), OFlag::O_RDONLY | nonblocking, Mode::empty());
        let go = open(&directory.join(GO), OFlag::O_WRONLY | nonblocking, Mode::empty());
        let (Ok(fate), Ok(go)) = (fate, go) else { return Err(nobody()) };
        match write(&go, b"G") {
            Err(Errno::EPIPE) => return Err(nobody()),
            other => other.at(Stage::Channel, || "cannot open the gate")?,
        };
        gone(&go)?;
        let mut buffer = [0u8; LONGEST + 1];
        let length = read(&fate, &mut buffer).unwrap_or_default();
        let told = &buffer[..length];
        // Two messages at most, without seams: "executing", which is one byte, and what then failed. A hook fails before.
        let executing = matches!(parse(told, None), Ok(Message::Executing));
        match parse(&told[usize::from(executing)..], None)? {
            Message::End if executing => Ok(()),
            Message::Failed(error) => Err(error),
            _ => Err(nobody()),
        }
    }

    /// Ends a process behind the gate in this directory, and returns once it has ended. For one whose maker was killed
    /// before it could write down which process that is.
    pub fn refuse(directory: &Path) -> Result<(), Error> {
        let nonblocking = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let Ok(go) = open(&directory.join(GO), nonblocking, Mode::empty()) else { return Ok(()) };
        match write(&go, b"E") {
            Err(Errno::EPIPE) => return Ok(()),
            other => other.at(Stage::Channel, || "cannot refuse at the gate")?,
        };
        gone(&go)
    }

    /// Waits until somebody opens it, or refuses.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        let mut word = [0u8; 1];
        loop {
            match read(&self.go, &mut word) {
                Err(Errno::EINTR) => {}
                Ok(_) if word == *b"E" => return Err(nobody()),
                other => return other.map(drop).at(Stage::Channel, || "cannot wait for the start"),
            }
        }
    }

    /// Where the process says how it did, once it goes on.
    pub(crate) fn fate(&self) -> &OwnedFd {
        &self.fate
    }

    /// A second handle on the same fifos, for the process that is to wait.
    pub(crate) fn descriptors(&self) -> [&OwnedFd; 2] {
        [&self.go, &self.fate]
    }
}

/// Waits until the process behind the gate is the program or has ended: until then it holds both fifos, and one without
/// readers is an error to its writer.
fn gone(go: &OwnedFd) -> Result<(), Error> {
    let mut ends = [PollFd::new(go.as_fd(), PollFlags::empty())];
    while let Err(errno) = poll(&mut ends, PollTimeout::NONE) {
        if errno != Errno::EINTR {
            return Err(Error::system(Stage::Channel, errno, "cannot wait behind the gate"));
        }
    }
    Ok(())
}

fn nobody() -> Error {
    Error::new(Stage::Channel, libc::ENXIO, "the container's process ended before it was started")
}
