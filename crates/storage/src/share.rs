//! Files of a new layer that another layer has just so → the other layer's, under one more name.
//!
//! Only under the same path: of two layers that lie on each other the upper one's file hides the lower one's, so that no
//! container ever sees one file under two names that its image did not link. For the same reason a file that has names
//! elsewhere is left alone. Alike means everything a container can read: bytes, mode, owner, times but the last access,
//! extended attributes. What a container writes goes to a copy (overlayfs), and nothing else writes to a layer.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use serde::{Deserialize, Serialize};

use crate::changes::attributes;
use crate::directory::names;
use crate::error::{Error, Result};
use crate::extract::paths::joined;
use crate::recipe::data;
use crate::tar::shown;

/// Bytes of a file that is worth looking for.
const LEAST: i64 = 4096;

/// Bytes that are compared at once, of each side.
const PIECE: usize = 128 << 10;

/// What a link is called until it takes the file's place. A layer that has this name itself keeps what it has.
const SPARE: &[u8] = b".kapsel-shared";

/// A layer that nobody uses yet, and those that may have the same files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Newcomer {
    /// Its tree.
    pub tree: PathBuf,
    /// Their trees, the likeliest first. One that is gone has no files.
    pub with: Vec<PathBuf>,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Saved {
    /// Number of files.
    pub files: u64,
    /// Bytes of allocated blocks that they took.
    pub bytes: u64,
}

/// Looks for each file of the new layer in the others, and gives it up for the one found. On an error the tree may
/// hold a name too many: the caller removes it. Code: `SHARE_FAILED`.
pub fn share(Newcomer { tree, with }: &Newcomer) -> Result<Saved> {
    let top = root(tree)?;
    let device = fstat(&top).map_err(|errno| failed(b"", errno))?.st_dev;
    let with: Vec<OwnedFd> = with
        .iter()
        .filter_map(|path| root(path).ok())
        .filter(|other| fstat(other).is_ok_and(|stat| stat.st_dev == device))
        .collect();
    let mut saved = Saved::default();
    // By their paths, not by descriptors: of those a process has fewer than a tree may have levels.
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let others: Vec<OwnedFd> = with.iter().filter_map(|other| below(other, &path).ok()).collect();
        if !others.is_empty() {
            let directory = below(&top, &path).map_err(|errno| failed(&path, errno))?;
            let inside = Directory { directory, path: &path, others: &others };
            inside.share(&mut saved, &mut pending).map_err(|errno| failed(&path, errno))?;
        }
    }
    Ok(saved)
}

/// One directory of the new layer, and those of the same path.
struct Directory<'a> {
    directory: OwnedFd,
    path: &'a [u8],
    others: &'a [OwnedFd],
}

impl Directory<'_> {
    fn share(&self, saved: &mut Saved, pending: &mut Vec<Vec<u8>>) -> nix::Result<()> {
        let was = fstat(&self.directory)?;
        let mut linked = false;
        for name in names(&self.directory)? {
            let stat = fstatat(&self.directory, &name[..], AtFlags::AT_SYMLINK_NOFOLLOW)?;
            let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
            if kind == SFlag::S_IFDIR {
                pending.push(joined(self.path, &name));
                continue;
            }
            let is_worth_it = kind == SFlag::S_IFREG && stat.st_nlink == 1 && stat.st_size >= LEAST;
            if is_worth_it && self.file(&name, &stat)? {
                linked = true;
                saved.files += 1;
                saved.bytes += stat.st_blocks.unsigned_abs() * 512;
            }
        }
        if linked {
            let spec = |seconds, nanoseconds| TimeSpec::new(seconds, nanoseconds);
            let accessed = spec(was.st_atime, was.st_atime_nsec);
            futimens(&self.directory, &accessed, &spec(was.st_mtime, was.st_mtime_nsec))?;
        }
        Ok(())
    }

    /// Whether another's file took this one's place.
    fn file(&self, name: &[u8], stat: &FileStat) -> nix::Result<bool> {
        let look = |at: &OwnedFd| fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok();
        for other in self.others {
            let Some(there) = look(other).filter(|there| alike(stat, there)) else { continue };
            // All its names must be this one, each in another layer.
            let is_it = |at: &&OwnedFd| look(at).is_some_and(|one| one.st_ino == there.st_ino);
            if there.st_nlink > 1
                && self.others.iter().filter(is_it).count() as libc::nlink_t != there.st_nlink
            {
                continue;
            }
            if self.is_same(other, name, &there).unwrap_or(false) && self.link(other, name, &there)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_same(&self, other: &OwnedFd, name: &[u8], there: &FileStat) -> io::Result<bool> {
        let (mine, theirs) = (file(&self.directory, name)?, file(other, name)?);
        Ok(fstat(&theirs)?.st_ino == there.st_ino
            && attributes::every(mine.as_fd())? == attributes::every(theirs.as_fd())?
            && same_bytes(&mine, &theirs)?)
    }

    /// The other layer may be on its way out, the disk full, or the file have as many names as it can: then nothing is shared.
    fn link(&self, other: &OwnedFd, name: &[u8], there: &FileStat) -> nix::Result<bool> {
        if linkat(other, name, &self.directory, SPARE, AtFlags::empty()).is_err() {
            return Ok(false);
        }
        let is_it = fstatat(&self.directory, SPARE, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_ino == there.st_ino;
        if is_it && renameat(&self.directory, SPARE, &self.directory, name).is_ok() {
            return Ok(true);
        }
        unlinkat(&self.directory, SPARE, UnlinkatFlags::NoRemoveDir)?;
        Ok(false)
    }
}

/// Whether all that `stat` tells of a file but its place and its last access is the same.
fn alike(one: &FileStat, other: &FileStat) -> bool {
    let facts = |stat: &FileStat| {
        (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_mode, stat.st_uid, stat.st_gid)
    };
    facts(one) == facts(other)
}

/// Of two files of one size. Holes are zeros, and are not read.
fn same_bytes(one: &File, other: &File) -> io::Result<bool> {
    let (mut first, mut second) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    loop {
        let (start, end) = match (data(one, at)?, data(other, at)?) {
            (None, None) => return Ok(true),
            (Some(run), None) | (None, Some(run)) => run,
            (Some(mine), Some(theirs)) => mine.min(theirs),
        };
        at = start;
        while at < end {
            let count = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            one.read_exact_at(&mut first[..count], at)?;
            other.read_exact_at(&mut second[..count], at)?;
            if first[..count] != second[..count] {
                return Ok(false);
            }
            at += count as u64;
        }
    }
}

fn root(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
        .map_err(|errno| failed(path.as_os_str().as_encoded_bytes(), errno))
}

/// A directory below a layer's root; no link leads to it.
fn below(root: &OwnedFd, path: &[u8]) -> nix::Result<OwnedFd> {
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV,
    );
    let path = if path.is_empty() { b"." } else { path };
    loop {
        match openat2(root, path, how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            result => return result,
        }
    }
}

fn file(directory: &OwnedFd, name: &[u8]) -> nix::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::empty()).map(File::from)
}

fn failed(path: &[u8], errno: Errno) -> Error {
    Error::io("SHARE_FAILED", format!("cannot share the files of {}", shown(path)), &errno.into())
}
