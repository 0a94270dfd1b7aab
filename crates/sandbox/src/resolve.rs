//! Paths inside the container's root, always resolved by the kernel as if that root were "/" (openat2 RESOLVE_IN_ROOT).
//!
//! The rules: a symbolic link leads nowhere but inside, a magic link of /proc (fd/N, root, cwd, exe) leads nowhere at
//! all (CVE-2024-21626), and what was resolved once is used by descriptor, never by name again (CVE-2021-30465).

use std::{
    ffi::{CString, OsStr},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::readlinkat,
    sys::{
        stat::{FileStat, Mode, SFlag, fstat, mkdirat},
        statfs::{FsType, PROC_SUPER_MAGIC, fstatfs},
    },
};

use crate::sys::open::openat2;

/// Rules for every path.
const INSIDE: u64 = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
/// As many links as the kernel follows.
const MOST_LINKS: u32 = 40;

/// What a path is to be where it does not exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory, mode 0755.
    Directory,
    /// An empty file, mode 0644.
    File,
}

/// The container's root directory.
pub(crate) struct Root(OwnedFd);

impl Root {
    /// Takes a descriptor of the directory.
    pub(crate) fn new(directory: OwnedFd) -> Self {
        Self(directory)
    }

    /// Opens what is there.
    pub(crate) fn open(&self, path: &Path, flags: i32) -> nix::Result<OwnedFd> {
        openat2(&self.0, &c_path(path)?, flags, 0, INSIDE)
    }

    /// Opens what is there, if no component of the path is a symbolic link.
    pub(crate) fn open_plain(&self, path: &Path, flags: i32) -> nix::Result<OwnedFd> {
        openat2(&self.0, &c_path(path)?, flags, 0, INSIDE | libc::RESOLVE_NO_SYMLINKS)
    }

    /// As [`Root::make`], if no component of the path is a symbolic link.
    pub(crate) fn make_plain(&self, path: &Path, kind: Kind) -> nix::Result<OwnedFd> {
        match self.open_plain(path, libc::O_PATH) {
            Err(Errno::ENOENT) => {
                self.make(path, kind)?;
                self.open_plain(path, libc::O_PATH)
            }
            other => other,
        }
    }

    /// A handle (O_PATH) of the path, which is made where it is missing, with the directories above it.
    pub(crate) fn make(&self, path: &Path, kind: Kind) -> nix::Result<OwnedFd> {
        self.make_following(path, kind, 0)
    }

    fn make_following(&self, path: &Path, kind: Kind, links: u32) -> nix::Result<OwnedFd> {
        match self.open(path, libc::O_PATH) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::ENOENT) };
        let directory = self.make_following(parent, Kind::Directory, links)?;
        if is_on(&directory, PROC_SUPER_MAGIC) {
            // Nothing can be made there; and what seems a dangling link (/proc/self/fd/7) may be a magic one that has
            // come to exist since (CVE-2024-21626).
            return Err(Errno::ENOENT);
        }
        match make_at(&directory, name, kind) {
            Ok(()) => {}
            // A link to what does not exist: its target is what must be made (an image's /var/run → /run).
            Err(Errno::EEXIST) => match readlinkat(&directory, name) {
                Ok(_) if links == MOST_LINKS => return Err(Errno::ELOOP),
                Ok(target) => return self.make_following(&parent.join(target), kind, links + 1),
                // Somebody else made it meanwhile.
                Err(_) => {}
            },
            Err(errno) => return Err(errno),
        }
        // Below the handle of the parent and never through a link: what was just made, or nothing.
        openat2(
            &directory,
            &c_path(Path::new(name))?,
            libc::O_PATH,
            0,
            libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS,
        )
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn make_at(directory: &OwnedFd, name: &OsStr, kind: Kind) -> nix::Result<()> {
    match kind {
        Kind::Directory => mkdirat(directory, name, Mode::from_bits_truncate(0o755)),
        Kind::File => {
            let flags = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_RDONLY;
            openat2(directory, &c_path(Path::new(name))?, flags, 0o644, libc::RESOLVE_BENEATH).map(drop)
        }
    }
}

/// The path as the kernel wants it. A name that ends in ".." has no file name; openat2 then decides.
pub(crate) fn c_path(path: &Path) -> nix::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// Whether a descriptor is on a file system of this kind.
pub(crate) fn is_on(fd: impl AsFd, kind: FsType) -> bool {
    fstatfs(fd).is_ok_and(|fs| fs.filesystem_type() == kind)
}

/// Whether a descriptor is this character device.
pub(crate) fn is_character_device(stat: &FileStat, major: u32, minor: u32) -> bool {
    is_kind(stat, SFlag::S_IFCHR) && stat.st_rdev == libc::makedev(major, minor)
}

/// Whether a descriptor is a file of this kind.
pub(crate) fn is_kind(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

/// What kind of mount point a file needs.
pub(crate) fn kind_of(fd: impl AsFd) -> nix::Result<Kind> {
    Ok(if is_kind(&fstat(fd)?, SFlag::S_IFDIR) { Kind::Directory } else { Kind::File })
}

/// The path by which this process reaches an open descriptor, for calls that know only paths.
pub(crate) fn descriptor_path(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}
