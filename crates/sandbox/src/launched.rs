//! A process that was started and what its caller can still do with it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use crate::{
    Error, Listener,
    channel::{Message, Parent},
    error::{At, Stage},
    notify,
    sys::process::pidfd_open,
};

/// A process on its way to its program. Dropping this does not end it; the caller waits for it by `pidfd`.
#[derive(Debug)]
pub struct Launched {
    /// Its id in the caller's PID namespace.
    pub pid: i32,
    /// Readable when it has ended; for waitid(P_PIDFD) and pidfd_send_signal(2).
    pub pidfd: OwnedFd,
    /// The master of its terminal, where it has one.
    pub console: Option<OwnedFd>,
    /// Who answers its seccomp filter.
    listener: Option<Listener>,
    channel: Parent,
}

impl Launched {
    pub(crate) fn new(pid: i32, pidfd: OwnedFd, listener: Option<&Listener>, channel: Parent) -> Self {
        Self { pid, pidfd, console: None, listener: listener.cloned(), channel }
    }

    /// Returns once execve succeeded, or with what failed; the process has ended then and is to be reaped.
    pub fn wait_exec(&mut self) -> Result<(), Error> {
        let mut executing = false;
        loop {
            match self.receive()? {
                Message::Executing => executing = true,
                Message::Failed(error) => return Err(error),
                // Closed by execve, or by the end of a program that ran already.
                Message::End if executing => return Ok(()),
                Message::End => return Err(died()),
                _ => {}
            }
        }
    }

    /// Lets one that is held ([`crate::Plan::held`]) become its program; where it has failed on the way, with what.
    pub fn let_go(&mut self) -> Result<(), Error> {
        self.wait_held()?;
        self.release()
    }

    /// Lets it go on.
    pub(crate) fn release(&self) -> Result<(), Error> {
        self.channel.go_on()
    }

    /// Hands the root's detached mount to the process.
    pub(crate) fn hand_over(&self, root: &OwnedFd) -> Result<(), Error> {
        self.channel.hand_over(root)
    }

    /// Waits for the terminal.
    pub(crate) fn wait_console(&mut self) -> Result<(), Error> {
        match self.receive()? {
            Message::Console(master) => {
                self.console = Some(master);
                Ok(())
            }
            other => Err(unexpected(other)),
        }
    }

    /// Waits until everything is mounted.
    pub(crate) fn wait_mounted(&mut self) -> Result<(), Error> {
        match self.receive()? {
            Message::Mounted => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Waits until everything is ready.
    pub(crate) fn wait_held(&mut self) -> Result<(), Error> {
        match self.receive()? {
            Message::Held => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// The next message but a filter's listener, which is passed on.
    fn receive(&self) -> Result<Message, Error> {
        loop {
            match (self.channel.receive()?, &self.listener) {
                (Message::Listener(descriptor), Some(listener)) => {
                    if let Err(error) = notify::send(listener, &descriptor, self.pid) {
                        // It waits for an answer that nobody will give.
                        self.kill();
                        return Err(error);
                    }
                    self.release()?;
                }
                (other, _) => return Ok(other),
            }
        }
    }

    /// Turns from the intermediate process to the real one, which is a child of the caller too.
    pub(crate) fn follow_hop(&mut self) -> Result<(), Error> {
        let message = self.channel.receive();
        if let Ok(Message::Child(pid)) = message {
            // Ours and not reaped: the number cannot mean another process.
            let pidfd = pidfd_open(pid).at(Stage::Namespace, || "cannot open the container's process")?;
            reap(&self.pidfd);
            (self.pid, self.pidfd) = (pid, pidfd);
            return Ok(());
        }
        message.and_then(|other| Err(unexpected(other)))
    }

    /// Ends what did not become a container, and leaves no zombie.
    pub(crate) fn abandon(self, error: Error) -> Error {
        self.end();
        error
    }

    /// Kills it, and leaves no zombie.
    pub fn end(self) {
        self.kill();
        reap(&self.pidfd);
    }

    fn kill(&self) {
        // Our own child and not reaped: the number cannot mean another process.
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
    }
}

/// Readable when [`Launched::wait_exec`] has something to say: a caller with an event loop waits there.
impl AsFd for Launched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

fn reap(pidfd: &OwnedFd) {
    while waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {}
}

fn unexpected(message: Message) -> Error {
    match message {
        Message::Failed(error) => error,
        _ => died(),
    }
}

fn died() -> Error {
    Error::new(
        Stage::Channel,
        0,
        "the container's process was killed before its program started (out of memory?)",
    )
}
