//! Where names lead. The kernel resolves them under the root; this file cuts them into a parent and a name, keeps the
//! fds of parents that were used lately, and says in one line why a name leads nowhere.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, fstatat};

use crate::error::{Error, Result};
use crate::tar::{Entry, NAME_MAX, PATH_MAX, shown};

/// Parents whose fds are kept; a process may have 1024 fds.
const KEPT: usize = 64;

/// The ways into one tree.
pub struct Paths {
    root: Rc<OwnedFd>,
    resolve: ResolveFlag,
    kept: HashMap<Vec<u8>, Rc<OwnedFd>>,
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

/// A directory and a name in it.
pub struct Place {
    /// The directory, as O_PATH.
    pub directory: Rc<OwnedFd>,
    /// The whole path, cleaned.
    pub path: Vec<u8>,
    /// Where the name starts in it.
    pub slash: usize,
}

impl Place {
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
    pub fn new(root: Rc<OwnedFd>, plain: bool) -> Self {
        let mut resolve =
            ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        resolve.set(ResolveFlag::RESOLVE_NO_SYMLINKS, plain);
        Paths { root, resolve, kept: HashMap::new(), last: None }
    }

    /// The directory `path`, for making things in it. Symbolic links on the way lead where they would lead in the container.
    pub fn parent(&mut self, path: &[u8]) -> nix::Result<Rc<OwnedFd>> {
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
                let fd = Rc::new(self.resolve(path, OFlag::O_PATH | OFlag::O_DIRECTORY)?);
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

    /// The directory `path` itself, opened for reading; its last component is no symbolic link.
    pub fn directory(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        self.resolve(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)
    }

    /// Something was replaced: fds kept under a path may now be another path's.
    pub fn forget(&mut self) {
        self.kept.clear();
        self.last = None;
    }

    fn resolve(&self, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(self.resolve);
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
