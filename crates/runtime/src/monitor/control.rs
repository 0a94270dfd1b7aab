//! The control socket: `RUN_ROOT/containers/ID/control`, mode 0600, for this user and root.

use std::fs::File;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::connection::is_trusted;
use super::epoll::{self, Epoll, Token, Watched};
use crate::error::{Error, Result};

/// The socket's name in the run directory.
const NAME: &str = "control";

/// The listening socket.
pub struct Control {
    listener: Watched,
    path: PathBuf,
    /// Given up to accept a connection, and close it, when there are no descriptors left: otherwise it would wake us for ever.
    reserve: Option<File>,
}

impl Control {
    /// Listens in the run directory.
    pub fn listen(run_directory: &Path, epoll: &Epoll) -> Result<Self> {
        let path = run_directory.join(NAME);
        let failed =
            |error: io::Error| Error::io(format_args!("cannot listen on {}", path.display()), &error);
        let directory = File::open(run_directory).map_err(failed)?;
        // Left by a monitor that was killed; the lock says that it is gone.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = bind(&directory).map_err(failed)?;
        let mut listener = epoll.watch(listener, Token::Listener);
        listener.set(epoll::READ).map_err(failed)?;
        let reserve = File::open("/dev/null").ok();
        Ok(Self { listener, path, reserve })
    }

    /// The next connection of somebody who may have one.
    pub fn accept(&mut self) -> Option<OwnedFd> {
        let socket = match accept(&self.listener) {
            Ok(socket) => socket,
            Err(error) => {
                if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                    self.reserve = None;
                    let _ = accept(&self.listener);
                    self.reserve = File::open("/dev/null").ok();
                }
                return None;
            }
        };
        is_trusted(&socket).then_some(socket)
    }

    /// Removes the socket: whoever comes now looks for the exit record.
    pub fn unlink(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds through the directory's descriptor, so that a path may be longer than the 108 bytes of a socket address.
fn bind(directory: &File) -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = unsafe {
        libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let path = format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd());
    // SAFETY: an all-zero sockaddr_un is a valid value of that type.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = from as libc::c_char;
    }
    let length = (offset_of!(libc::sockaddr_un, sun_path) + path.len() + 1) as libc::socklen_t;
    // The mode is the umask's (unix(7)); the umask is ours, with one thread. It is never open to others, not for a moment.
    // SAFETY: no pointer is passed.
    let umask = unsafe { libc::umask(0o177) };
    // SAFETY: `address` is a sockaddr_un of at least `length` bytes, which is less than its size: the path is short.
    let bound = unsafe {
        libc::bind(fd, (&raw const address).cast(), length.min(size_of::<libc::sockaddr_un>() as u32))
    };
    let error = io::Error::last_os_error();
    // SAFETY: no pointer is passed.
    unsafe { libc::umask(umask) };
    if bound < 0 {
        return Err(error);
    }
    // SAFETY: no pointer is passed.
    match unsafe { libc::listen(fd, 128) } {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

fn accept(listener: &Watched) -> io::Result<OwnedFd> {
    // SAFETY: no address is asked for, so no pointer but null is passed.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
