//! The waiter: one thread that waits for any number of descriptors to become readable, each once. It costs nothing
//! until the first wait.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// What to do with the descriptor once it is readable, or with the reason why nobody can wait for it.
type Then = Box<dyn FnOnce(nix::Result<OwnedFd>) + Send>;

struct Waiter {
    epoll: Epoll,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    entries: HashMap<u64, (OwnedFd, Then)>,
}

static WAITER: OnceLock<Result<Waiter, Errno>> = OnceLock::new();

/// Calls `then` on the waiter's thread as soon as `fd` is readable or has ended; at once where that cannot be.
pub fn when_readable(fd: OwnedFd, then: impl FnOnce(nix::Result<OwnedFd>) + Send + 'static) {
    let waiter = match WAITER.get_or_init(start) {
        Ok(waiter) => waiter,
        Err(errno) => return then(Err(*errno)),
    };
    // Held until the entry is in: the thread looks for it only after it has this lock.
    let mut waiting = waiter.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let key = waiting.next;
    waiting.next += 1;
    if let Err(errno) =
        waiter.epoll.add(&fd, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, key))
    {
        drop(waiting);
        return then(Err(errno));
    }
    waiting.entries.insert(key, (fd, Box::new(then)));
}

fn start() -> Result<Waiter, Errno> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let thread = thread::Builder::new().name("kapsel-waiter".into()).stack_size(128 << 10);
    thread
        .spawn(run)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EAGAIN as i32)))?;
    Ok(Waiter { epoll, waiting: Mutex::default() })
}

fn run() {
    let Ok(waiter) = WAITER.wait() else { return };
    let mut events = [EpollEvent::empty(); 64];
    loop {
        // The only failure there can be is EINTR.
        let count = waiter.epoll.wait(&mut events, EpollTimeout::NONE).unwrap_or(0);
        for event in &events[..count] {
            let entry = {
                let mut waiting = waiter.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.entries.remove(&event.data())
            };
            if let Some((fd, then)) = entry {
                let _ = waiter.epoll.delete(&fd);
                then(Ok(fd));
            }
        }
    }
}
