//! A tree → nothing, by directory fds: no link is followed, no mount crossed, no depth too deep, no mode in the way.
//! Whatever lives in the tree may rename it meanwhile: it then fails to be removed, but nothing else is.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::error::{Error, Result};
use crate::tar::shown;

/// How often a directory that others keep filling is emptied again.
const PATIENCE: u32 = 100;

/// Directories on the way down that are kept open; those above are found again through `..`.
const OPEN: usize = 32;

/// Removes `path` and all below it. What is not there (any more) is no error.
/// Codes: `TREE_BUSY` where something is mounted in it, `REMOVE_FAILED` otherwise.
pub fn remove_tree(path: &Path) -> Result<()> {
    let refused = |errno: Errno| failed(path.as_os_str().as_bytes(), errno);
    let name = path.file_name().ok_or_else(|| refused(Errno::EINVAL))?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    match nix::fcntl::open(parent, flags, Mode::empty()) {
        Ok(parent) => remove_at(parent.as_fd(), name.as_bytes()),
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(refused(errno)),
    }
}

/// The same for `name` in `parent`.
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        // EPERM is POSIX's word for a directory; some file systems use it.
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(failed(name, errno)),
    }
    for _ in 0..PATIENCE {
        match open(parent, name) {
            Ok(top) => empty(top, name)?,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(failed(name, errno)),
        }
        match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::ENOTEMPTY) => {}
            Err(errno) => return Err(failed(name, errno)),
        }
    }
    Err(failed(name, Errno::ENOTEMPTY))
}

/// A directory being emptied.
struct Level {
    /// `None` while too many others are open.
    fd: Option<OwnedFd>,
    /// Directories in it that were seen and are still there.
    seen: Vec<Vec<u8>>,
    /// Device and inode: what it must still be when found again.
    id: (u64, u64),
    /// Its name in the level above.
    name: Vec<u8>,
}

/// Removes everything in a directory. Others may fill it again at any time: its remover looks.
fn empty(top: OwnedFd, name: &[u8]) -> Result<()> {
    let mut batch = vec![0; 32 << 10];
    let mut levels = vec![Level::new(top, name.to_vec())?];
    while let Some(level) = levels.last_mut() {
        if let Some((name, directory)) = level.descend(&mut batch)? {
            levels.push(Level::new(directory, name)?);
            if let Some(outer) = levels.len().checked_sub(OPEN + 1) {
                // The names seen are read again with the directory: a chain of huge directories costs no memory.
                levels[outer].fd = None;
                levels[outer].seen = Vec::new();
            }
            continue;
        }
        // It is empty: the level above removes it.
        let Some(done) = levels.pop() else { break };
        let Some(above) = levels.last_mut() else { break };
        let fd = match above.fd.take() {
            Some(fd) => fd,
            None => above.reopen(&done)?,
        };
        let removed = unlinkat(&fd, &done.name[..], UnlinkatFlags::RemoveDir);
        above.fd = Some(fd);
        match removed {
            // Not empty after all: the remover of the whole looks again.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY) => {}
            Err(errno) => return Err(failed(&done.name, errno)),
        }
    }
    Ok(())
}

impl Level {
    fn new(fd: OwnedFd, name: Vec<u8>) -> Result<Self> {
        let stat = fstat(&fd).map_err(|errno| failed(&name, errno))?;
        // Root does not care, but everybody else needs all three to remove what is in a directory of their own.
        if stat.st_mode & 0o700 != 0o700 {
            fchmod(&fd, Mode::S_IRWXU).map_err(|errno| failed(&name, errno))?;
        }
        Ok(Level { fd: Some(fd), seen: Vec::new(), id: (stat.st_dev, stat.st_ino), name })
    }

    /// Removes what is no directory, and opens the first directory. `None`: nothing is left.
    fn descend(&mut self, batch: &mut [u8]) -> Result<Option<(Vec<u8>, OwnedFd)>> {
        let Some(fd) = &self.fd else { return Ok(None) };
        loop {
            while let Some(name) = self.seen.pop() {
                match open(fd.as_fd(), &name) {
                    Ok(directory) => return Ok(Some((name, directory))),
                    Err(Errno::ENOENT) => {}
                    Err(errno) => return Err(failed(&name, errno)),
                }
            }
            let length = match entries(fd.as_fd(), batch) {
                // Another has removed it, which is at work on the same tree.
                Err(Errno::ENOENT) => 0,
                read => read.map_err(|errno| failed(&self.name, errno))?,
            };
            if length == 0 {
                return Ok(None);
            }
            for (name, kind) in Names(&batch[..length]) {
                if matches!(name, b"." | b"..") {
                    continue;
                }
                if kind == libc::DT_DIR {
                    self.seen.push(name.to_vec());
                    continue;
                }
                match unlinkat(fd, name, UnlinkatFlags::NoRemoveDir) {
                    Ok(()) | Err(Errno::ENOENT) => {}
                    // A file system that does not tell the kind, or somebody was quicker.
                    Err(Errno::EISDIR) => self.seen.push(name.to_vec()),
                    Err(errno) => return Err(failed(name, errno)),
                }
            }
        }
    }

    /// Finds this level again, from the one below it.
    fn reopen(&self, below: &Level) -> Result<OwnedFd> {
        let below = below.fd.as_ref().ok_or_else(|| failed(&self.name, Errno::EBADF))?;
        let fd = resolve(below.as_fd(), b"..").map_err(|errno| failed(&self.name, errno))?;
        let stat = fstat(&fd).map_err(|errno| failed(&self.name, errno))?;
        if (stat.st_dev, stat.st_ino) != self.id {
            let text =
                format!("directory {} was moved while being removed: stop what uses it", shown(&self.name));
            return Err(Error::new("REMOVE_FAILED", text));
        }
        Ok(fd)
    }
}

/// Opens a directory for reading, whatever its mode, unless it is a link or something is mounted on it.
fn open(at: BorrowedFd<'_>, name: &[u8]) -> nix::Result<OwnedFd> {
    match resolve(at, name) {
        // Its owner may change that, though only by a path: /proc's, which leads to exactly what the fd is.
        Err(Errno::EACCES) => {
            let how = OpenHow::new()
                .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
                .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
            let there = openat2(at, name, how)?;
            let path = format!("/proc/self/fd/{}", there.as_raw_fd());
            fchmodat(nix::fcntl::AT_FDCWD, &path[..], Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
            resolve(at, name)
        }
        result => result,
    }
}

fn resolve(at: BorrowedFd<'_>, name: &[u8]) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(at, name, how)
}

/// The next directory entries, as the kernel writes them; 0: there are no more. The C library would keep a buffer of
/// its own for each directory, and libc's `readdir` cannot go on in a directory from which entries are removed.
fn entries(directory: BorrowedFd<'_>, batch: &mut [u8]) -> nix::Result<usize> {
    // SAFETY: the kernel writes at most `batch.len()` bytes to `batch`, and keeps nothing.
    let length = unsafe {
        libc::syscall(libc::SYS_getdents64, directory.as_raw_fd(), batch.as_mut_ptr(), batch.len())
    };
    Errno::result(length).map(|length| length as usize)
}

/// Names and kinds in what [`entries`] gave: `struct linux_dirent64`.
struct Names<'a>(&'a [u8]);

impl<'a> Iterator for Names<'a> {
    type Item = (&'a [u8], u8);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(self.0.get(16..18)?.try_into().ok()?));
        let (entry, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let name = entry.get(19..)?;
        let end = name.iter().position(|&c| c == 0)?;
        Some((&name[..end], entry[18]))
    }
}

fn failed(name: &[u8], errno: Errno) -> Error {
    if let Errno::EXDEV | Errno::EBUSY = errno {
        let text = format!("cannot remove {}: something is mounted on it; unmount that first", shown(name));
        return Error { code: "TREE_BUSY", message: text, errno: Some(errno as i32) };
    }
    Error::io("REMOVE_FAILED", format!("cannot remove {}", shown(name)), &errno.into())
}
