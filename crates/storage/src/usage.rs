//! What trees take of the disk, and what their removal would give back: allocated blocks, each file once however many
//! names it has. A file that also has a name elsewhere takes its place until that name goes too.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use serde::Serialize;

use crate::error::{Error, Result};

/// `st_blocks` counts in these, whatever the file system's block (stat(2)).
const BLOCK: u64 = 512;

/// Bytes of allocated blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Usage {
    /// Of everything in the trees.
    pub size: u64,
    /// That become free when all of them are removed.
    pub freed: u64,
}

/// Measures several sets of trees; a tree that is in many sets is walked once. A path that is a file counts as a tree of
/// one, one that is not there as empty.
pub fn measure(sets: &[Vec<PathBuf>]) -> Result<Vec<Usage>> {
    let mut trees: HashMap<&Path, Tree> = HashMap::new();
    for path in sets.iter().flatten() {
        if !trees.contains_key(path.as_path()) {
            trees.insert(path, walk(path)?);
        }
    }
    let of = |set: &Vec<PathBuf>| {
        let distinct: HashSet<&Path> = set.iter().map(PathBuf::as_path).collect();
        combined(distinct.into_iter().filter_map(|path| trees.get(path)))
    };
    Ok(sets.iter().map(of).collect())
}

fn combined<'a>(trees: impl Iterator<Item = &'a Tree>) -> Usage {
    let mut usage = Usage::default();
    let mut names: HashMap<(u64, u64), (libc::nlink_t, &Shared)> = HashMap::new();
    for tree in trees {
        usage.size += tree.alone;
        usage.freed += tree.alone;
        for file in &tree.shared {
            names.entry(file.id).or_insert((0, file)).0 += 1;
        }
    }
    for (found, file) in names.into_values() {
        usage.size += file.bytes;
        if found >= file.names {
            usage.freed += file.bytes;
        }
    }
    usage
}

#[derive(Default)]
struct Tree {
    /// Bytes of directories, and of files with a single name.
    alone: u64,
    shared: Vec<Shared>,
}

/// A file with several names.
struct Shared {
    id: (u64, u64),
    names: libc::nlink_t,
    bytes: u64,
}

impl Tree {
    fn add(&mut self, stat: &FileStat) {
        let bytes = u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK;
        if stat.st_mode & libc::S_IFMT == libc::S_IFDIR || stat.st_nlink <= 1 {
            self.alone += bytes;
        } else {
            self.shared.push(Shared { id: (stat.st_dev, stat.st_ino), names: stat.st_nlink, bytes });
        }
    }
}

/// By directory fds: no link is followed and no mount entered, whoever changes the tree meanwhile.
fn walk(path: &Path) -> Result<Tree> {
    let failed =
        |errno: Errno| Error::io("USAGE_FAILED", format!("cannot measure {}", path.display()), &errno.into());
    let mut tree = Tree::default();
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let top = match open(path, flags, Mode::empty()) {
        Ok(top) => top,
        Err(Errno::ENOENT) => return Ok(tree),
        Err(errno) => return Err(failed(errno)),
    };
    let stat = fstat(&top).map_err(failed)?;
    tree.add(&stat);
    if stat.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Ok(tree);
    }
    // A directory stays open while others in it are still to be seen.
    let mut pending: Vec<(Rc<OwnedFd>, Vec<u8>)> = vec![(Rc::new(top), b".".to_vec())];
    while let Some((parent, name)) = pending.pop() {
        match list(&parent, &name, stat.st_dev, &mut tree) {
            Ok(Some((directory, below))) => {
                pending.extend(below.into_iter().map(|name| (Rc::clone(&directory), name)));
            }
            // It is gone, or has become a link.
            Ok(None) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(tree)
}

type Listed = (Rc<OwnedFd>, Vec<Vec<u8>>);

/// Adds what is in a directory; gives back the directory and the names of those in it.
fn list(parent: &OwnedFd, name: &[u8], device: u64, tree: &mut Tree) -> nix::Result<Option<Listed>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let directory = openat2(parent, name, how)?;
    let mut listed = Dir::from_fd(directory.try_clone().map_err(|_| Errno::EMFILE)?)?;
    let mut below = Vec::new();
    for entry in listed.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match fstatat(directory.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => continue,
            result => result?,
        };
        if stat.st_dev != device {
            continue;
        }
        tree.add(&stat);
        if entry.file_type() == Some(Type::Directory) || stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
            below.push(name.to_bytes().to_vec());
        }
    }
    Ok((!below.is_empty()).then(|| (Rc::new(directory), below)))
}
