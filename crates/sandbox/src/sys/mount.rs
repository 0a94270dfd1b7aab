//! The mount API of Linux 5.2 and 5.12: every mount is a descriptor first, and has a place in the tree only at the end.
//! A path resolved once, by us, can therefore never come to mean something else while we mount (CVE-2021-30465).

use std::{
    ffi::CStr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use super::check;

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just given this descriptor to us and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// A detached copy of the mount at `path` (`recursive`: and of those below it).
pub(crate) fn clone_tree(at: Option<BorrowedFd>, path: &CStr, recursive: bool) -> nix::Result<OwnedFd> {
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH as u32;
    }
    let at = at.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    // SAFETY: `path` is a C string that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_open_tree, at, path.as_ptr(), flags) }).map(owned)
}

/// Puts a detached mount on top of what `target` refers to. By descriptor only: a path that failed once and is tried
/// again after the root was switched would mean a place in the container (crun issues 2262 and 2264).
pub(crate) fn attach(tree: impl AsFd, target: impl AsFd) -> nix::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    let (tree, target) = (tree.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    // SAFETY: both paths are empty C strings.
    check(unsafe { libc::syscall(libc::SYS_move_mount, tree, c"".as_ptr(), target, c"".as_ptr(), flags) })?;
    Ok(())
}

/// What mount_setattr(2) changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_PRIVATE` and so on; 0 leaves it.
    pub propagation: u64,
}

impl Attributes {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Changes the mount that `tree` refers to (`recursive`: and those below it).
pub(crate) fn set_attributes(tree: impl AsFd, recursive: bool, attributes: Attributes) -> nix::Result<()> {
    set(tree, recursive, attributes, 0)
}

/// Shows the ids of the mount's files as the user namespace `userns` maps them (5.12; overlay's layers 5.19).
pub(crate) fn map_ids(tree: impl AsFd, recursive: bool, userns: impl AsFd) -> nix::Result<()> {
    let attributes = Attributes { set: libc::MOUNT_ATTR_IDMAP, ..Attributes::default() };
    set(tree, recursive, attributes, userns.as_fd().as_raw_fd() as u64)
}

fn set(tree: impl AsFd, recursive: bool, attributes: Attributes, userns_fd: u64) -> nix::Result<()> {
    let Attributes { set: attr_set, clear: attr_clr, propagation } = attributes;
    let attr = libc::mount_attr { attr_set, attr_clr, propagation, userns_fd };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let size = size_of::<libc::mount_attr>();
    let tree = tree.as_fd().as_raw_fd();
    // SAFETY: `attr` is a mount_attr of the size that is passed.
    check(unsafe {
        libc::syscall(libc::SYS_mount_setattr, tree, c"".as_ptr(), flags, &raw const attr, size)
    })?;
    Ok(())
}

/// A file system being described.
pub(crate) struct Context(OwnedFd);

impl Context {
    /// Begins with its type.
    pub(crate) fn open(kind: &CStr) -> nix::Result<Self> {
        // SAFETY: `kind` is a C string that outlives the call.
        let fd = check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) })?;
        Ok(Self(owned(fd)))
    }

    /// `key=value`.
    pub(crate) fn set(&self, key: &CStr, value: &CStr) -> nix::Result<()> {
        self.config(libc::FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())
    }

    /// `key`.
    pub(crate) fn flag(&self, key: &CStr) -> nix::Result<()> {
        self.config(libc::FSCONFIG_SET_FLAG, key.as_ptr(), ptr::null())
    }

    /// The mount, with these `MOUNT_ATTR_*`, not attached anywhere.
    pub(crate) fn mount(&self, attributes: u64) -> nix::Result<OwnedFd> {
        self.config(libc::FSCONFIG_CMD_CREATE, ptr::null(), ptr::null())?;
        let fd = self.0.as_raw_fd();
        // SAFETY: no pointers are passed.
        check(unsafe { libc::syscall(libc::SYS_fsmount, fd, libc::FSMOUNT_CLOEXEC, attributes) }).map(owned)
    }

    /// What the file system says of the last failure, in one line.
    pub(crate) fn complaint(&self) -> Option<String> {
        let mut buffer = [0; 256];
        // "e tmpfs: Unknown parameter 'nosiud'"
        let length = nix::unistd::read(&self.0, &mut buffer).ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]);
        let words = text.trim_end().strip_prefix("e ")?;
        Some(words.replace(|c: char| c.is_control(), " "))
    }

    fn config(&self, command: u32, key: *const libc::c_char, value: *const libc::c_char) -> nix::Result<()> {
        // SAFETY: `key` and `value` are null or C strings that outlive the call.
        check(unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, key, value, 0) })?;
        Ok(())
    }
}
