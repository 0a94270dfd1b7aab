//! Where names lead. The kernel resolves them under the root; this file cuts them into a parent and a name, keeps the
//! fds of parents that were used lately, and says in one line why a name leads nowhere.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};

use crate::error::{Error, Result};
use crate::tar::{Entry, NAME_MAX, PATH_MAX, shown};

/// Parents whose fds are kept; a process may have 1024 fds.
const KEPT: usize = 64;

/// The ways into one tree.
pub struct Paths {
    root: Rc<Parent>,
    resolve: ResolveFlag,
    kept: HashMap<Vec<u8>, Rc<Parent>>,
    last: Option<(Vec<u8>, Rc<Parent>)>,
}

/// A directory in which something is made.
pub struct Parent {
    /// As O_PATH.
    fd: OwnedFd,
    /// Where it is: no component is a symbolic link.
    pub path: Vec<u8>,
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A directory and a name in it.
pub struct Place {
    /// The directory.
    pub directory: Rc<Parent>,
    /// The whole path; only its last component may be a symbolic link.
    pub path: Vec<u8>,
    /// Where the name starts in it.
    pub slash: usize,
}

impl Place {
    /// A name in a directory.
    pub fn new(directory: Rc<Parent>, name: &[u8]) -> Self {
        let path = joined(&directory.path, name);
        let slash = path.len() - name.len();
        Place { directory, path, slash }
    }

    /// The last component.
    pub fn name(&self) -> &[u8] {
        &self.path[self.slash..]
    }

    /// What is there; a symbolic link itself.
    pub fn stat(&self) -> nix::Result<FileStat> {
        fstatat(&self.directory, self.name(), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Opens the directory that is there.
    pub fn open_directory(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.directory, self.name(), flags, Mode::empty())
    }
}

impl Paths {
    /// Under `root`. `plain`: no component may be a symbolic link.
    pub fn new(root: OwnedFd, plain: bool) -> Self {
        let mut resolve =
            ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        resolve.set(ResolveFlag::RESOLVE_NO_SYMLINKS, plain);
        let root = Rc::new(Parent { fd: root, path: Vec::new() });
        Paths { root, resolve, kept: HashMap::new(), last: None }
    }

    /// The directory `path`, for making things in it. Symbolic links on the way lead where they would lead in the container.
    pub fn parent(&mut self, path: &[u8]) -> nix::Result<Rc<Parent>> {
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        if let Some((last, fd)) = &self.last
            && last == path
        {
            return Ok(fd.clone());
        }
        let fd = match self.kept.get(path) {
            Some(fd) => fd.clone(),
            None => {
                let fd = Rc::new(self.find(path)?);
                if self.kept.len() == KEPT {
                    self.kept.clear();
                }
                self.kept.insert(path.to_vec(), fd.clone());
                fd
            }
        };
        self.last = Some((path.to_vec(), fd.clone()));
        Ok(fd)
    }

    fn find(&self, path: &[u8]) -> nix::Result<Parent> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let plain = self.resolve | ResolveFlag::RESOLVE_NO_SYMLINKS;
        match self.open(path, flags, plain) {
            Err(Errno::ELOOP) if self.resolve != plain => {}
            other => return other.map(|fd| Parent { fd, path: path.to_vec() }),
        }
        // The kernel decides where it leads; ours is only the name of that place.
        let there = fstat(self.open(path, flags, self.resolve)?)?;
        let real = self.real(path)?;
        let fd = self.open(&real, flags, plain)?;
        let here = fstat(&fd)?;
        let is_there = (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino);
        is_there.then_some(Parent { fd, path: real }).ok_or(Errno::ELOOP)
    }

    /// The same path without symbolic links.
    fn real(&self, path: &[u8]) -> nix::Result<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = path.rsplit(|&c| c == b'/').map(<[u8]>::to_vec).collect();
        let (mut real, mut links) = (Vec::new(), 0);
        while let Some(name) = names.pop() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    real.truncate(last(&real).unwrap_or(0).saturating_sub(1));
                    continue;
                }
                _ => {}
            }
            let next = joined(&real, &name);
            match readlinkat(&*self.root, &next[..]) {
                Ok(target) => {
                    links += 1;
                    // The kernel's own limit.
                    if links > 40 {
                        return Err(Errno::ELOOP);
                    }
                    let target = target.into_vec();
                    if target.starts_with(b"/") {
                        real.clear();
                    }
                    names.extend(target.rsplit(|&c| c == b'/').map(<[u8]>::to_vec));
                }
                Err(Errno::EINVAL) => real = next,
                Err(errno) => return Err(errno),
            }
        }
        Ok(real)
    }

    /// The root.
    pub fn root(&self) -> Rc<Parent> {
        self.root.clone()
    }

    /// Whether this is a directory, or could be made one: no component is a link or a file.
    pub fn is_directory(&self, path: &[u8]) -> bool {
        let plain = self.resolve | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let opened = self.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY, plain);
        !matches!(opened, Err(Errno::ELOOP | Errno::ENOTDIR))
    }

    /// The directory `path` itself, opened for reading; its last component is no symbolic link.
    pub fn directory(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        self.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW, self.resolve)
    }

    /// Something was replaced: fds kept under a path may now be another path's.
    pub fn forget(&mut self) {
        self.kept.clear();
        self.last = None;
    }

    fn open(&self, path: &[u8], flags: OFlag, resolve: ResolveFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
        let path = if path.is_empty() { b"." } else { path };
        loop {
            match openat2(&*self.root, path, how) {
                // The kernel could not rule out a rename of `..` behind its back: openat2(2) says to try again.
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                result => return result,
            }
        }
    }
}

/// Components joined by single slashes, without `.` and a leading slash: absolute names are the root's own, as in
/// Docker. `..` has no business in a layer. `entry` is what a message names.
pub fn clean(path: &[u8], entry: &[u8]) -> Result<Vec<u8>> {
    let mut clean = Vec::with_capacity(path.len());
    for name in path.split(|&c| c == b'/').filter(|name| !name.is_empty() && *name != b".") {
        if name == b".." {
            let text = if path == entry {
                format!("entry {} leaves its layer through '..'", shown(entry))
            } else {
                format!(
                    "entry {} links to {}, which leaves its layer through '..'",
                    shown(entry),
                    shown(path)
                )
            };
            return Err(Error::new(
                "LAYER_ESCAPES",
                text + ": the image is hostile or broken, do not use it",
            ));
        }
        if name.len() > NAME_MAX {
            return Err(too_long(entry, NAME_MAX, "in one name"));
        }
        if !clean.is_empty() {
            clean.push(b'/');
        }
        clean.extend_from_slice(name);
    }
    if clean.len() >= PATH_MAX {
        return Err(too_long(entry, PATH_MAX, "in its path"));
    }
    Ok(clean)
}

/// A name below a path; the root's is empty.
pub fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// Where the last component of a clean path starts; `None`: it is the root.
pub fn last(path: &[u8]) -> Option<usize> {
    if path.is_empty() {
        return None;
    }
    Some(path.iter().rposition(|&c| c == b'/').map_or(0, |slash| slash + 1))
}

/// Whether `path` is `top` or below it.
pub fn within(path: &[u8], top: &[u8]) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// In an image archive a symbolic link may only climb first and descend then, and not climb out: since no parent is a
/// symbolic link there, whoever follows one afterwards stays inside, however many are chained.
pub fn check_archive_link(path: &[u8], entry: &Entry) -> Result<()> {
    let depth = path.iter().filter(|&&c| c == b'/').count();
    let mut names =
        entry.link.split(|&c| c == b'/').filter(|name| !name.is_empty() && *name != b".").peekable();
    let mut climbed = 0;
    while names.next_if_eq(&&b".."[..]).is_some() {
        climbed += 1;
    }
    if entry.link.starts_with(b"/") || climbed > depth || names.any(|name| name == b"..") {
        let (name, link) = (shown(&entry.path), shown(&entry.link));
        let text = format!(
            "entry {name} links to {link}, outside its archive: the archive is hostile or broken, do not use it"
        );
        return Err(Error::new("LAYER_ESCAPES", text));
    }
    Ok(())
}

/// Why no directory could be had for an entry.
pub fn unreachable(entry: &Entry, errno: Errno) -> Error {
    let name = shown(&entry.path);
    let (code, text) = match errno {
        Errno::EEXIST => (
            "LAYER_ESCAPES",
            format!("entry {name} goes through a symbolic link that leads to nothing in its layer"),
        ),
        Errno::ELOOP => (
            "LAYER_ESCAPES",
            format!(
                "entry {name} goes through a symbolic link that it may not follow or that leads to itself"
            ),
        ),
        Errno::EXDEV => ("LAYER_ESCAPES", format!("entry {name} leads out of its layer's file system")),
        Errno::ENOTDIR => ("LAYER_INVALID", format!("entry {name} is in something that is no directory")),
        errno => return Error::io("UNPACK_FAILED", format!("cannot reach entry {name}"), &errno.into()),
    };
    Error {
        code,
        message: format!("{text}: the image is hostile or broken, do not use it"),
        errno: Some(errno as i32),
    }
}

fn too_long(entry: &[u8], most: usize, of: &str) -> Error {
    Error::new("LAYER_LIMIT", format!("entry {} has more than {most} bytes {of}", shown(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::Kind;

    #[test]
    fn a_path_is_within_itself_and_its_parents() {
        assert!(within(b"a/b", b"a/b") && within(b"a/b/c", b"a/b"));
        assert!(!within(b"a/bc", b"a/b") && !within(b"a", b"a/b"));
    }

    #[test]
    fn archive_links_climb_no_further_than_their_depth_and_only_first() {
        let check = |path: &[u8], link: &[u8]| {
            let entry = Entry { link: link.to_vec(), ..Entry::new(path, Kind::Symlink) };
            check_archive_link(path, &entry).is_ok()
        };
        assert!(
            check(b"ab/layer.tar", b"../cd/layer.tar") && check(b"x", b"y/z") && check(b"a/b/c", b"../..")
        );
        assert!(!check(b"x", b"/etc/passwd") && !check(b"x", b"../y") && !check(b"a/x", b"../../y"));
        assert!(!check(b"a/x", b"b/../../../y") && !check(b"a/x", b"b/.."));
    }
}
