//! A cgroup's directory in one hierarchy: reading and writing its files, and walking what is nested in it.
//! Everything goes through a directory's descriptor, so that a path is resolved once.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{OFlag, open, openat},
    sys::stat::{Mode, fstat},
    unistd::{UnlinkatFlags, unlinkat, write},
};

use crate::{Error, Mount};

const PATH_ONLY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// A cgroup's directory in one hierarchy.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) mount: &'static Mount,
    pub(crate) path: PathBuf,
    fd: OwnedFd,
}

impl Directory {
    pub(crate) fn open(mount: &'static Mount, path: PathBuf) -> io::Result<Self> {
        let fd = open(&path, PATH_ONLY, Mode::empty())?;
        Ok(Self { mount, path, fd })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn open_file(&self, file: &str, flags: OFlag) -> io::Result<OwnedFd> {
        Ok(openat(&self.fd, file, flags | OFlag::O_CLOEXEC, Mode::empty())?)
    }

    pub(crate) fn read(&self, file: &str) -> io::Result<String> {
        read_at(self.fd(), file)
    }

    /// As `read`, but a file that this kernel has not is `None`.
    pub(crate) fn read_optional(&self, file: &str) -> Result<Option<String>, Error> {
        match self.read(file) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(self.error("read", file, error)),
        }
    }

    /// Writes in a single `write(2)`, as the kernel's cgroup files ask.
    pub(crate) fn write(&self, file: &str, value: &str) -> io::Result<()> {
        write_at(self.fd(), file, value)
    }

    pub(crate) fn error(&self, verb: &str, file: &str, source: io::Error) -> Error {
        Error::io(format!("{verb} {}", self.path.join(file).display()), source)
    }

    /// The processes of this cgroup and those nested in it.
    pub(crate) fn processes(&self) -> io::Result<Vec<i32>> {
        let mut found = Vec::new();
        self.each(&mut |directory| {
            match read_at(directory, "cgroup.procs") {
                // 0 stands for a process that this PID namespace cannot see.
                Ok(text) => found
                    .extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0)),
                // ENODEV: removed meanwhile. EOPNOTSUPP: a threaded cgroup, whose processes its domain lists.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::ENODEV | libc::ENOENT | libc::EOPNOTSUPP)
                    ) => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Does something in this cgroup and those nested in it.
    pub(crate) fn each(&self, act: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        visit_nested(self.fd(), &mut |_, _, directory| act(directory))?;
        act(self.fd())
    }
}

/// Writes to a file of a cgroup, as [`Directory::write`] does.
pub(crate) fn write_at(directory: BorrowedFd<'_>, file: &str, value: &str) -> io::Result<()> {
    let fd = openat(directory, file, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write_once(fd.as_fd(), value)
}

/// Writes in a single `write(2)`. A memory limit's write may be interrupted by a signal.
pub(crate) fn write_once(fd: BorrowedFd<'_>, value: &str) -> io::Result<()> {
    loop {
        match write(fd, value.as_bytes()) {
            Ok(written) if written == value.len() => return Ok(()),
            Ok(_) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_at(directory: BorrowedFd<'_>, file: &str) -> io::Result<String> {
    let fd = openat(directory, file, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text)?;
    Ok(text)
}

/// Removes a directory, first what a container has nested in it. EBUSY: there are processes in one of them.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Errno> {
    match unlinkat(nix::fcntl::AT_FDCWD, path, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EBUSY) => {}
        Err(error) => return Err(error),
    }
    let top = match open(path, PATH_ONLY, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    let nested = visit_nested(top.as_fd(), &mut |parent, name, _| match unlinkat(
        parent,
        name,
        UnlinkatFlags::RemoveDir,
    ) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    });
    nested.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    match unlinkat(nix::fcntl::AT_FDCWD, path, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

type Visit<'a> = dyn FnMut(BorrowedFd<'_>, &CStr, BorrowedFd<'_>) -> io::Result<()> + 'a;

/// Visits every directory nested in `top`, children before their parents, as (parent, name, directory).
///
/// A container may nest without end to exhaust who cleans up after it: one descriptor is open at a time, the way back
/// is `..`, and nothing recurses.
fn visit_nested(top: BorrowedFd<'_>, visit: &mut Visit<'_>) -> io::Result<()> {
    let mut current = openat(top, c".", PATH_ONLY, Mode::empty())?;
    let mut levels = vec![(CString::default(), children(current.as_fd())?)];
    while let Some((_, siblings)) = levels.last_mut() {
        if let Some(name) = siblings.pop() {
            match openat(&current, name.as_c_str(), PATH_ONLY | OFlag::O_NOFOLLOW, Mode::empty()) {
                Ok(child) => {
                    let inside = children(child.as_fd())?;
                    current = child;
                    levels.push((name, inside));
                }
                Err(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        } else {
            let Some((name, _)) = levels.pop() else { break };
            if levels.is_empty() {
                break;
            }
            let parent = openat(&current, c"..", PATH_ONLY, Mode::empty())?;
            visit(parent.as_fd(), &name, current.as_fd())?;
            current = parent;
        }
    }
    Ok(())
}

fn children(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    // kernfs counts subdirectories in the link count: most cgroups have none and need no listing.
    match fstat(directory) {
        Ok(stat) if stat.st_nlink <= 2 => return Ok(Vec::new()),
        Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut found = Vec::new();
    let mut listing = match Dir::openat(directory, c".", flags, Mode::empty()) {
        Ok(listing) => listing,
        Err(Errno::ENOENT) => return Ok(found),
        Err(error) => return Err(error.into()),
    };
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == Some(Type::Directory) && name != c"." && name != c".." {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}
