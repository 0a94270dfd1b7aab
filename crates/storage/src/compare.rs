//! Two stacks of layers → what differs between the trees they make, without a mount. Where both have the same directories
//! below each other everything in them is the same and is not looked at: the cost follows the difference.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, fstatat};
use serde::Serialize;

use crate::error::{Error, Result};

/// A path that only one of two trees has, or that is not the same in both. Times alone make no difference: the same
/// content is written anew by every build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `A`: only the second has it; `D`: only the first; `C`: both, but not the same.
    pub kind: char,
    /// Absolute in the tree; what is no UTF-8 is replaced.
    pub path: String,
    /// `file`, `directory`, `symlink` or `other`: in the second tree, where it is there.
    #[serde(rename = "type")]
    pub file_type: &'static str,
    /// Bytes of a regular file in the first tree.
    pub before: Option<u64>,
    /// Bytes of a regular file in the second.
    pub after: Option<u64>,
}

/// The directories of a stack that lie on each other at one path, topmost first.
type Stack = Vec<OwnedFd>;

/// Calls `found` for each difference, by path; of a directory that only one has, for everything in it.
pub fn compare(
    first: &[PathBuf],
    second: &[PathBuf],
    found: &mut dyn FnMut(Difference) -> Result<()>,
) -> Result<()> {
    let first = first.iter().map(|path| top(path)).collect::<Result<Stack>>()?;
    let second = second.iter().map(|path| top(path)).collect::<Result<Stack>>()?;
    directories(&first, &second, &mut Vec::new(), found)
}

fn top(path: &Path) -> Result<OwnedFd> {
    let file = File::open(path)
        .map_err(|error| Error::io("COMPARE_FAILED", format!("cannot open {}", path.display()), &error))?;
    Ok(file.into())
}

fn directories(
    first: &Stack,
    second: &Stack,
    path: &mut Vec<u8>,
    found: &mut dyn FnMut(Difference) -> Result<()>,
) -> Result<()> {
    let failed = |path: &[u8], errno: Errno| {
        let shown = String::from_utf8_lossy(path);
        Error::io("COMPARE_FAILED", format!("cannot compare /{shown}"), &errno.into())
    };
    if same_directories(first, second).map_err(|errno| failed(path, errno))? {
        return Ok(());
    }
    let mut names = BTreeSet::new();
    for directory in first.iter().chain(second) {
        list(directory, &mut names).map_err(|errno| failed(path, errno))?;
    }
    for name in names {
        let length = path.len();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let refused = |errno| failed(path, errno);
        let before = look(first, &name).map_err(refused)?;
        let after = look(second, &name).map_err(refused)?;
        if let Some(kind) = kind_of(before.as_ref(), after.as_ref(), &name).map_err(refused)? {
            found(difference(kind, path, before.as_ref(), after.as_ref()))?;
        }
        let inside = |entry: Option<Entry>| entry.map(|entry| entry.inside).unwrap_or_default();
        let (below_first, below_second) = (inside(before), inside(after));
        if !below_first.is_empty() || !below_second.is_empty() {
            directories(&below_first, &below_second, path, found)?;
        }
        path.truncate(length);
    }
    Ok(())
}

/// What a stack shows under a name.
struct Entry {
    stat: FileStat,
    /// Where it is.
    directory: OwnedFd,
    /// Of a directory, those that lie on each other below it.
    inside: Stack,
}

fn look(stack: &Stack, name: &CString) -> nix::Result<Option<Entry>> {
    let mut entry: Option<Entry> = None;
    for directory in stack {
        let stat = match fstatat(directory.as_fd(), name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => continue,
            result => result?,
        };
        if is_whiteout(&stat) {
            break;
        }
        let is_directory = format(&stat) == libc::S_IFDIR;
        if let Some(entry) = &mut entry {
            // A file below hides what is below it, and shows nothing itself.
            if !is_directory {
                break;
            }
            entry.inside.push(open(directory, name)?);
        } else {
            let inside = if is_directory { vec![open(directory, name)?] } else { Vec::new() };
            let directory = directory.try_clone().map_err(|_| Errno::EMFILE)?;
            entry = Some(Entry { stat, directory, inside });
        }
        let opaque = entry.as_ref().and_then(|entry| entry.inside.last()).is_none_or(is_opaque);
        if opaque {
            break;
        }
    }
    Ok(entry)
}

fn open(directory: &OwnedFd, name: &CString) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(directory, name.as_c_str(), how)
}

fn is_whiteout(stat: &FileStat) -> bool {
    format(stat) == libc::S_IFCHR && stat.st_rdev == 0
}

/// overlayfs.rst: "opaque directories"; the second attribute is an ordinary user's.
fn is_opaque(directory: &OwnedFd) -> bool {
    [c"trusted.overlay.opaque", c"user.overlay.opaque"].into_iter().any(|name| {
        let mut value = 0u8;
        let buffer = (&raw mut value).cast();
        // SAFETY: one byte may be written to `value`, and the descriptor is open.
        let length =
            unsafe { libc::fgetxattr(std::os::fd::AsRawFd::as_raw_fd(directory), name.as_ptr(), buffer, 1) };
        length == 1 && value == b'y'
    })
}

fn same_directories(first: &Stack, second: &Stack) -> nix::Result<bool> {
    if first.len() != second.len() {
        return Ok(false);
    }
    for (one, other) in first.iter().zip(second) {
        let (one, other) = (nix::sys::stat::fstat(one)?, nix::sys::stat::fstat(other)?);
        if (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn list(directory: &OwnedFd, names: &mut BTreeSet<CString>) -> nix::Result<()> {
    let mut listed = Dir::from_fd(open(directory, &CString::from(c"."))?)?;
    for entry in listed.iter() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            names.insert(name);
        }
    }
    Ok(())
}

fn kind_of(before: Option<&Entry>, after: Option<&Entry>, name: &CString) -> nix::Result<Option<char>> {
    Ok(match (before, after) {
        (None, None) => None,
        (None, Some(_)) => Some('A'),
        (Some(_), None) => Some('D'),
        (Some(before), Some(after)) => differs(before, after, name)?.then_some('C'),
    })
}

fn differs(before: &Entry, after: &Entry, name: &CString) -> nix::Result<bool> {
    let (one, other) = (&before.stat, &after.stat);
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) {
        return Ok(false);
    }
    if (one.st_mode, one.st_uid, one.st_gid) != (other.st_mode, other.st_uid, other.st_gid) {
        return Ok(true);
    }
    match format(one) {
        libc::S_IFREG => {
            if one.st_size != other.st_size {
                return Ok(true);
            }
            contents_differ(&file(before, name)?, &file(after, name)?)
        }
        libc::S_IFLNK => {
            let target = |entry: &Entry| readlinkat(entry.directory.as_fd(), name.as_c_str());
            Ok(target(before)? != target(after)?)
        }
        libc::S_IFCHR | libc::S_IFBLK => Ok(one.st_rdev != other.st_rdev),
        _ => Ok(false),
    }
}

fn file(entry: &Entry, name: &CString) -> nix::Result<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(entry.directory.as_fd(), name.as_c_str(), how)?.into())
}

fn contents_differ(mut one: &File, mut other: &File) -> nix::Result<bool> {
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let refused = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    loop {
        let length = one.read(&mut left).map_err(refused)?;
        if length == 0 {
            return Ok(false);
        }
        match other.read_exact(&mut right[..length]) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(true),
            result => result.map_err(refused)?,
        }
        if left[..length] != right[..length] {
            return Ok(true);
        }
    }
}

fn difference(kind: char, path: &[u8], before: Option<&Entry>, after: Option<&Entry>) -> Difference {
    let size = |entry: Option<&Entry>| {
        let stat = entry?.stat;
        (format(&stat) == libc::S_IFREG).then(|| u64::try_from(stat.st_size).unwrap_or(0))
    };
    let file_type = match after.or(before).map(|entry| format(&entry.stat)) {
        Some(libc::S_IFREG) => "file",
        Some(libc::S_IFDIR) => "directory",
        Some(libc::S_IFLNK) => "symlink",
        _ => "other",
    };
    let path = format!("/{}", String::from_utf8_lossy(path));
    Difference { kind, path, file_type, before: size(before), after: size(after) }
}

fn format(stat: &FileStat) -> libc::mode_t {
    stat.st_mode & libc::S_IFMT
}
