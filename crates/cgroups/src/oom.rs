//! Being told that memory has run out, and how often the kernel has killed for it.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use nix::{
    fcntl::OFlag,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};

use crate::{Error, controllers::Place, directory::Directory, stats::value};

pub(crate) fn watch(place: &Place<'_>) -> Result<OwnedFd, Error> {
    match place {
        Place::V1(directory) => {
            eventfd(directory).map_err(|error| directory.error("watch", "memory.oom_control", error))
        }
        Place::V2(directory) => {
            inotify(directory).map_err(|error| directory.error("watch", "memory.events", error))
        }
    }
}

/// v1: the kernel counts on an eventfd that is registered with two numbers in cgroup.event_control.
fn eventfd(directory: &Directory) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed; the kernel gives a new descriptor or an error.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and ours.
    let event = unsafe { OwnedFd::from_raw_fd(fd) };
    let control = directory.open_file("memory.oom_control", OFlag::O_RDONLY)?;
    directory.write("cgroup.event_control", &format!("{} {}", event.as_raw_fd(), control.as_raw_fd()))?;
    Ok(event)
}

/// v2: memory.events is modified at every event.
fn inotify(directory: &Directory) -> io::Result<OwnedFd> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(&directory.path.join("memory.events"), AddWatchFlags::IN_MODIFY)?;
    Ok(inotify.into())
}

pub(crate) fn kills(place: &Place<'_>) -> Result<u64, Error> {
    let (directory, file) = match place {
        Place::V1(directory) => (directory, "memory.oom_control"),
        Place::V2(directory) => (directory, "memory.events"),
    };
    Ok(directory.read_optional(file)?.map_or(0, |text| value(&text, "oom_kill")))
}
