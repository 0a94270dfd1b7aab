//! Being put into a cgroup by systemd: it moves a process that exists, which waits meanwhile.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use crate::{
    Error, Layout, LinuxResources, controllers, directory::Directory, limits, mounts, systemd::Scope, tree,
};

/// What the parent has systemd do, and an eventfd that then lets the child go on.
#[derive(Debug)]
pub(crate) struct Admission {
    scope: Scope,
    deed: Deed,
    done: OwnedFd,
}

/// What systemd is to do with the process.
#[derive(Debug)]
pub(crate) enum Deed {
    /// Start the scope around it, with these limits.
    Start(Box<LinuxResources>),
    /// Move it into the scope's cgroup, or one below: `/`, `/some/path`.
    Attach(String),
}

impl Admission {
    pub(crate) fn new(scope: Scope, deed: Deed) -> Result<Self, Error> {
        // SAFETY: no memory is passed; the kernel gives a new descriptor or an error.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(Error::io("make an eventfd", io::Error::last_os_error()));
        }
        // SAFETY: the descriptor is new and ours.
        Ok(Self { scope, deed, done: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    pub(crate) fn admit(&self, pid: i32) -> Result<(), Error> {
        match &self.deed {
            Deed::Start(resources) => start(&self.scope, resources, pid)?,
            Deed::Attach(below) => self.scope.attach(pid.cast_unsigned(), below)?,
        }
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight live bytes, as an eventfd takes.
        match unsafe { libc::write(self.done.as_raw_fd(), one.as_ptr().cast(), one.len()) } {
            8 => Ok(()),
            _ => Err(Error::io("let the process go on", io::Error::last_os_error())),
        }
    }

    pub(crate) fn wait(&self) -> io::Result<()> {
        let mut count = [0u8; 8];
        loop {
            // SAFETY: eight live bytes, as an eventfd gives.
            if unsafe { libc::read(self.done.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) } == 8 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// Starts the scope; then what systemd does not know: hierarchies of other controllers, and the rest of the limits.
fn start(scope: &Scope, resources: &LinuxResources, pid: i32) -> Result<(), Error> {
    let (layout, mounts) = mounts()?;
    let parts = tree::components(scope.path())?;
    scope.start(pid.cast_unsigned(), resources, layout == Layout::Unified)?;
    let mut directories = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let directory = match Directory::open(mount, tree::full(mount, &parts)) {
            Ok(directory) => directory,
            Err(_) => tree::make(mount, &parts)?,
        };
        controllers::prepare(layout, mount, &parts, &directory, resources)?;
        let failed = |error| directory.error("move a process to", "cgroup.procs", error);
        let pid = pid.to_string();
        if !directory.read("cgroup.procs").map_err(failed)?.lines().any(|line| line == pid) {
            directory.write("cgroup.procs", &pid).map_err(failed)?;
        }
        directories.push(directory);
    }
    limits::apply(&directories, resources, layout)
}
