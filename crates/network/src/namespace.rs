//! Network namespaces of others, entered only for what is done there: no caller is ever left in the wrong one.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread::{self, Builder, JoinHandle};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;

use crate::error::{At, Error, Result};

/// Of a thread, in bytes: what is done there calls few functions.
const STACK: usize = 128 << 10;

/// Runs `work` in a network namespace.
pub fn inside<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    away(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET).at(|| "cannot enter the network namespace")?;
        work()
    })
}

/// Makes a network namespace, which lives as long as the descriptor.
pub fn new() -> Result<OwnedFd> {
    away(|| {
        unshare(CloneFlags::CLONE_NEWNET).at(|| "cannot make a network namespace")?;
        own()
    })
}

/// A network namespace in the making.
pub struct Coming(Stage);

enum Stage {
    Making(JoinHandle<Result<OwnedFd>>),
    Made(OwnedFd),
    /// No thread is to be had.
    Later,
}

/// Begins to make a network namespace on another processor, where there is one: it takes half a millisecond.
pub fn begin() -> Coming {
    Coming(Builder::new().stack_size(STACK).spawn(new).map_or(Stage::Later, Stage::Making))
}

impl Coming {
    /// One that has been made.
    pub fn made(namespace: OwnedFd) -> Self {
        Self(Stage::Made(namespace))
    }

    /// The namespace, which is waited for.
    pub fn take(self) -> Result<OwnedFd> {
        match self.0 {
            Stage::Making(thread) => ended(thread.join()),
            Stage::Made(namespace) => Ok(namespace),
            Stage::Later => new(),
        }
    }
}

/// That of the calling thread.
fn own() -> Result<OwnedFd> {
    const PATH: &str = "/proc/thread-self/ns/net";
    Ok(File::open(PATH).at(|| format!("cannot open {PATH}"))?.into())
}

/// The way back, which is taken however the work ends.
struct Home(OwnedFd);

impl Drop for Home {
    fn drop(&mut self) {
        // It was entered once already; whoever cannot come back must not go on.
        if setns(&self.0, CloneFlags::CLONE_NEWNET).is_err() {
            std::process::abort();
        }
    }
}

/// Does work that leaves the network namespace: on this thread where it may enter its own again (some 5 µs), otherwise, as a
/// user whose own is not theirs, on a thread that ends with it (some 50 µs, on a busy machine milliseconds).
fn away<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let home = own()?;
    if setns(home.as_fd(), CloneFlags::CLONE_NEWNET).is_err() {
        return on_a_thread(work);
    }
    let _home = Home(home);
    work()
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        ended(thread.at(|| "cannot start a thread")?.join())
    })
}

/// What a thread has come to. A panic has been reported where it was.
fn ended<T>(result: thread::Result<Result<T>>) -> Result<T> {
    result.unwrap_or_else(|_| Err(Error::new("NETWORK_FAILED", "a thread in a network namespace failed")))
}

/// Opens a network namespace by its path: `/proc/PID/ns/net`, or where one is mounted. `NAMESPACE_INVALID`.
pub fn open_path(path: &Path) -> Result<OwnedFd> {
    /// linux/nsfs.h: _IO(0xb7, 3)
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // A fifo in its place must not keep us waiting.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = open(path, flags, Mode::empty())
        .at(|| format!("cannot open the network namespace {}", path.display()))?;
    // SAFETY: the request takes no argument.
    let kind = Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) });
    if kind == Ok(libc::CLONE_NEWNET) {
        return Ok(fd);
    }
    Err(Error::new("NAMESPACE_INVALID", format!("{} is no network namespace", path.display())))
}
