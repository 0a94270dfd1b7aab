//! Descriptors for JavaScript: memfds, pipes, socket pairs, locks. All close-on-exec, all the caller's to close.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use napi::bindgen_prelude::{Either, Uint8Array};
use napi_derive::napi;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType};

use crate::outcome::{Failure, Outcome};

/// A descriptor that JavaScript holds. None where the number cannot be one.
pub fn borrow<'a>(fd: RawFd) -> Result<BorrowedFd<'a>, Failure> {
    if fd < 0 {
        return Err(Failure::invalid(format!("{fd} is not a file descriptor")));
    }
    // SAFETY: the number is not -1. Whether it is open is for the kernel to say (EBADF); `src/native.ts` documents
    // that a descriptor stays open for the duration of a call.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// A copy of a descriptor that JavaScript holds, which outlives the call.
pub fn duplicate(fd: RawFd) -> Result<OwnedFd, Failure> {
    borrow(fd)?
        .try_clone_to_owned()
        .map_err(|error| Failure::system("duplicate a descriptor", errno_of(&error)))
}

/// The errno in an error of the standard library.
pub fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))
}

/// An anonymous file holding `content`, its offset at 0.
#[napi]
pub fn memfd(content: Either<String, Uint8Array>) -> Outcome<RawFd> {
    let bytes = match &content {
        Either::A(text) => text.as_bytes(),
        Either::B(bytes) => bytes.as_ref(),
    };
    anonymous(c"kapsel", bytes).map(IntoRawFd::into_raw_fd).into()
}

fn anonymous(name: &CStr, content: &[u8]) -> Result<File, Failure> {
    let fd =
        memfd_create(name, MFdFlags::MFD_CLOEXEC).map_err(|errno| Failure::system("make a memfd", errno))?;
    let mut file = File::from(fd);
    file.write_all(content)
        .and_then(|()| file.rewind())
        .map_err(|error| Failure::system("write a memfd", errno_of(&error)))?;
    Ok(file)
}

/// `[read, write]`.
#[napi]
pub fn pipe() -> Outcome<Vec<RawFd>> {
    let pair = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|errno| Failure::system("make a pipe", errno));
    pair.map(|(read, write)| vec![read.into_raw_fd(), write.into_raw_fd()]).into()
}

/// Two connected stream sockets.
#[napi]
pub fn socketpair() -> Outcome<Vec<RawFd>> {
    let made =
        nix::sys::socket::socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC);
    made.map(|(one, other)| vec![one.into_raw_fd(), other.into_raw_fd()])
        .map_err(|errno| Failure::system("make a socket pair", errno))
        .into()
}

/// Closes a descriptor.
#[napi]
pub fn close(fd: RawFd) -> Outcome<()> {
    let closed = borrow(fd).and_then(|fd| {
        nix::unistd::close(fd.as_raw_fd())
            .map_err(|errno| Failure::system(&format!("close descriptor {}", fd.as_raw_fd()), errno))
    });
    closed.into()
}

/// Makes and locks a file, waiting at most `patience` milliseconds for another holder.
#[napi]
pub fn lock_exclusive(path: String, patience: u32) -> Outcome<RawFd> {
    kapsel_state::lock_exclusive(Path::new(&path), Duration::from_millis(patience.into()))
        .map(IntoRawFd::into_raw_fd)
        .into()
}

/// Gives a file that has no name (`O_TMPFILE`) one. `AT_EMPTY_PATH` would need CAP_DAC_READ_SEARCH before Linux 6.10.
#[napi]
pub fn link_descriptor(fd: RawFd, path: String) -> Outcome<()> {
    let linked = borrow(fd).and_then(|fd| {
        let nameless = format!("/proc/self/fd/{}", fd.as_raw_fd());
        nix::unistd::linkat(AT_FDCWD, nameless.as_str(), AT_FDCWD, path.as_str(), AtFlags::AT_SYMLINK_FOLLOW)
            .map_err(|errno| Failure::system(&format!("name the file {path}"), errno))
    });
    linked.into()
}

/// Removes a run directory whose lock the caller holds.
#[napi]
pub fn remove_run_directory(path: String) -> Outcome<()> {
    kapsel_state::remove_run_directory(Path::new(&path)).into()
}
