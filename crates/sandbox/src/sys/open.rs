//! openat2(2) and close_range(2).

use std::{
    ffi::CStr,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use super::check;

/// Opens `path` below `at` under the `RESOLVE_*` rules of `resolve`; always close-on-exec.
pub(crate) fn openat2(
    at: impl AsFd,
    path: &CStr,
    flags: i32,
    mode: u32,
    resolve: u64,
) -> nix::Result<OwnedFd> {
    let how: [u64; 3] = [(flags | libc::O_CLOEXEC) as u32 as u64, mode as u64, resolve];
    let at = at.as_fd().as_raw_fd();
    let mut tries = 0;
    loop {
        let size = size_of_val(&how);
        // SAFETY: `how` has the layout and the size of struct open_how, and `path` is a C string.
        let fd = check(unsafe { libc::syscall(libc::SYS_openat2, at, path.as_ptr(), how.as_ptr(), size) });
        tries += 1;
        match fd {
            // A rename somewhere made a ".." uncertain: the kernel asks to try again. Somebody who renames for ever
            // gets an error in the end.
            Err(nix::errno::Errno::EAGAIN) if tries < 128 => continue,
            // SAFETY: the kernel has just given this descriptor to us and nobody else knows its number.
            other => return other.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) }),
        }
    }
}

/// Lets every descriptor from `first` on end with the next execve(2).
pub(crate) fn close_on_exec_from(first: RawFd) -> nix::Result<()> {
    // SAFETY: integers only; no descriptor is closed here.
    check(unsafe {
        libc::syscall(libc::SYS_close_range, first as u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
    })?;
    Ok(())
}

/// Closes every descriptor from `first` to `last`.
pub(crate) fn close_range(first: RawFd, last: RawFd) -> nix::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: the caller is a child about to exec, which owns its table and uses none of these descriptors again.
    check(unsafe { libc::syscall(libc::SYS_close_range, first as u32, last as u32, 0) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_opened_survives_an_execve() {
        let root = std::fs::File::open("/").unwrap();
        let fd = openat2(&root, c"proc", libc::O_PATH, 0, 0).unwrap();
        // SAFETY: the descriptor is open.
        assert_eq!(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) }, libc::FD_CLOEXEC);
    }
}
