//! A program whose end we wait for: signals that come to us are for it, and its terminal is copied to ours.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::removal;
use crate::error::{Error, Result};

/// What it takes to wait: made before the program is, so that no signal is lost.
pub struct Foreground {
    signals: OwnedFd,
}

impl Foreground {
    /// Blocks every signal that can be, and listens to them. A child starts with none blocked.
    pub fn prepare() -> Result<Self> {
        let failed = |what, errno: nix::errno::Errno| Error::io(what, &errno.into());
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)
            .map_err(|e| failed("cannot block signals", e))?;
        // SAFETY: the set is a valid one that the call does not keep.
        let fd = unsafe { libc::signalfd(-1, all.as_ref(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(Error::last("cannot make a signalfd"));
        }
        // SAFETY: the kernel has just given this descriptor to us and nobody else knows its number.
        Ok(Self { signals: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Waits for a child of ours, and gives its exit status as a shell does. `console`: the master of its terminal.
    pub fn attend(self, process: &OwnedFd, console: Option<OwnedFd>) -> Result<u8> {
        let mut terminal = console.map(Terminal::take_over).transpose()?;
        loop {
            let mut watched = vec![
                PollFd::new(process.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            if let Some(terminal) = &terminal {
                terminal.watch(&mut watched);
            }
            match poll(&mut watched, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other.map_err(|errno| Error::io("cannot wait", &errno.into()))?,
            };
            let ended = watched[0].any() == Some(true);
            if let Some(terminal) = &mut terminal {
                terminal.copy()?;
            }
            if ended {
                // What it wrote last is still in the terminal.
                if let Some(terminal) = &mut terminal {
                    terminal.drain()?;
                }
                return exit_status(process);
            }
            while let Some(signal) = self.next_signal() {
                match (signal, &terminal) {
                    // Our own children's ends, and what the runtime of another language uses for itself.
                    (libc::SIGCHLD | libc::SIGURG, _) => {}
                    (libc::SIGWINCH, Some(terminal)) => terminal.resize(),
                    // It may have ended just now.
                    _ => drop(removal::kill(process, signal)),
                }
            }
        }
    }

    fn next_signal(&self) -> Option<i32> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: `info` has room for the `size` bytes that are read.
        let count = unsafe { libc::read(self.signals.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        // SAFETY: the kernel has filled it where it says so.
        (count == size as isize).then(|| unsafe { info.assume_init() }.ssi_signo as i32)
    }
}

fn exit_status(process: &OwnedFd) -> Result<u8> {
    match waitid(Id::PIDFd(process.as_fd()), WaitPidFlag::WEXITED) {
        Ok(WaitStatus::Exited(_, status)) => Ok(status as u8),
        Ok(WaitStatus::Signaled(_, signal, _)) => Ok(128 + signal as u8),
        Ok(_) => Err(Error::new("SYSTEM", "the process ended in a way that wait(2) does not know")),
        Err(errno) => Err(Error::io("cannot wait for the process", &errno.into())),
    }
}

/// The container's terminal and our own, each a copy of the other.
struct Terminal {
    master: File,
    /// Ours as it was, where stdin is one.
    before: Option<libc::termios>,
    /// What has been typed and not yet been taken.
    typed: Vec<u8>,
    /// Whether more may be typed.
    open: bool,
}

impl Terminal {
    fn take_over(master: OwnedFd) -> Result<Self> {
        set_nonblocking(master.as_raw_fd());
        let mut before = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: tcgetattr fills a termios where descriptor 0 is a terminal, and says so.
        let before = unsafe { (libc::tcgetattr(0, before.as_mut_ptr()) == 0).then(|| before.assume_init()) };
        if let Some(before) = &before {
            let mut raw = *before;
            // SAFETY: both calls take a valid termios. A background job may do this: SIGTTOU is blocked.
            unsafe {
                libc::cfmakeraw(&raw mut raw);
                libc::tcsetattr(0, libc::TCSANOW, &raw const raw);
            }
        }
        let terminal = Self { master: File::from(master), before, typed: Vec::new(), open: true };
        terminal.resize();
        Ok(terminal)
    }

    /// Gives the container's terminal the size of ours.
    fn resize(&self) {
        let mut size = MaybeUninit::<libc::winsize>::uninit();
        // SAFETY: TIOCGWINSZ fills a winsize, and TIOCSWINSZ reads it.
        unsafe {
            if libc::ioctl(0, libc::TIOCGWINSZ, size.as_mut_ptr()) == 0 {
                libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, size.as_ptr());
            }
        }
    }

    fn watch<'a>(&'a self, watched: &mut Vec<PollFd<'a>>) {
        let writing = if self.typed.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        watched.push(PollFd::new(self.master.as_fd(), PollFlags::POLLIN | writing));
        if self.open && self.typed.is_empty() {
            // SAFETY: 0 is open for the life of the process.
            let stdin = unsafe { std::os::fd::BorrowedFd::borrow_raw(0) };
            watched.push(PollFd::new(stdin, PollFlags::POLLIN));
        }
    }

    /// Copies what there is, in both directions, without waiting.
    fn copy(&mut self) -> Result<()> {
        if self.open && self.typed.is_empty() && is_readable(0) {
            let mut buffer = [0u8; 4096];
            match io::stdin().lock().read(&mut buffer) {
                Ok(count) if count > 0 => self.typed.extend(&buffer[..count]),
                // Its end is not the program's: who types at a terminal says so with Ctrl-D.
                _ => self.open = false,
            }
        }
        match (&self.master).write(&self.typed) {
            Ok(count) => drop(self.typed.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Nobody reads any more.
            Err(_) => self.typed.clear(),
        }
        self.show_some().map(drop)
    }

    /// Copies everything that the program has written.
    fn drain(&mut self) -> Result<()> {
        while self.show_some()? {}
        Ok(())
    }

    fn show_some(&mut self) -> Result<bool> {
        let mut buffer = [0u8; 8192];
        match (&self.master).read(&mut buffer) {
            Ok(count) if count > 0 => {
                let written = io::stdout().write_all(&buffer[..count]).and_then(|()| io::stdout().flush());
                written.map_err(|error| Error::io("cannot write to stdout", &error))?;
                Ok(true)
            }
            // EIO: the last one who had the terminal open has closed it.
            _ => Ok(false),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: a valid termios.
            unsafe { libc::tcsetattr(0, libc::TCSADRAIN, &raw const *before) };
        }
    }
}

fn is_readable(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: `poll` is one pollfd.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

fn set_nonblocking(fd: RawFd) {
    // SAFETY: integers only; the descriptor is open.
    unsafe { libc::fcntl(fd, libc::F_SETFL, libc::fcntl(fd, libc::F_GETFL) | libc::O_NONBLOCK) };
}
