//! What a container has changed: an overlay's upper directory → a tar of what is new or different, and the list of what
//! is gone. The container may run meanwhile and rename what it likes: everything is found by directory descriptors, and
//! no link is followed.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use crate::directory::names;
use crate::error::{Error, Result};
use crate::extract::marks::{OPAQUE, reserved, whiteout};
use crate::tar::writer::Writer;
use crate::tar::{Entry, Kind, PATH_MAX, Time, shown};

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Writes the tar, and gives the absolute paths of what is gone. `lowers`: the layers below, topmost first.
pub fn write_tar(upper: &Path, lowers: &[PathBuf], out: impl Write) -> Result<Vec<Vec<u8>>> {
    let open = |path: &Path| {
        let opened = nix::fcntl::open(path, DIRECTORY, Mode::empty());
        opened.map_err(|errno| failed(path.as_os_str().as_encoded_bytes(), &errno.into()))
    };
    let top = open(upper)?;
    let lowers = lowers.iter().map(|lower| open(lower)).collect::<Result<Vec<_>>>()?;
    let mut walk = Walk { lowers, writer: Writer::new(out), links: HashMap::new(), gone: Vec::new() };
    walk.directory(top, b"")?;
    walk.writer.finish().map_err(|error| failed(b"", &error))?;
    Ok(walk.gone)
}

struct Walk<W> {
    lowers: Vec<OwnedFd>,
    writer: Writer<W>,
    /// First names of files that have several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    gone: Vec<Vec<u8>>,
}

impl<W: Write> Walk<W> {
    /// Everything in a directory; `path` has no slash at its ends, and is empty for the root.
    fn directory(&mut self, directory: OwnedFd, path: &[u8]) -> Result<()> {
        if path.len() > PATH_MAX {
            return Err(Error::new("CHANGES_UNREADABLE", format!("{} is too deep a path", shown(path))));
        }
        let names = names(&directory).map_err(|errno| failed(path, &errno.into()))?;
        if get_xattr(directory.as_fd(), OPAQUE).is_ok_and(|value| value == b"y") {
            self.hidden(path, &names)?;
        }
        for name in names {
            let path = joined(path, &name);
            let below = self.entry(directory.as_fd(), &name, &path).map_err(|error| failed(&path, &error))?;
            if let Some(below) = below {
                self.directory(below, &path)?;
            }
        }
        Ok(())
    }

    /// One entry; a directory's content is still to come.
    fn entry(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let stat = match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            // It has gone since it was listed.
            Err(Errno::ENOENT) => return Ok(None),
            other => other?,
        };
        if whiteout(&stat) {
            self.gone.push([b"/", path].concat());
            return Ok(None);
        }
        let Some(mut entry) = described(&stat, path) else { return Ok(None) };
        match entry.kind {
            Kind::Directory => {
                let directory = openat(parent, name, DIRECTORY, Mode::empty())?;
                entry.xattrs = xattrs(directory.as_fd())?;
                self.writer.entry(&entry)?;
                return Ok(Some(directory));
            }
            Kind::File => match self.links.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) => (entry.kind, entry.link, entry.size) = (Kind::HardLink, first.clone(), 0),
                None => return self.file(parent, name, entry, &stat).map(|()| None),
            },
            Kind::Symlink => entry.link = readlinkat(parent, name)?.into_vec(),
            _ => {}
        }
        self.writer.entry(&entry)?;
        Ok(None)
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
        entry.xattrs = xattrs(file.as_fd())?;
        self.writer.entry(&entry)?;
        if stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), entry.path);
        }
        let copied = io::copy(&mut file.take(entry.size), &mut self.writer)?;
        // One that has become shorter meanwhile ends in zeros: its header has been written.
        io::copy(&mut io::repeat(0).take(entry.size - copied), &mut self.writer)?;
        Ok(())
    }

    /// What the layers below have in a directory that hides them.
    fn hidden(&mut self, path: &[u8], own: &[Vec<u8>]) -> Result<()> {
        let mut seen: Vec<Vec<u8>> = own.to_vec();
        for lower in &self.lowers {
            let how = OpenHow::new()
                .flags(DIRECTORY)
                .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
            let directory = match openat2(lower, if path.is_empty() { &b"."[..] } else { path }, how) {
                // Above a layer in which it is something else, there is nothing of it below.
                Err(Errno::ENOTDIR | Errno::ELOOP) => break,
                Err(Errno::ENOENT) => continue,
                other => other.map_err(|errno| failed(path, &errno.into()))?,
            };
            for name in names(&directory).map_err(|errno| failed(path, &errno.into()))? {
                if seen.contains(&name) {
                    continue;
                }
                let is_gone = fstatat(&directory, &name[..], AtFlags::AT_SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| whiteout(&stat));
                if !is_gone {
                    self.gone.push([b"/", &joined(path, &name)[..]].concat());
                }
                seen.push(name);
            }
            if get_xattr(directory.as_fd(), OPAQUE).is_ok_and(|value| value == b"y") {
                break;
            }
        }
        Ok(())
    }
}

fn failed(path: &[u8], cause: &io::Error) -> Error {
    Error::io(
        "CHANGES_UNREADABLE",
        format!("cannot write down the container's /{}", String::from_utf8_lossy(path)),
        cause,
    )
}

fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// As a tar has it; none of a socket, which no tar has.
fn described(stat: &FileStat, path: &[u8]) -> Option<Entry> {
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
    let mtime = Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
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

/// Those that belong to the file and not to overlayfs.
fn xattrs(file: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // SAFETY: a null buffer of no length asks for the length.
    let length = unsafe { libc::flistxattr(file.as_raw_fd(), std::ptr::null_mut(), 0) };
    let mut list = vec![
        0_u8;
        match Errno::result(length) {
            Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
            other => other?.unsigned_abs(),
        }
    ];
    // SAFETY: the buffer has the length that is given.
    let length = unsafe { libc::flistxattr(file.as_raw_fd(), list.as_mut_ptr().cast(), list.len()) };
    list.truncate(Errno::result(length)?.unsigned_abs());
    let mut found = Vec::new();
    for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty() && !reserved(name)) {
        let c_name = CString::new(name).map_err(io::Error::from)?;
        match get_xattr(file, &c_name) {
            Ok(value) => found.push((name.to_vec(), value)),
            // It has been removed meanwhile.
            Err(Errno::ENODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(found)
}

fn get_xattr(file: BorrowedFd<'_>, name: &CStr) -> nix::Result<Vec<u8>> {
    // The longest value that the kernel has (XATTR_SIZE_MAX).
    let mut value = vec![0_u8; 64 << 10];
    // SAFETY: `name` ends with a NUL, and the buffer has the length that is given.
    let length =
        unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(Errno::result(length)?.unsigned_abs());
    Ok(value)
}
