//! Stopping, continuing and killing everything in a cgroup.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::{
    Error,
    directory::{Directory, write_at},
};

/// Longer than any task needs to reach a point where it can stop, unless it waits for a dead file server.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How often a cgroup without a freezer is listed and killed.
const ROUNDS: usize = 1000;

/// Stops every task; within `patience`, or all go on.
pub(crate) fn freeze(directory: &Directory, patience: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + patience;
    if directory.mount.unified {
        directory
            .write("cgroup.freeze", "1")
            .map_err(|error| directory.error("write", "cgroup.freeze", error))?;
        return wait_frozen(directory, deadline);
    }
    let mut pause = Duration::from_micros(50);
    while Instant::now() < deadline {
        // A task that is forked while the others freeze can be missed: the kernel looks again at every write.
        directory
            .write("freezer.state", "FROZEN")
            .map_err(|error| directory.error("write", "freezer.state", error))?;
        let state = directory
            .read("freezer.state")
            .map_err(|error| directory.error("read", "freezer.state", error))?;
        if state.trim() == "FROZEN" {
            return Ok(());
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    thaw(directory)?;
    Err(timed_out(directory))
}

pub(crate) fn thaw(directory: &Directory) -> Result<(), Error> {
    let (file, value) =
        if directory.mount.unified { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
    directory.write(file, value).map_err(|error| directory.error("write", file, error))
}

/// Whether a freeze was asked for. v2 tells that of the cgroup itself; v1 of its parents too, as its tasks feel it.
pub(crate) fn is_frozen(directory: &Directory) -> Result<bool, Error> {
    let file = if directory.mount.unified { "cgroup.freeze" } else { "freezer.state" };
    let text = directory.read(file).map_err(|error| directory.error("read", file, error))?;
    Ok(matches!(text.trim(), "1" | "FROZEN" | "FREEZING"))
}

/// v1: lets go on what is frozen in nested cgroups too, by whoever: a task that is frozen there does not die.
pub(crate) fn thaw_nested(directory: &Directory) -> Result<(), Error> {
    let thawed = directory.each(&mut |nested| match write_at(nested, "freezer.state", "THAWED") {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Err(error),
        _ => Ok(()),
    });
    thawed.map_err(|error| directory.error("write", "freezer.state", error))
}

/// v2 says in cgroup.events when all have stopped, and wakes who polls it.
fn wait_frozen(directory: &Directory, deadline: Instant) -> Result<(), Error> {
    let failed = |error| directory.error("read", "cgroup.events", error);
    let events = directory.open_file("cgroup.events", OFlag::O_RDONLY).map_err(failed)?;
    loop {
        let mut text = [0; 256];
        let length = nix::sys::uio::pread(&events, &mut text, 0).map_err(|error| failed(error.into()))?;
        if text[..length].split(|byte| *byte == b'\n').any(|line| line == b"frozen 1") {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            thaw(directory)?;
            return Err(timed_out(directory));
        }
        let mut polled = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
}

fn timed_out(directory: &Directory) -> Error {
    directory.error("freeze", "", io::Error::from_raw_os_error(libc::ETIMEDOUT))
}

/// Sends SIGKILL to everything in a v2 cgroup at once; false where the kernel cannot (before Linux 5.14).
pub(crate) fn kill_unified(directory: &Directory) -> Result<bool, Error> {
    match directory.write("cgroup.kill", "1") {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(directory.error("write", "cgroup.kill", error)),
    }
}

/// Sends SIGKILL to everything in a cgroup, process by process: frozen while it is listed, so that nothing forks away.
/// Without a freezer it lists and kills until nothing is left.
pub(crate) fn kill_each(directory: &Directory, freezer: Option<&Directory>) -> Result<(), Error> {
    let failed = |error| directory.error("read", "cgroup.procs", error);
    if directory.processes().map_err(failed)?.is_empty() {
        return Ok(());
    }
    let frozen = freezer.is_some_and(|freezer| freeze(freezer, Duration::from_millis(500)).is_ok());
    let mut result = Ok(());
    for _ in 0..ROUNDS {
        match directory.processes() {
            Ok(listed) if listed.is_empty() => break,
            Ok(listed) => signal_listed(directory, &listed, libc::SIGKILL),
            Err(error) => result = Err(failed(error)),
        }
        if frozen || result.is_err() {
            break;
        }
        sleep(Duration::from_micros(100));
    }
    if let Some(freezer) = freezer.filter(|_| frozen) {
        thaw(freezer)?;
    }
    result
}

/// Sends a signal to everything in a cgroup, once: frozen while it is listed.
pub(crate) fn signal_each(
    directory: &Directory,
    freezer: Option<&Directory>,
    signal: i32,
) -> Result<(), Error> {
    let frozen = freezer.is_some_and(|freezer| freeze(freezer, Duration::from_millis(500)).is_ok());
    let listed = directory.processes().map_err(|error| directory.error("read", "cgroup.procs", error));
    let result = listed.map(|listed| signal_listed(directory, &listed, signal));
    if let Some(freezer) = freezer.filter(|_| frozen) {
        thaw(freezer)?;
    }
    result
}

/// A process that ended meanwhile may have left its number to a stranger: whom we signal must still be listed after its
/// descriptor, which no stranger can take over, has been opened.
fn signal_listed(directory: &Directory, listed: &[i32], signal: i32) {
    let opened: Vec<_> = listed.iter().filter_map(|pid| Some((pid, open_process(*pid)?))).collect();
    let still = directory.processes().unwrap_or_default();
    for (_, process) in opened.iter().filter(|(pid, _)| still.contains(pid)) {
        send(process, signal);
    }
}

fn open_process(pid: i32) -> Option<OwnedFd> {
    // SAFETY: no memory is passed; the kernel gives a new close-on-exec descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    // SAFETY: the descriptor is new and ours.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn send(process: &OwnedFd, signal: i32) {
    // A process that is gone already needs none.
    // SAFETY: the descriptor is open, and a null siginfo is allowed.
    unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, std::ptr::null::<u8>(), 0);
    }
}
