//! Two stacks of layers → what differs between the trees they make, without a mount. Where both have the same directories
//! below each other everything in them is the same and is not looked at: the cost follows the difference.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, fstatat};
use serde::Serialize;

use crate::changes::attributes;
use crate::error::{Error, Result};

/// A path that only one of two trees has, or that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `A`: only the second has it; `D`: only the first; `C`: both, but not the same.
    pub kind: char,
    /// Absolute in the tree; what is no UTF-8 is replaced.
    pub path: String,
    /// `file`, `directory`, `symlink` or `other`: in the second tree, where it is there.
    #[serde(rename = "type")]
    pub file_type: &'static str,
    /// What differs where both have it: `type`, or of `mode`, `owner`, `content`, `attributes` (extended) and `time`.
    pub what: Vec<&'static str>,
    /// Bytes of a regular file in the first tree.
    pub before: Option<u64>,
    /// Bytes of a regular file in the second.
    pub after: Option<u64>,
}

/// The directories of a stack that lie on each other at one path, topmost first.
type Stack = Vec<OwnedFd>;

/// Calls `found` for each difference, by path; of a directory that only one has, for everything in it. Without `times`
/// those alone make no difference: the same content is written anew by every build.
pub fn compare(
    first: &[PathBuf],
    second: &[PathBuf],
    times: bool,
    found: &mut dyn FnMut(Difference) -> Result<()>,
) -> Result<()> {
    let first = first.iter().map(|path| top(path)).collect::<Result<Stack>>()?;
    let second = second.iter().map(|path| top(path)).collect::<Result<Stack>>()?;
    directories(&first, &second, times, &mut Vec::new(), found)
}

fn top(path: &Path) -> Result<OwnedFd> {
    let file = File::open(path)
        .map_err(|error| Error::io("COMPARE_FAILED", format!("cannot open {}", path.display()), &error))?;
    Ok(file.into())
}

fn directories(
    first: &Stack,
    second: &Stack,
    times: bool,
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
        let pair = (before.as_ref(), after.as_ref());
        if let Some((kind, what)) = kind_of(pair, &name, times).map_err(refused)? {
            found(difference(kind, what, path, pair))?;
        }
        let inside = |entry: Option<Entry>| entry.map(|entry| entry.inside).unwrap_or_default();
        let (below_first, below_second) = (inside(before), inside(after));
        if !below_first.is_empty() || !below_second.is_empty() {
            directories(&below_first, &below_second, times, path, found)?;
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
        let opaque = entry
            .as_ref()
            .and_then(|entry| entry.inside.last())
            .is_none_or(|one| attributes::is_opaque(one.as_fd()));
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

/// The two that a name stands for.
type Pair<'a> = (Option<&'a Entry>, Option<&'a Entry>);

fn kind_of(pair: Pair<'_>, name: &CString, times: bool) -> nix::Result<Option<(char, Vec<&'static str>)>> {
    Ok(match pair {
        (None, None) => None,
        (None, Some(_)) => Some(('A', Vec::new())),
        (Some(_), None) => Some(('D', Vec::new())),
        (Some(before), Some(after)) => {
            let what = differs(before, after, name, times)?;
            (!what.is_empty()).then_some(('C', what))
        }
    })
}

fn differs(before: &Entry, after: &Entry, name: &CString, times: bool) -> nix::Result<Vec<&'static str>> {
    let (one, other) = (&before.stat, &after.stat);
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) {
        return Ok(Vec::new());
    }
    if format(one) != format(other) {
        return Ok(vec!["type"]);
    }
    // Only files and directories have attributes that a layer keeps.
    let (content, attributes) = match format(one) {
        libc::S_IFREG => {
            let (mine, theirs) = (file(before, name)?, file(after, name)?);
            let content = one.st_size != other.st_size || contents_differ(&mine, &theirs)?;
            (content, attributes_differ(mine.as_fd(), theirs.as_fd())?)
        }
        libc::S_IFDIR => match (before.inside.first(), after.inside.first()) {
            (Some(mine), Some(theirs)) => (false, attributes_differ(mine.as_fd(), theirs.as_fd())?),
            _ => (false, false),
        },
        libc::S_IFLNK => {
            let target = |entry: &Entry| readlinkat(entry.directory.as_fd(), name.as_c_str());
            (target(before)? != target(after)?, false)
        }
        _ => (one.st_rdev != other.st_rdev, false),
    };
    let time = |stat: &FileStat| (stat.st_mtime, stat.st_mtime_nsec);
    let all = [
        ("mode", one.st_mode != other.st_mode),
        ("owner", (one.st_uid, one.st_gid) != (other.st_uid, other.st_gid)),
        ("content", content),
        ("attributes", attributes),
        ("time", times && time(one) != time(other)),
    ];
    Ok(all.into_iter().filter_map(|(what, differs)| differs.then_some(what)).collect())
}

/// Overlayfs's own say how layers lie on each other; what an ordinary user could not give a file is among the others.
fn attributes_differ(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> nix::Result<bool> {
    let of = |file| {
        let mut all = attributes::every(file)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
        all.retain(|(name, _)| !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay."));
        nix::Result::Ok(all)
    };
    Ok(of(one)? != of(other)?)
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

fn difference(kind: char, what: Vec<&'static str>, path: &[u8], (before, after): Pair<'_>) -> Difference {
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
    Difference { kind, path, file_type, what, before: size(before), after: size(after) }
}

fn format(stat: &FileStat) -> libc::mode_t {
    stat.st_mode & libc::S_IFMT
}
