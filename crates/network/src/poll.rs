//! An epoll of one's own, which is a descriptor that a bigger loop waits for, and a clock in it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

/// Readable, an end, or an error.
pub(crate) const READ: u32 = libc::EPOLLIN as u32;
/// Writable, or an error.
pub(crate) const WRITE: u32 = libc::EPOLLOUT as u32;
/// Told once of each change, and not for as long as it lasts.
pub(crate) const EDGE: u32 = libc::EPOLLET as u32;
/// The key of the clock.
pub(crate) const CLOCK: u64 = u64::MAX;

/// What is watched, by keys. A descriptor that is closed leaves by itself: nobody else has one of these.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
    clock: OwnedFd,
    rings: Option<Instant>,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: no pointer is passed.
        let clock = owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
        let poll = Self { epoll, clock, rings: None };
        poll.control(libc::EPOLL_CTL_ADD, poll.clock.as_fd(), CLOCK, READ)?;
        Ok(poll)
    }

    /// Watches a descriptor.
    pub(crate) fn add(&self, fd: &impl AsFd, key: u64, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_fd(), key, interest)
    }

    /// Waits for something else of a descriptor. With nothing it stays, and its end is told.
    pub(crate) fn set(&self, fd: &impl AsFd, key: u64, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_fd(), key, interest)
    }

    fn control(&self, operation: i32, fd: BorrowedFd<'_>, key: u64, interest: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest, u64: key };
        // SAFETY: `event` is valid for the call, which does not keep it.
        match unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The keys of what is ready, without waiting.
    pub(crate) fn ready(&mut self) -> Vec<u64> {
        const ROOM: usize = 32;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; ROOM];
        // SAFETY: `events` has room for as many events as the kernel is told.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), ROOM as i32, 0) };
        let events = events.get(..count.max(0) as usize).unwrap_or_default();
        let keys: Vec<u64> = events.iter().map(|event| event.u64).collect();
        if keys.contains(&CLOCK) {
            self.rings = None;
            let mut rung = 0_u64;
            // SAFETY: a timerfd gives eight bytes, for which there is room.
            unsafe { libc::read(self.clock.as_raw_fd(), (&raw mut rung).cast(), 8) };
        }
        keys
    }

    /// Lets the clock ring then, or never.
    pub(crate) fn ring(&mut self, at: Option<Instant>) {
        if at == self.rings {
            return;
        }
        self.rings = at;
        // Nothing at all would stop the clock.
        let left = at.map_or(Duration::ZERO, |at| {
            at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1))
        });
        let value = libc::timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let once =
            libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // SAFETY: `once` is valid for the call, and nothing is given back.
        unsafe { libc::timerfd_settime(self.clock.as_raw_fd(), 0, &raw const once, std::ptr::null_mut()) };
    }
}

impl AsFd for Poll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
