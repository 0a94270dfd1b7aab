//! Entries → files under one root directory. Owns what an entry does to what is there; where names lead is `paths`',
//! owners, modes and times are `attributes`', and overlay's language is `marks`'.
//!
//! Every name is resolved by the kernel under the root's fd (`openat2`, RESOLVE_IN_ROOT), the last component is never
//! followed, and no decision rests on comparing strings: what an attacker's symlink points to stays inside.

pub(crate) mod attributes;
mod directories;
mod holes;
mod kept;
pub(crate) mod marks;
pub(crate) mod paths;
mod space;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, makedev, mknodat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use crate::error::{Error, Result};
use crate::remove::remove_at;
use crate::tar::{Entry, Kind, PATH_MAX, Time, shown};
use crate::unpack::{self, Options};
use directories::{Directories, Finish};
use kept::Kept;
use marks::Mark;
use paths::{Parent, Paths, Place};
use space::{Space, Watched};

/// Makes one tree.
pub struct Extractor {
    root: Rc<Parent>,
    paths: Paths,
    layer: bool,
    rootless: bool,
    directories: Directories,
    open: Option<OpenFile>,
    /// What gives the tar back, where somebody wants it.
    kept: Option<Kept>,
    space: Rc<Space>,
}

struct OpenFile {
    file: File,
    entry: Box<Entry>,
    written: u64,
}

impl Extractor {
    /// Into `options.into`, which must be empty. `recipe`: where the layer's recipe goes.
    pub fn open(options: &Options, recipe: Option<File>) -> Result<Self> {
        let into = &options.into;
        let refused = |cause: std::io::Error| {
            Error::io("UNPACK_FAILED", format!("cannot open the directory '{}'", into.display()), &cause)
        };
        if std::fs::read_dir(into).map_err(refused)?.next().is_some() {
            let text = format!("'{}' is not empty: unpack into a new directory", into.display());
            return Err(Error::new("TARGET_NOT_EMPTY", text));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open(into, flags, Mode::empty()).map_err(|errno| refused(errno.into()))?;
        let layer = options.mode == unpack::Mode::Layer;
        let mut directories = Directories::default();
        if layer {
            // Where the tar does not speak of its root.
            directories.remember(Vec::new(), Finish::implied())?;
        }
        let paths = Paths::new(root, !layer);
        let space = Space::new(paths.root());
        Ok(Extractor {
            root: paths.root(),
            paths,
            layer,
            rootless: options.rootless,
            directories,
            open: None,
            kept: recipe.map(|file| Kept::new(Watched { file, space: space.clone() })).transpose()?,
            space,
        })
    }

    /// Makes what `entry` says; a file's data follows by [`Extractor::data`].
    pub fn entry(&mut self, entry: Box<Entry>) -> Result<()> {
        let path = paths::clean(&entry.path, &entry.path)?;
        let Some(slash) = paths::last(&path) else {
            return self.root_entry(&entry);
        };
        let mark = if self.layer { marks::parse(&path[slash..], &entry.path)? } else { None };
        if let Some(mark) = mark {
            // umoci tells of each file that went where a directory became a link: the link has said it.
            if !self.paths.is_directory(&path[..slash.saturating_sub(1)]) {
                return Ok(());
            }
            let place = self.place(&path, slash, &entry)?;
            return self.mark(&place, mark, &entry);
        }
        let place = self.place(&path, slash, &entry)?;
        if !self.layer && !matches!(entry.kind, Kind::File | Kind::Directory | Kind::HardLink | Kind::Symlink)
        {
            let text =
                format!("entry {} is none of an image archive's: neither file nor link", shown(&entry.path));
            return Err(Error::new("LAYER_INVALID", text));
        }
        match entry.kind {
            Kind::File => self.file(&place, entry),
            Kind::Directory => self.directory(&place, &entry),
            Kind::HardLink => self.hard_link(&place, &entry),
            Kind::Symlink => {
                if entry.link.len() >= PATH_MAX {
                    let text =
                        format!("entry {} links to a path of more than {PATH_MAX} bytes", shown(&entry.path));
                    return Err(Error::new("LAYER_LIMIT", text));
                }
                if !self.layer {
                    paths::check_archive_link(&path, &entry)?;
                }
                self.create(&place, &entry, |at, name| symlinkat(&entry.link[..], at, name))?;
                self.finish_node(&place, &entry)
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => self.node(&place, &entry),
        }
    }

    /// Bytes of the tar that are no file's.
    pub fn skipped(&mut self, bytes: &[u8]) -> Result<()> {
        self.kept.as_mut().map_or(Ok(()), |kept| kept.recipe.literal(bytes))
    }

    /// Bytes of the file that was begun last.
    pub fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let Some(open) = &mut self.open else { return self.skipped(bytes) };
        if let Some(kept) = &mut self.kept {
            kept.recipe.piece(offset, bytes.len() as u64)?;
        }
        for (start, bytes) in holes::data(offset, bytes) {
            open.file.write_all_at(bytes, start).map_err(|cause| failed("write", &open.entry, &cause))?;
            open.written = start + bytes.len() as u64;
        }
        Ok(())
    }

    /// The entry that was begun last is complete.
    pub fn entry_end(&mut self) -> Result<()> {
        let Some(OpenFile { file, entry, written }) = self.open.take() else { return Ok(()) };
        if written < entry.size {
            file.set_len(entry.size).map_err(|cause| failed("write", &entry, &cause))?;
        }
        if !self.layer {
            return Ok(());
        }
        let fd = file.as_fd();
        let remembered = attributes::own_fd(fd, &entry, self.rootless)?;
        attributes::xattrs(fd, &entry, remembered, self.rootless)?;
        attributes::chmod(fd, entry.mode)
            .map_err(|errno| failed("set the mode of", &entry, &errno.into()))?;
        attributes::times(fd, entry.mtime, entry.atime.unwrap_or(entry.mtime))
            .map_err(|errno| failed("set the times of", &entry, &errno.into()))
    }

    /// Gives the directories their modes and times, and ends the recipe.
    pub fn finish(self) -> Result<()> {
        self.directories.finish(&self.paths, self.rootless)?;
        self.kept.map_or(Ok(()), |kept| kept.recipe.finish())
    }

    /// Where an entry goes: the directory it is in, made if need be, and its name there.
    fn place(&mut self, path: &[u8], slash: usize, entry: &Entry) -> Result<Place> {
        let parent = path[..slash.saturating_sub(1)].to_vec();
        let directory = match self.paths.parent(&parent) {
            Ok(directory) => directory,
            Err(Errno::ENOENT | Errno::ENOTDIR) => self.make_parents(&parent, entry)?,
            Err(errno) => return Err(paths::unreachable(entry, errno)),
        };
        Ok(Place::new(directory, &path[slash..]))
    }

    /// Makes what is missing of `parent`, 0755 and owned by root.
    fn make_parents(&mut self, parent: &[u8], entry: &Entry) -> Result<Rc<Parent>> {
        let mut at = self.root.clone();
        let ends = (0..parent.len()).filter(|&i| parent[i] == b'/').chain([parent.len()]);
        let mut start = 0;
        for end in ends {
            let name = &parent[start..end];
            start = end + 1;
            at = match self.paths.parent(&parent[..end]) {
                Ok(directory) => directory,
                Err(errno @ (Errno::ENOENT | Errno::ENOTDIR)) => {
                    let opaque = match marks::is_whiteout(at.as_fd(), name) {
                        // What a lower layer had under this name is gone, whatever comes now.
                        true => unlinkat(&at, name, UnlinkatFlags::NoRemoveDir).map(|()| true),
                        false if errno == Errno::ENOTDIR => Err(errno),
                        false => Ok(false),
                    };
                    let made = opaque.and_then(|opaque| {
                        nix::sys::stat::mkdirat(&at, name, Mode::from_bits_truncate(0o700))?;
                        Ok(opaque)
                    });
                    // EEXIST: a symbolic link that leads nowhere.
                    let opaque = made.map_err(|errno| paths::unreachable(entry, errno))?;
                    let directory = self
                        .paths
                        .parent(&parent[..end])
                        .map_err(|errno| paths::unreachable(entry, errno))?;
                    let path = directory.path.clone();
                    if opaque {
                        let directory =
                            self.paths.directory(&path).map_err(|errno| named("open", &path, errno))?;
                        marks::set_opaque(directory.as_fd(), &path, self.rootless)?;
                    }
                    if self.layer {
                        self.directories.remember(path, Finish::implied())?;
                    }
                    directory
                }
                Err(errno) => return Err(paths::unreachable(entry, errno)),
            };
        }
        Ok(at)
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Directory {
            let text = format!("entry {} names the root, which can only be a directory", shown(&entry.path));
            return Err(Error::new("LAYER_INVALID", text));
        }
        let root = self.root.clone();
        self.finish_directory(root.as_fd(), Vec::new(), entry)
    }

    fn file(&mut self, place: &Place, entry: Box<Entry>) -> Result<()> {
        self.check_space(&entry)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd =
            self.create(place, &entry, |at, name| openat(at, name, flags, Mode::from_bits_truncate(0o600)))?;
        if let Some(kept) = &mut self.kept {
            kept.recipe.file(&place.path);
        }
        self.open = Some(OpenFile { file: File::from(fd), entry, written: 0 });
        Ok(())
    }

    fn directory(&mut self, place: &Place, entry: &Entry) -> Result<()> {
        let make = |at: BorrowedFd<'_>, name: &[u8]| {
            nix::sys::stat::mkdirat(at, name, Mode::from_bits_truncate(0o700))
        };
        let mut opaque = false;
        match make(place.directory.as_fd(), place.name()) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                let old = place.stat().map_err(|errno| failed("look at", entry, &errno.into()))?;
                // A directory over a directory changes its attributes, and nothing else.
                if kind(&old) != SFlag::S_IFDIR {
                    // What it replaces, a whiteout too, has hidden the lower layers' directory of this name.
                    opaque = self.layer;
                    self.create(place, entry, make)?;
                }
            }
            Err(errno) => return Err(failed("make", entry, &errno.into())),
        }
        let directory = place.open_directory().map_err(|errno| failed("open", entry, &errno.into()))?;
        if opaque {
            marks::set_opaque(directory.as_fd(), &entry.path, self.rootless)?;
        }
        self.finish_directory(directory.as_fd(), place.path.clone(), entry)
    }

    fn finish_directory(&mut self, directory: BorrowedFd<'_>, path: Vec<u8>, entry: &Entry) -> Result<()> {
        if !self.layer {
            return Ok(());
        }
        let remembered = attributes::own_fd(directory, entry, self.rootless)?;
        attributes::xattrs(directory, entry, remembered, self.rootless)?;
        let atime = entry.atime.unwrap_or(entry.mtime);
        let acl = attributes::default_acl(entry);
        self.directories.remember(path, Finish { mode: entry.mode, mtime: entry.mtime, atime, acl })
    }

    fn hard_link(&mut self, place: &Place, entry: &Entry) -> Result<()> {
        let dangling = || {
            let (name, target) = (shown(&entry.path), shown(&entry.link));
            let text = format!("entry {name} is a hard link to {target}, which is no file of this layer");
            Error::new("LAYER_INVALID", text)
        };
        let path = paths::clean(&entry.link, &entry.path)?;
        let slash = paths::last(&path).ok_or_else(dangling)?;
        let directory = match self.paths.parent(&path[..slash.saturating_sub(1)]) {
            Ok(directory) => directory,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Err(dangling()),
            Err(errno) => return Err(paths::unreachable(entry, errno)),
        };
        let target = Place::new(directory, &path[slash..]);
        let there = target.stat().map_err(|_| dangling())?;
        if kind(&there) == SFlag::S_IFDIR || (self.layer && marks::whiteout(&there)) {
            return Err(dangling());
        }
        if place.stat().is_ok_and(|here| (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)) {
            return Ok(());
        }
        // Without AT_SYMLINK_FOLLOW a symbolic link gets another name itself.
        self.create(place, entry, |at, name| {
            linkat(&target.directory, target.name(), at, name, AtFlags::empty())
        })?;
        self.kept.as_mut().map_or(Ok(()), |kept| kept.linked(&place.path))
    }

    fn node(&mut self, place: &Place, entry: &Entry) -> Result<()> {
        let whiteout = entry.kind == Kind::CharDevice && entry.device == (0, 0);
        if self.rootless && entry.kind != Kind::Fifo && !whiteout {
            let (name, (major, minor)) = (shown(&entry.path), entry.device);
            let text = format!(
                "entry {name} is a device ({major}:{minor}), which only root can make: unpack this image as root"
            );
            return Err(Error::new("LAYER_DEVICE", text));
        }
        let kind = match entry.kind {
            Kind::CharDevice => SFlag::S_IFCHR,
            Kind::BlockDevice => SFlag::S_IFBLK,
            _ => SFlag::S_IFIFO,
        };
        let device = makedev(u64::from(entry.device.0), u64::from(entry.device.1));
        let mode = Mode::from_bits_truncate(0o600);
        self.create(place, entry, |at, name| mknodat(at, name, kind, mode, device))?;
        if whiteout { Ok(()) } else { self.finish_node(place, entry) }
    }

    /// Owner, xattrs, mode and times of what cannot be opened.
    fn finish_node(&self, place: &Place, entry: &Entry) -> Result<()> {
        if !self.layer {
            return Ok(());
        }
        attributes::node(&place.directory, place.name(), entry, self.rootless)
    }

    fn mark(&mut self, place: &Place, mark: Mark, entry: &Entry) -> Result<()> {
        match mark {
            Mark::Ignored => Ok(()),
            Mark::Opaque => {
                let path = &place.path[..place.slash.saturating_sub(1)];
                let directory = self.paths.directory(path).map_err(|errno| named("open", path, errno))?;
                marks::set_opaque(directory.as_fd(), path, self.rootless)
            }
            Mark::Whiteout(name) => {
                let at = place.directory.as_fd();
                match fstatat(at, &name[..], AtFlags::AT_SYMLINK_NOFOLLOW) {
                    // It is this layer's own: only what lower layers had goes.
                    Ok(stat) if kind(&stat) == SFlag::S_IFDIR => {
                        let flags =
                            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                        let directory = openat(at, &name[..], flags, Mode::empty());
                        let directory = directory.map_err(|errno| failed("open", entry, &errno.into()))?;
                        marks::set_opaque(directory.as_fd(), &entry.path, self.rootless)
                    }
                    Ok(_) => Ok(()),
                    Err(Errno::ENOENT) => mknodat(at, &name[..], SFlag::S_IFCHR, Mode::empty(), 0)
                        .and_then(|()| attributes::node_times(at, &name, Time::default(), Time::default()))
                        .map_err(|errno| failed("make the whiteout", entry, &errno.into())),
                    Err(errno) => Err(failed("look at", entry, &errno.into())),
                }
            }
        }
    }

    /// Makes something by `make`; what stands in its place goes first.
    fn create<T>(
        &mut self,
        place: &Place,
        entry: &Entry,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> nix::Result<T>,
    ) -> Result<T> {
        let at = place.directory.as_fd();
        let made = match make(at, place.name()) {
            Err(Errno::EEXIST) => {
                self.replace(place, entry)?;
                make(at, place.name())
            }
            made => made,
        };
        made.map_err(|errno| failed("make", entry, &errno.into()))
    }

    fn replace(&mut self, place: &Place, entry: &Entry) -> Result<()> {
        if let Some(kept) = &mut self.kept {
            kept.leaving(&self.paths, place)?;
        }
        let at = place.directory.as_fd();
        match unlinkat(at, place.name(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => {}
            Err(Errno::EISDIR) => {
                remove_at(at, place.name())?;
                self.directories.forget(&place.path);
            }
            Err(errno) => return Err(failed("replace", entry, &errno.into())),
        }
        // Paths through it lead elsewhere from now on.
        self.paths.forget();
        Ok(())
    }

    /// Refuses a file that the disk has no room for before filling the disk with it.
    fn check_space(&self, entry: &Entry) -> Result<()> {
        let room = self.space.take(entry.stored);
        let room = room.map_err(|errno| failed("find the disk space for", entry, &errno.into()))?;
        let Some(free) = room else { return Ok(()) };
        let (name, size) = (shown(&entry.path), entry.stored);
        let text = format!(
            "no room for entry {name}: it has {size} bytes, the disk {free} to spare; free some disk space and try again"
        );
        Err(Error { code: "DISK_FULL", message: text, errno: Some(libc::ENOSPC) })
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn failed(what: &str, entry: &Entry, cause: &std::io::Error) -> Error {
    Error::io("UNPACK_FAILED", format!("cannot {what} entry {}", shown(&entry.path)), cause)
}

fn named(what: &str, path: &[u8], errno: Errno) -> Error {
    Error::io("UNPACK_FAILED", format!("cannot {what} {}", shown(path)), &errno.into())
}
