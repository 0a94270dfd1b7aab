//! Files of a tree, one after the other, as entries of a tar. Whoever owns the tree may rename what he likes meanwhile:
//! everything is found by directory descriptors, and no link is followed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::attributes;
use super::merged::DIRECTORY;
use crate::tar::writer::Writer;
use crate::tar::{Entry, Kind, Time};

/// Writes them.
pub struct TreeWriter<W> {
    writer: Writer<W>,
    /// First names of files that have several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Seconds since 1970; what is newer is written as if it were of then.
    newest: Option<i64>,
}

impl<W: Write> TreeWriter<W> {
    /// A tar that goes to `out`. `newest`: SOURCE_DATE_EPOCH.
    pub fn new(out: W, newest: Option<i64>) -> Self {
        TreeWriter { writer: Writer::new(out), links: HashMap::new(), newest }
    }

    /// The entry of a directory.
    pub fn directory(&mut self, directory: &OwnedFd, path: &[u8], stat: &FileStat) -> io::Result<()> {
        let path = if path.is_empty() { b"." } else { path };
        let Some(mut entry) = self.described(stat, path) else { return Ok(()) };
        entry.xattrs = attributes::all(directory.as_fd())?;
        attributes::recall(directory.as_fd(), &mut entry);
        self.writer.entry(&entry)
    }

    /// The entry of anything else; a socket has none.
    pub fn other(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        stat: &FileStat,
    ) -> io::Result<()> {
        let Some(mut entry) = self.described(stat, path) else { return Ok(()) };
        match entry.kind {
            Kind::Directory => {
                return self.directory(&openat(parent, name, DIRECTORY, Mode::empty())?, path, stat);
            }
            Kind::File => match self.links.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) => (entry.kind, entry.link, entry.size) = (Kind::HardLink, first.clone(), 0),
                None => return self.file(parent, name, entry, stat),
            },
            Kind::Symlink => entry.link = readlinkat(parent, name)?.into_vec(),
            _ => {}
        }
        self.writer.entry(&entry)
    }

    /// An empty file of this name: one of a layer's words for what is gone.
    pub fn mark(&mut self, path: &[u8]) -> io::Result<()> {
        self.writer.entry(&Entry { mode: 0, ..Entry::new(path, Kind::File) })
    }

    /// Ends the tar.
    pub fn finish(self) -> io::Result<()> {
        self.writer.finish().map(drop)
    }

    fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        mut entry: Entry,
        stat: &FileStat,
    ) -> io::Result<()> {
        // Not to be kept waiting by a pipe that has taken its place.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(parent, name, flags, Mode::empty())?);
        entry.xattrs = attributes::all(file.as_fd())?;
        attributes::recall(file.as_fd(), &mut entry);
        self.writer.entry(&entry)?;
        if stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), entry.path);
        }
        let copied = io::copy(&mut file.take(entry.size), &mut self.writer)?;
        // One that has become shorter meanwhile ends in zeros: its header has been written.
        io::copy(&mut io::repeat(0).take(entry.size - copied), &mut self.writer)?;
        Ok(())
    }

    /// As a tar has it; none of a socket, which no tar has.
    fn described(&self, stat: &FileStat, path: &[u8]) -> Option<Entry> {
        let kind = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFLNK => Kind::Symlink,
            SFlag::S_IFCHR => Kind::CharDevice,
            SFlag::S_IFBLK => Kind::BlockDevice,
            SFlag::S_IFIFO => Kind::Fifo,
            _ => return None,
        };
        let device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        let mut mtime =
            Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
        if let Some(newest) = self.newest.filter(|&newest| mtime.seconds >= newest) {
            mtime = Time { seconds: newest, nanoseconds: 0 };
        }
        Some(Entry {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: if kind == Kind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
            mtime,
            device: if device { (libc::major(stat.st_rdev), libc::minor(stat.st_rdev)) } else { (0, 0) },
            ..Entry::new(path, kind)
        })
    }
}
