//! A process of the container as the monitor holds it: its pidfd, and our ends of its standard streams.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Instant;

use kapsel_sandbox::{Launched, Stdio};

use super::epoll::{self, Epoll, Token, Watched};
use super::stdio::{set_nonblocking, write};
use crate::criu::streams;
use crate::error::{Error, Result};

/// The container's first process. Those of execs have other numbers.
pub const CONTAINER: u32 = 0;

/// Both ends of the pipes of a process that has no terminal.
pub struct Pipes {
    /// What the program gets.
    theirs: [OwnedFd; 3],
    /// What we keep: where its stdin is written, where its stdout and stderr are read.
    ours: Ours,
}

/// Our ends.
#[derive(Default)]
pub struct Ours {
    input: Option<OwnedFd>,
    outputs: [Option<OwnedFd>; 2],
    terminal: bool,
}

impl Ours {
    /// Of a terminal's master.
    pub fn of_console(console: OwnedFd) -> io::Result<Self> {
        set_nonblocking(console.as_fd())?;
        // A descriptor of its own: one descriptor has one place in an epoll.
        let input = Some(console.try_clone()?);
        Ok(Self { input, outputs: [Some(console), None], terminal: true })
    }
}

impl Pipes {
    /// A pipe for each stream asked for, /dev/null for the others.
    pub fn new(stdin: bool, stdout: bool, stderr: bool) -> Result<Self> {
        let null = || -> io::Result<OwnedFd> {
            let file: File = OpenOptions::new().read(true).write(true).open("/dev/null")?;
            Ok(file.into())
        };
        let make = || -> io::Result<Self> {
            let mut ours = Ours::default();
            let mut side = |wanted: bool, index: usize| -> io::Result<OwnedFd> {
                if !wanted {
                    return null();
                }
                let (read, write) = pipe()?;
                let (kept, given) = if index == 0 { (write, read) } else { (read, write) };
                set_nonblocking(kept.as_fd())?;
                match index {
                    0 => ours.input = Some(kept),
                    _ => ours.outputs[index - 1] = Some(kept),
                }
                Ok(given)
            };
            let theirs = [side(stdin, 0)?, side(stdout, 1)?, side(stderr, 2)?];
            Ok(Self { theirs, ours })
        };
        make().map_err(|error| Error::io("cannot make the pipes of a process", &error))
    }

    /// As the sandbox takes them.
    pub fn stdio(&self) -> Stdio<'_> {
        let [stdin, stdout, stderr] = &self.theirs;
        Stdio::Fds { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() }
    }

    /// What the program's ends are, for a checkpoint.
    pub fn names(&self) -> Result<Vec<String>> {
        Ok(streams::of(self.theirs.each_ref().map(OwnedFd::as_fd))?.into())
    }

    /// A copy of the program's ends.
    pub fn share(&self) -> Result<[OwnedFd; 3]> {
        let [stdin, stdout, stderr] = self.theirs.each_ref().map(OwnedFd::try_clone);
        let failed = |error| Error::io("cannot share the pipes of a process", &error);
        Ok([stdin.map_err(failed)?, stdout.map_err(failed)?, stderr.map_err(failed)?])
    }

    /// Closes the program's ends: from now on a pipe ends when the program's side does.
    pub fn keep_ours(self) -> Ours {
        self.ours
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: `fds` has room for the two descriptors.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made these descriptors, and nobody else has them.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Where a process's stdin, or its terminal, is written.
#[derive(Debug)]
pub struct Input {
    fd: Watched,
    waiting: Vec<u8>,
    /// The end of file follows what waits.
    closing: bool,
}

impl Input {
    /// Whether it has taken everything so far.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nothing more is to come, and everything has gone.
    pub fn is_done(&self) -> bool {
        self.closing && self.is_empty()
    }

    /// Lets the end of file follow.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// Writes, or keeps what cannot be written now; the caller brings no more until [`Input::is_empty`]. An error means that
    /// nobody reads.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(bytes);
        self.drain()
    }

    /// Writes what waits.
    pub fn drain(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match write(self.fd.as_fd(), &self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.waiting.is_empty() {
            self.waiting = Vec::new();
        }
        Ok(())
    }

    /// Whether to be told when it takes more. That nobody reads a pipe is told in any case; a terminal without a slave
    /// would tell it for ever.
    pub fn watch(&mut self, wanted: bool, terminal: bool) -> io::Result<()> {
        self.fd.set(match (wanted, terminal) {
            (true, _) => epoll::WRITE,
            (false, true) => 0,
            (false, false) => epoll::BROKEN,
        })
    }
}

/// A process that was launched and has not ended.
#[derive(Debug)]
pub struct Process {
    /// Its id in our PID namespace.
    pub pid: i32,
    pidfd: Watched,
    /// Until its program has been executed: with what tells when that is.
    pub starting: Option<(Launched, Watched)>,
    /// Where its stdout (or terminal) and stderr are read.
    pub outputs: [Option<Watched>; 2],
    /// Where its stdin is written.
    pub input: Option<Input>,
    terminal: bool,
    /// The connection that made it, if it is an exec's.
    pub client: Option<u32>,
    /// When a stop runs out of patience.
    pub kill_at: Option<Instant>,
}

impl Process {
    /// Takes over what the sandbox has started.
    pub fn new(
        mut launched: Launched,
        ours: Ours,
        id: u32,
        client: Option<u32>,
        epoll: &Epoll,
    ) -> io::Result<Self> {
        let ours = launched.console.take().map_or(Ok(ours), Ours::of_console)?;
        let mut process = Self::running(launched.pid, launched.pidfd.try_clone()?, ours, id, client, epoll)?;
        let mut channel = epoll.watch(launched.as_fd().try_clone_to_owned()?, Token::Start(id));
        channel.set(epoll::READ)?;
        process.starting = Some((launched, channel));
        Ok(process)
    }

    /// A child whose program runs.
    pub fn running(
        pid: i32,
        pidfd: OwnedFd,
        ours: Ours,
        id: u32,
        client: Option<u32>,
        epoll: &Epoll,
    ) -> io::Result<Self> {
        let watch_output =
            |part: u8, fd: Option<OwnedFd>| fd.map(|fd| epoll.watch(fd, Token::Output(id, part)));
        let [first, second] = ours.outputs;
        let mut process = Self {
            pid,
            pidfd: epoll.watch(pidfd, Token::Exit(id)),
            outputs: [watch_output(0, first), watch_output(1, second)],
            input: ours.input.map(|fd| Input {
                fd: epoll.watch(fd, Token::Input(id)),
                waiting: Vec::new(),
                closing: false,
            }),
            terminal: ours.terminal,
            starting: None,
            client,
            kill_at: None,
        };
        process.pidfd.set(epoll::READ)?;
        Ok(process)
    }

    /// For [`kapsel_sandbox::Join::target`].
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether its streams are a pseudoterminal.
    pub fn has_terminal(&self) -> bool {
        self.terminal
    }

    /// Sends a signal; a process that has ended meanwhile is no error.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: no pointer but a null siginfo is passed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        let error = io::Error::last_os_error();
        if result == 0 || error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
    }

    /// Changes the size of its terminal, which sends it SIGWINCH.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let (true, Some(master)) = (self.terminal, &self.outputs[0]) else { return Ok(()) };
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCSWINSZ reads a winsize.
        match unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Begins to read what it writes: from its exec on, since a terminal that nobody has opened yet looks like one that
    /// everybody has closed.
    pub fn read_outputs(&mut self) -> io::Result<()> {
        self.outputs.iter_mut().flatten().try_for_each(|output| output.set(epoll::READ))
    }

    /// Takes its exit status, as `(status, signal)`; the status is Docker's 128 + signal where one killed it. None while
    /// it runs, unless told to wait.
    pub fn reap(&self, wait: bool) -> Option<(i32, Option<i32>)> {
        // SAFETY: an all-zero siginfo_t is a valid value of that type.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let options = libc::WEXITED | libc::__WALL | if wait { 0 } else { libc::WNOHANG };
        let id = self.pidfd.as_raw_fd() as libc::id_t;
        loop {
            // SAFETY: `info` is valid for the kernel to fill.
            let result = unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, options) };
            if result == 0 {
                break;
            }
            if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                // Not our child any more: somebody else has taken the status. It has ended, and that is all we know.
                return Some((255, None));
            }
        }
        // SAFETY: waitid has filled the fields of a SIGCHLD, or left all of them zero where nothing has ended.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        match info.si_code {
            _ if pid == 0 => None,
            libc::CLD_EXITED => Some((status, None)),
            _ => Some((128 + status, Some(status))),
        }
    }
}
