//! Directories that lie on each other, read as overlayfs shows them, without a mount.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use super::attributes::is_opaque;
use super::failed;
use crate::directory::names;
use crate::error::Result;
use crate::extract::marks::whiteout;

/// Opens a directory, never a link to one.
pub const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// One directory of every layer that shows in it, topmost first.
pub struct Merged(Vec<OwnedFd>);

impl Merged {
    /// The roots, topmost first.
    pub fn open(roots: &[impl AsRef<Path>]) -> Result<Self> {
        let open = |path: &Path| {
            let opened = nix::fcntl::open(path, DIRECTORY, Mode::empty());
            opened.map_err(|errno| failed(path.as_os_str().as_encoded_bytes(), &errno.into()))
        };
        Ok(Merged(roots.iter().map(|root| open(root.as_ref())).collect::<Result<_>>()?))
    }

    /// What shows under this name, and where.
    pub fn find(&self, name: &[u8]) -> nix::Result<Option<(&OwnedFd, FileStat)>> {
        for directory in &self.0 {
            match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
                Ok(stat) => return Ok((!whiteout(&stat)).then_some((directory, stat))),
            }
        }
        Ok(None)
    }

    /// The directory of this name; nothing where it is none.
    pub fn child(&self, name: &[u8]) -> nix::Result<Merged> {
        let mut all = Vec::new();
        for directory in &self.0 {
            match openat(directory, name, DIRECTORY, Mode::empty()) {
                Err(Errno::ENOENT) => {}
                // A whiteout, or a file: what is below it does not show.
                Err(Errno::ENOTDIR | Errno::ELOOP) => break,
                Err(errno) => return Err(errno),
                Ok(child) => {
                    let opaque = is_opaque(child.as_fd());
                    all.push(child);
                    if opaque {
                        break;
                    }
                }
            }
        }
        Ok(Merged(all))
    }

    /// The topmost one itself.
    pub fn top(&self) -> Option<&OwnedFd> {
        self.0.first()
    }

    /// All names that show, sorted, and in which directory.
    pub fn names(&self) -> nix::Result<Vec<(Vec<u8>, &OwnedFd)>> {
        let mut all = BTreeMap::new();
        for directory in &self.0 {
            for name in names(directory)? {
                all.entry(name).or_insert(directory);
            }
        }
        let mut shown = Vec::with_capacity(all.len());
        for (name, directory) in all {
            match fstatat(directory, &name[..], AtFlags::AT_SYMLINK_NOFOLLOW) {
                // It has gone since it was listed.
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
                Ok(stat) if whiteout(&stat) => {}
                Ok(_) => shown.push((name, directory)),
            }
        }
        Ok(shown)
    }
}

/// Whether this is a directory.
pub fn is_directory(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
}
