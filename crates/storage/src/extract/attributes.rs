//! Owner, extended attributes, mode and times, in this order: a change of owner clears setuid and `security.capability`,
//! and all three change times.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};

use super::{failed, marks};
use crate::error::{Error, Result};
use crate::tar::{Entry, Kind, Time, shown};

/// Where containers/storage and fuse-overlayfs keep, and look for, an owner that could not be had.
pub const OVERRIDE: &CStr = c"user.containers.override_stat";

/// What is made in a directory inherits this: it is set when all is made.
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Whether the owner could not be had and must be remembered.
pub type Remember = bool;

/// Gives an open file or directory its owner. Where `rootless` has no such id: tells so.
pub fn own_fd(fd: BorrowedFd<'_>, entry: &Entry, rootless: bool) -> Result<Remember> {
    owned(fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))), entry, rootless)
}

fn owned(result: nix::Result<()>, entry: &Entry, rootless: bool) -> Result<Remember> {
    match result {
        Ok(()) => Ok(false),
        // EINVAL: the user namespace does not map the id. EPERM: there is no user namespace.
        Err(Errno::EINVAL | Errno::EPERM) if rootless => Ok(true),
        Err(errno) => {
            let what = format!("cannot give entry {} to {}:{}", shown(&entry.path), entry.uid, entry.gid);
            Err(Error::io("UNPACK_FAILED", what, &errno.into()))
        }
    }
}

/// Sets the extended attributes of an open file or directory, and the owner's memory.
pub fn xattrs(fd: BorrowedFd<'_>, entry: &Entry, remember: Remember, rootless: bool) -> Result<()> {
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| wanted(name) && name != DEFAULT_ACL) {
        set(entry, name, rootless, |name| set_xattr(fd, name, value))?;
    }
    if remember {
        let value = format!("{}:{}:0{:o}", entry.uid, entry.gid, entry.mode);
        match set_xattr(fd, OVERRIDE, value.as_bytes()) {
            // Without xattrs the file system forgets; it can do no better.
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(failed("remember the owner of", entry, &errno.into())),
        }
    }
    Ok(())
}

/// The default ACL that the entry of a directory has.
pub fn default_acl(entry: &Entry) -> Option<Vec<u8>> {
    entry.xattrs.iter().find(|(name, _)| name == DEFAULT_ACL).map(|(_, value)| value.clone())
}

/// Sets it, where the file system has such a thing.
pub fn set_default_acl(fd: BorrowedFd<'_>, acl: &[u8], rootless: bool) -> nix::Result<()> {
    tolerated(set_xattr(fd, c"system.posix_acl_default", acl), rootless)
}

/// Labels of security modules are the host's to give; overlayfs's marks are ours.
fn wanted(name: &[u8]) -> bool {
    let known = name == b"security.capability"
        || [&b"user."[..], b"trusted.", b"system.posix_acl_"].iter().any(|prefix| name.starts_with(prefix));
    known && !marks::reserved(name)
}

fn set(entry: &Entry, name: &[u8], rootless: bool, set: impl Fn(&CStr) -> nix::Result<()>) -> Result<()> {
    let c_name = CString::new(name).map_err(|_| failed("name an xattr of", entry, &Errno::EINVAL.into()))?;
    tolerated(set(&c_name), rootless).map_err(|errno| {
        let what =
            format!("cannot set the extended attribute {} of entry {}", shown(name), shown(&entry.path));
        Error::io("UNPACK_FAILED", what, &errno.into())
    })
}

fn tolerated(result: nix::Result<()>, rootless: bool) -> nix::Result<()> {
    match result {
        // The file system has none, or not of this kind on this kind of file: Docker goes on as well.
        Err(Errno::EOPNOTSUPP) => Ok(()),
        // `trusted.*`, or an ACL for ids that are not mapped.
        Err(Errno::EPERM | Errno::EINVAL) if rootless => Ok(()),
        other => other,
    }
}

/// Sets an extended attribute through an fd.
pub fn set_xattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: `name` ends with a NUL, `value` is `value.len()` readable bytes, and the kernel keeps neither.
    let result =
        unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(result).map(drop)
}

/// `struct xattr_args` of linux/xattr.h.
#[repr(C)]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

/// Sets an extended attribute of what cannot be opened (Linux 6.13; before it there is no way without /proc).
fn set_xattr_at(directory: BorrowedFd<'_>, path: &CStr, name: &CStr, value: &[u8]) -> nix::Result<()> {
    /// The same number on every architecture.
    const SYS_SETXATTRAT: libc::c_long = 463;
    let args = XattrArgs { value: value.as_ptr() as u64, size: value.len() as u32, flags: 0 };
    // SAFETY: both names end with a NUL, `args` is what its size says and points to `size` readable bytes.
    let result = unsafe {
        libc::syscall(
            SYS_SETXATTRAT,
            directory.as_raw_fd(),
            path.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            name.as_ptr(),
            &raw const args,
            size_of::<XattrArgs>(),
        )
    };
    match Errno::result(result) {
        Err(Errno::ENOSYS) => Err(Errno::EOPNOTSUPP),
        result => result.map(drop),
    }
}

/// Sets the mode of an open file or directory.
pub fn chmod(fd: BorrowedFd<'_>, mode: u32) -> nix::Result<()> {
    fchmod(fd, Mode::from_bits_truncate(mode))
}

/// Sets the times of an open file or directory.
pub fn times(fd: BorrowedFd<'_>, mtime: Time, atime: Time) -> nix::Result<()> {
    futimens(fd, &spec(atime), &spec(mtime))
}

/// All four, of a symbolic link, device or pipe.
pub fn node(directory: impl AsFd, name: &[u8], entry: &Entry, rootless: bool) -> Result<()> {
    let directory = directory.as_fd();
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    // An owner that could not be had is forgotten: user.* xattrs are for files and directories.
    owned(fchownat(directory, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW), entry, rootless)?;
    let path = CString::new(name).map_err(|_| failed("name", entry, &Errno::EINVAL.into()))?;
    for (xattr, value) in entry.xattrs.iter().filter(|(xattr, _)| wanted(xattr)) {
        set(entry, xattr, rootless, |xattr| set_xattr_at(directory, &path, xattr, value))?;
    }
    if entry.kind != Kind::Symlink {
        // It was made a moment ago as something that is no link, and nobody else works in here.
        let mode = Mode::from_bits_truncate(entry.mode);
        fchmodat(directory, name, mode, FchmodatFlags::FollowSymlink)
            .map_err(|errno| failed("set the mode of", entry, &errno.into()))?;
    }
    let atime = entry.atime.unwrap_or(entry.mtime);
    node_times(directory, name, entry.mtime, atime)
        .map_err(|errno| failed("set the times of", entry, &errno.into()))
}

/// Sets the times of what cannot be opened.
pub fn node_times(directory: BorrowedFd<'_>, name: &[u8], mtime: Time, atime: Time) -> nix::Result<()> {
    utimensat(directory, name, &spec(atime), &spec(mtime), UtimensatFlags::NoFollowSymlink)
}

fn spec(time: Time) -> TimeSpec {
    TimeSpec::new(time.seconds, i64::from(time.nanoseconds))
}
