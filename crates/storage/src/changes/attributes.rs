//! Extended attributes as a tar has them, and overlayfs's among them.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::extract::attributes::OVERRIDE;
use crate::extract::marks::{OPAQUE, reserved};
use crate::tar::Entry;

/// Whether nothing of the layers below shows in this directory. A user who is not root marks it in `user.*`.
pub fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    [OPAQUE, c"user.overlay.opaque"].iter().any(|name| get(directory, name).is_ok_and(|value| value == b"y"))
}

/// Those that belong to the file and not to overlayfs, sorted.
pub fn all(file: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    read(file, |name| !reserved(name))
}

/// Those, and what overlayfs and we remember by others.
pub fn every(file: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    read(file, |_| true)
}

fn read(file: BorrowedFd<'_>, wanted: impl Fn(&[u8]) -> bool) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
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
    for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty() && wanted(name)) {
        let c_name = CString::new(name).map_err(io::Error::from)?;
        match get(file, &c_name) {
            Ok(value) => found.push((name.to_vec(), value)),
            // It has been removed meanwhile.
            Err(Errno::ENODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The owner and mode that a user who is not root could not give the file, and remembered.
pub fn recall(file: BorrowedFd<'_>, entry: &mut Entry) {
    let Ok(value) = get(file, OVERRIDE) else { return };
    let text = String::from_utf8_lossy(&value);
    let mut parts = text.split(':');
    let mut number = |radix| parts.next().and_then(|part| u32::from_str_radix(part, radix).ok());
    if let (Some(uid), Some(gid), Some(mode)) = (number(10), number(10), number(8)) {
        (entry.uid, entry.gid, entry.mode) = (uid, gid, mode & 0o7777);
    }
}

fn get(file: BorrowedFd<'_>, name: &CStr) -> nix::Result<Vec<u8>> {
    // The longest value that the kernel has (XATTR_SIZE_MAX).
    let mut value = vec![0_u8; 64 << 10];
    // SAFETY: `name` ends with a NUL, and the buffer has the length that is given.
    let length =
        unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(Errno::result(length)?.unsigned_abs());
    Ok(value)
}
