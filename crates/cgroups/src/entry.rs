//! The way into a cgroup for a process that has just been cloned.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

use crate::{Error, admission::Admission, directory::Directory};

/// Open descriptors (close-on-exec) through which a child enters the cgroup; made before the clone.
#[derive(Debug)]
pub struct Entry {
    pub(crate) unified: Option<OwnedFd>,
    pub(crate) tasks: Vec<OwnedFd>,
    /// By [`crate::Mount::name`].
    pub(crate) homes: Vec<(&'static str, PathBuf)>,
    pub(crate) admission: Option<Admission>,
}

impl Entry {
    /// An entry into what lies below each of the directories: nothing for the directory itself.
    pub(crate) fn open(
        directories: &[Directory],
        below: &dyn Fn(&Directory) -> Result<String, Error>,
    ) -> Result<Self, Error> {
        let mut entry = Self { unified: None, tasks: Vec::new(), homes: Vec::new(), admission: None };
        for directory in directories {
            let below = below(directory)?;
            entry.homes.push((directory.mount.name.as_str(), directory.path.join(&below)));
            let (file, flags) = if directory.mount.unified {
                (format!("./{below}"), OFlag::O_PATH | OFlag::O_DIRECTORY)
            } else {
                (format!("./{below}/tasks"), OFlag::O_WRONLY)
            };
            let fd = directory
                .open_file(&file, flags)
                .map_err(|error| directory.error("open", &file[2..], error))?;
            if directory.mount.unified {
                entry.unified = Some(fd);
            } else {
                entry.tasks.push(fd);
            }
        }
        Ok(entry)
    }

    /// The directory of the v2 cgroup, for `clone3(CLONE_INTO_CGROUP)`; none on a machine without v2, or where systemd
    /// moves the process.
    pub fn unified_fd(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// The directory that a child finds itself in, of the hierarchy of that [`crate::Mount::name`]; none where it is not
    /// known before.
    pub fn home(&self, name: &str) -> Option<&Path> {
        self.homes.iter().find(|(hierarchy, _)| *hierarchy == name).map(|(_, home)| home.as_path())
    }

    /// The parent's part, right after the clone: has systemd put the child into its cgroup, with all limits, where that
    /// driver is used; until then the child waits in [`Entry::join`]. Otherwise there is nothing to do. After an error
    /// the child must be killed: it waits for ever.
    pub fn admit(&self, pid: i32) -> Result<(), Error> {
        self.admission.as_ref().map_or(Ok(()), |admission| admission.admit(pid))
    }

    /// The child's part: moves the calling process, which must have a single thread, into the cgroup of every v1
    /// hierarchy; the v2 cgroup is entered with [`Entry::unified_fd`]. With systemd's driver it waits until the parent
    /// has called [`Entry::admit`]. Async-signal-safe: nothing but `write(2)` and `read(2)`.
    ///
    /// The descriptors are of `tasks`, not of `cgroup.procs`: for a thread that moves itself the kernel (since 5.5)
    /// skips its lock on every fork of the machine, whose first taking waits for an RCU grace period: 5 ms against
    /// 10 µs a hierarchy, measured on 6.18.
    pub fn join(&self) -> io::Result<()> {
        for tasks in &self.tasks {
            // SAFETY: the buffer is a one-byte static and the descriptor is open for as long as `self` lives.
            let written = unsafe { libc::write(tasks.as_raw_fd(), c"0".as_ptr().cast(), 1) };
            if written != 1 {
                return Err(io::Error::last_os_error());
            }
        }
        self.admission.as_ref().map_or(Ok(()), Admission::wait)
    }
}
