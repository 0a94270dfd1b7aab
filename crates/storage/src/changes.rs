//! What a container has changed: an overlay's upper directory, read as a layer's tar, as a checkpoint's tar and list of
//! what is gone, or as the list that `diff` shows; and what lies on each other as the tar of what it looks like.
//! The cost is that of the upper directory, however much lies below.

pub(crate) mod attributes;
mod merged;
mod tree_writer;

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use serde::Serialize;

use crate::directory::names;
use crate::error::{Error, Result};
use crate::extract::marks::whiteout;
use crate::extract::paths::joined;
use crate::tar::{PATH_MAX, shown};
use attributes::is_opaque;
use merged::{DIRECTORY, Merged, is_directory};
use tree_writer::TreeWriter;

/// What has happened to a path, in Docker's letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ChangeKind {
    /// It is new.
    #[serde(rename = "A")]
    Added,
    /// It was there before, or so was something else of that name.
    #[serde(rename = "C")]
    Changed,
    /// It is gone.
    #[serde(rename = "D")]
    Deleted,
}

/// Writes the upper directory as a layer of an image (OCI image-spec, layer.md): whiteouts for what is gone, entries
/// sorted by name. `newest`: SOURCE_DATE_EPOCH, in seconds; what is newer is written as if it were of then.
/// Codes: `CHANGES_UNREADABLE`, `DISK_FULL`.
pub fn write_layer(upper: &Path, newest: Option<i64>, out: impl Write) -> Result<()> {
    let mut layer = Layer(TreeWriter::new(out, newest));
    walk(upper, &[] as &[PathBuf], &mut layer)?;
    layer.0.finish().map_err(|error| failed(b"", &error))
}

/// Writes what is new or different as a tar, and gives the absolute paths of what is gone. `lowers`: topmost first.
pub fn write_tar(upper: &Path, lowers: &[PathBuf], out: impl Write) -> Result<Vec<Vec<u8>>> {
    let mut checkpoint = Checkpoint { tar: TreeWriter::new(out, None), gone: Vec::new() };
    walk(upper, lowers, &mut checkpoint)?;
    checkpoint.tar.finish().map_err(|error| failed(b"", &error))?;
    Ok(checkpoint.gone)
}

/// Tells of every path that is new, different or gone. `lowers`: topmost first.
pub fn list(
    upper: &Path,
    lowers: &[PathBuf],
    tell: impl FnMut(ChangeKind, &[u8]) -> io::Result<()>,
) -> Result<()> {
    walk(upper, lowers, &mut List(tell))
}

/// Writes directories that lie on each other, topmost first, as the tar of what a container sees.
pub fn write_merged(layers: &[PathBuf], newest: Option<i64>, out: impl Write) -> Result<()> {
    let mut tar = TreeWriter::new(out, newest);
    let root = Merged::open(layers)?;
    if let Some(top) = root.top() {
        let stat = fstat(top).map_err(|errno| failed(b"", &errno.into()))?;
        tar.directory(top, b"", &stat).map_err(|error| failed(b"", &error))?;
    }
    merged(&root, b"", &mut tar)?;
    tar.finish().map_err(|error| failed(b"", &error))
}

fn merged(directory: &Merged, path: &[u8], tar: &mut TreeWriter<impl Write>) -> Result<()> {
    for (name, at) in directory.names().map_err(|errno| failed(path, &errno.into()))? {
        let path = below(path, &name)?;
        let mut entry = || {
            let stat = fstatat(at, &name[..], AtFlags::AT_SYMLINK_NOFOLLOW)?;
            tar.other(at.as_fd(), &name, &path, &stat)?;
            Ok(is_directory(&stat).then(|| directory.child(&name)).transpose()?)
        };
        if let Some(Some(child)) = unless_gone(entry()).map_err(|error| failed(&path, &error))? {
            merged(&child, &path, tar)?;
        }
    }
    Ok(())
}

/// Who is told of changes.
trait Sink {
    /// A directory that has changed, or is new. The root has the empty path.
    fn directory(&mut self, directory: &OwnedFd, path: &[u8], stat: &FileStat, was: bool) -> io::Result<()>;
    /// Anything else.
    fn other(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        stat: &FileStat,
        was: bool,
    ) -> io::Result<()>;
    /// `name` in `directory` is gone.
    fn gone(&mut self, directory: &[u8], name: &[u8]) -> io::Result<()>;
    /// Everything that was in `directory` is gone: `hidden`, and what a layer above may have made of it.
    fn opaque(&mut self, directory: &[u8], hidden: &[Vec<u8>]) -> io::Result<()>;
}

fn walk(upper: &Path, lowers: &[impl AsRef<Path>], sink: &mut impl Sink) -> Result<()> {
    let failed = |errno: Errno| failed(upper.as_os_str().as_encoded_bytes(), &errno.into());
    let top = nix::fcntl::open(upper, DIRECTORY, Mode::empty()).map_err(failed)?;
    let stat = fstat(&top).map_err(failed)?;
    walk_directory(top, &stat, b"", &Merged::open(lowers)?, true, sink)
}

/// `lower`: what lies below, hidden or not: what has the name of something hidden has taken its place.
/// `was`: whether something of its name lay there.
fn walk_directory(
    directory: OwnedFd,
    stat: &FileStat,
    path: &[u8],
    lower: &Merged,
    was: bool,
    sink: &mut impl Sink,
) -> Result<()> {
    let failed = |cause: io::Error| failed(path, &cause);
    sink.directory(&directory, path, stat, was).map_err(failed)?;
    let own = names(&directory).map_err(|errno| failed(errno.into()))?;
    if is_opaque(directory.as_fd()) {
        let hidden = lower.names().map_err(|errno| failed(errno.into()))?;
        let hidden = hidden.into_iter().map(|(name, _)| name).filter(|name| own.binary_search(name).is_err());
        sink.opaque(path, &hidden.collect::<Vec<_>>()).map_err(failed)?;
    }
    for name in own {
        let child = below(path, &name)?;
        let child_failed = |cause: io::Error| crate::changes::failed(&child, &cause);
        let stat = match fstatat(&directory, &name[..], AtFlags::AT_SYMLINK_NOFOLLOW) {
            // It has gone since it was listed.
            Err(Errno::ENOENT) => continue,
            other => other.map_err(|errno| child_failed(errno.into()))?,
        };
        if whiteout(&stat) {
            sink.gone(path, &name).map_err(child_failed)?;
            continue;
        }
        let was = lower.find(&name).map_err(|errno| child_failed(errno.into()))?;
        if is_directory(&stat) {
            let opened = openat(&directory, &name[..], DIRECTORY, Mode::empty());
            let opened = unless_gone(opened.map_err(io::Error::from)).map_err(child_failed)?;
            let Some(opened) = opened else { continue };
            let under = lower.child(&name).map_err(|errno| child_failed(errno.into()))?;
            walk_directory(opened, &stat, &child, &under, was.is_some(), sink)?;
        } else {
            let told = sink.other(directory.as_fd(), &name, &child, &stat, was.is_some());
            unless_gone(told).map_err(child_failed)?;
        }
    }
    Ok(())
}

struct Layer<W>(TreeWriter<W>);

impl<W: Write> Sink for Layer<W> {
    fn directory(&mut self, directory: &OwnedFd, path: &[u8], stat: &FileStat, _: bool) -> io::Result<()> {
        self.0.directory(directory, path, stat)
    }

    fn other(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        stat: &FileStat,
        _: bool,
    ) -> io::Result<()> {
        self.0.other(parent, name, path, stat)
    }

    fn gone(&mut self, directory: &[u8], name: &[u8]) -> io::Result<()> {
        self.0.mark(&joined(directory, &[b".wh.", name].concat()))
    }

    fn opaque(&mut self, directory: &[u8], _: &[Vec<u8>]) -> io::Result<()> {
        self.0.mark(&joined(directory, b".wh..wh..opq"))
    }
}

struct Checkpoint<W> {
    tar: TreeWriter<W>,
    gone: Vec<Vec<u8>>,
}

impl<W: Write> Sink for Checkpoint<W> {
    fn directory(&mut self, directory: &OwnedFd, path: &[u8], stat: &FileStat, _: bool) -> io::Result<()> {
        if path.is_empty() { Ok(()) } else { self.tar.directory(directory, path, stat) }
    }

    fn other(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        stat: &FileStat,
        _: bool,
    ) -> io::Result<()> {
        self.tar.other(parent, name, path, stat)
    }

    fn gone(&mut self, directory: &[u8], name: &[u8]) -> io::Result<()> {
        self.gone.push([b"/", &joined(directory, name)[..]].concat());
        Ok(())
    }

    fn opaque(&mut self, directory: &[u8], hidden: &[Vec<u8>]) -> io::Result<()> {
        hidden.iter().try_for_each(|name| self.gone(directory, name))
    }
}

struct List<F>(F);

impl<F: FnMut(ChangeKind, &[u8]) -> io::Result<()>> List<F> {
    fn tell(&mut self, kind: ChangeKind, path: &[u8]) -> io::Result<()> {
        (self.0)(kind, &[b"/", path].concat())
    }

    fn there(&mut self, path: &[u8], was: bool) -> io::Result<()> {
        self.tell(if was { ChangeKind::Changed } else { ChangeKind::Added }, path)
    }
}

impl<F: FnMut(ChangeKind, &[u8]) -> io::Result<()>> Sink for List<F> {
    fn directory(&mut self, _: &OwnedFd, path: &[u8], _: &FileStat, was: bool) -> io::Result<()> {
        // Docker does not speak of the root.
        if path.is_empty() { Ok(()) } else { self.there(path, was) }
    }

    fn other(&mut self, _: BorrowedFd<'_>, _: &[u8], path: &[u8], _: &FileStat, was: bool) -> io::Result<()> {
        self.there(path, was)
    }

    fn gone(&mut self, directory: &[u8], name: &[u8]) -> io::Result<()> {
        self.tell(ChangeKind::Deleted, &joined(directory, name))
    }

    fn opaque(&mut self, directory: &[u8], hidden: &[Vec<u8>]) -> io::Result<()> {
        hidden.iter().try_for_each(|name| self.gone(directory, name))
    }
}

fn below(path: &[u8], name: &[u8]) -> Result<Vec<u8>> {
    let path = joined(path, name);
    if path.len() < PATH_MAX {
        return Ok(path);
    }
    Err(Error::new("CHANGES_UNREADABLE", format!("{} is too deep a path", shown(&path))))
}

/// Nothing where an entry has gone since it was looked at, or become something else: whoever owns the tree goes on.
/// Nothing has been written of it then.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::EINVAL) => Ok(None),
            _ => Err(error),
        },
        Ok(found) => Ok(Some(found)),
    }
}

fn failed(path: &[u8], cause: &io::Error) -> Error {
    let what = format!("cannot write down the container's /{}", String::from_utf8_lossy(path));
    Error::io("CHANGES_UNREADABLE", what, cause)
}
