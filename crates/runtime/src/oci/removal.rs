//! The end of a container: its processes, its cgroup, its directory, in this order, so that whoever is killed on the way
//! leaves something that can be removed again.

use std::os::fd::{AsRawFd, OwnedFd};

use kapsel_sandbox::spec::Status;
use kapsel_sandbox::{Gate, hooks};

use super::Context;
use super::container::{Container, state};
use crate::error::{Error, Result};

/// How long a killed process may take to be gone, in milliseconds.
const PATIENCE: i32 = 10_000;

/// Removes it, whatever of it there is; what still runs is killed.
pub fn remove(context: &Context, container: Container) -> Result<()> {
    let cgroup = container.cgroup()?;
    let process = container.record.process.and_then(|process| process.open());
    if let Some(cgroup) = &cgroup {
        cgroup.kill_all()?;
    }
    if container.record.process.is_none() {
        // Its maker was killed before it wrote down the process, which no cgroup may know either.
        Gate::refuse(&container.entry.directory)?;
    }
    if let Some(process) = &process {
        kill(process, libc::SIGKILL)?;
        wait(process, &container.record.id)?;
    }
    match (cgroup, &container.record.cgroups_path) {
        (Some(cgroup), _) => cgroup.remove()?,
        // It was about to be made: only what is of no use to anybody may be ours.
        (None, Some(path)) if container.record.is_draft => container.record.driver.discard(path)?,
        (None, _) => {}
    }
    container.entry.remove()?;
    let state = state(&container.record, Status::Stopped);
    for hook in container.record.config.hooks.iter().flat_map(|hooks| &hooks.poststop) {
        // The container is gone whatever they say (runtime.md, "Lifecycle").
        if let Err(error) = hooks::run("poststop", std::slice::from_ref(hook), &state) {
            context.log.warning(&error.message);
        }
    }
    Ok(())
}

/// Removes one that ran in the foreground and has ended, unless somebody was faster.
pub fn remove_ended(context: &Context, id: &str) -> Result<()> {
    match Container::open(&context.store, id) {
        Ok(container) => remove(context, container),
        Err(error) if error.code == "CONTAINER_UNKNOWN" => Ok(()),
        Err(error) => Err(error),
    }
}

/// Sends a signal to a process. One that has ended is an error with the words that callers look for.
pub fn kill(process: &OwnedFd, signal: i32) -> Result<()> {
    // SAFETY: the descriptor is open, and a null siginfo is allowed.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, std::ptr::null::<u8>(), 0)
    };
    if result < 0 {
        let error = std::io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ESRCH) if signal == libc::SIGKILL => Ok(()),
            Some(libc::ESRCH) => Err(super::container::not_running()),
            _ => Err(Error::io(format_args!("cannot send signal {signal}"), &error)),
        };
    }
    Ok(())
}

fn wait(process: &OwnedFd, id: &str) -> Result<()> {
    let mut poll = libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // SAFETY: `poll` is one pollfd.
        match unsafe { libc::poll(&raw mut poll, 1, PATIENCE) } {
            0 => {
                let message = format!("container {id} was killed and does not end; is a file server dead?");
                return Err(Error::new("CONTAINER_DOES_NOT_END", message));
            }
            -1 if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
            -1 => return Err(Error::last("cannot wait for a process")),
            _ => return Ok(()),
        }
    }
}
