//! One container's cgroup, in every hierarchy that the machine has.

use std::{os::fd::OwnedFd, path::PathBuf};

use crate::{Entry, Error, LinuxResources, Stats};

/// A container's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
}

impl Cgroup {
    /// Makes the cgroup in every hierarchy and writes its limits. `path` is the OCI `cgroupsPath`: absolute, counted
    /// from the root of each hierarchy, such as `/kapsel/ID`. What was made is removed again when something fails.
    pub fn create(path: &str, _resources: &LinuxResources) -> Result<Self, Error> {
        Err(Error::NotFound { path: path.into() })
    }

    /// Opens an existing cgroup; `Error::NotFound` where no hierarchy has it.
    pub fn open(path: &str) -> Result<Self, Error> {
        Err(Error::NotFound { path: path.into() })
    }

    /// The path below each hierarchy's root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The cgroup's directories on the host, one for each of [`crate::mounts`] that has it, named by [`crate::Mount::name`].
    pub fn directories(&self) -> Vec<(&'static str, PathBuf)> {
        Vec::new()
    }

    /// Opens what a child needs to enter the cgroup.
    pub fn entry(&self) -> Result<Entry, Error> {
        Err(Error::NotFound { path: self.path().into() })
    }

    /// Changes the limits; what is absent stays as it is.
    pub fn apply(&self, _resources: &LinuxResources) -> Result<(), Error> {
        Err(Error::NotFound { path: self.path().into() })
    }

    /// What has been used so far.
    pub fn stats(&self) -> Result<Stats, Error> {
        Err(Error::NotFound { path: self.path().into() })
    }

    /// Stops every task, and returns when all are stopped.
    pub fn freeze(&self) -> Result<(), Error> {
        Err(Error::NotFound { path: self.path().into() })
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), Error> {
        Err(Error::NotFound { path: self.path().into() })
    }

    /// The processes in the cgroup and those nested in it, by their ids in this process's PID namespace.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        Err(Error::NotFound { path: self.path().into() })
    }

    /// Sends SIGKILL to every process in the cgroup and those nested in it, new ones of a fork bomb included.
    /// It does not wait for their end; [`Cgroup::remove`] does.
    pub fn kill_all(&self) -> Result<(), Error> {
        Err(Error::NotFound { path: self.path().into() })
    }

    /// Removes the cgroup, those nested in it, and parents made by [`Cgroup::create`] that are empty. A cgroup already
    /// gone is no error; one whose processes do not end within a second is.
    pub fn remove(self) -> Result<(), Error> {
        Err(Error::NotFound { path: self.path().into() })
    }

    /// A descriptor that becomes readable when the kernel has killed, or is about to kill, for want of memory (v1: an
    /// eventfd; v2: an inotify watch, which speaks for other memory events too): ask [`Cgroup::oom_kills`] then.
    /// None where memory is not accounted.
    pub fn oom_fd(&self) -> Result<Option<OwnedFd>, Error> {
        Err(Error::NotFound { path: self.path().into() })
    }

    /// How many processes the kernel has killed for want of memory.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        Err(Error::NotFound { path: self.path().into() })
    }
}
