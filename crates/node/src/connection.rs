//! The way to a monitor (ARCHITECTURE.md): connecting, and sending requests with their descriptors. Its lines are read
//! by the pump, or by the engine's own stream.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;

use napi_derive::napi;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect as connect_socket,
    send as send_bytes, sendmsg, socket,
};
use nix::sys::stat::Mode;

use crate::descriptors::borrow;
use crate::outcome::{Failure, Outcome};

/// Connects to a socket; the path may be longer than a socket address can hold. EAGAIN where more wait to be let in than
/// the monitor's queue holds: it is stopped, or about to let them in.
#[napi]
pub fn connect(path: String) -> Outcome<RawFd> {
    let connected = open_connection(Path::new(&path));
    connected
        .map(IntoRawFd::into_raw_fd)
        .map_err(|errno| Failure::system(&format!("connect to {path}"), errno))
        .into()
}

fn open_connection(path: &Path) -> nix::Result<OwnedFd> {
    // Non-blocking: connect(2) would wait for room in the queue of a monitor that is stopped.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match UnixAddr::new(path) {
        Ok(address) => connect_socket(fd.as_raw_fd(), &address)?,
        Err(Errno::ENAMETOOLONG) => {
            let directory = path.parent().ok_or(Errno::ENAMETOOLONG)?;
            let name = path.file_name().ok_or(Errno::ENAMETOOLONG)?;
            let opened =
                open(directory, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
            let short = Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join(name);
            connect_socket(fd.as_raw_fd(), &UnixAddr::new(&short)?)?;
        }
        Err(errno) => return Err(errno),
    }
    Ok(fd)
}

/// Sends a line, and descriptors with its first byte; gives how many bytes of the line are left, which is none with
/// `wait`: without, what a full socket does not take at once is the caller's to send. To a monitor that has gone away
/// nothing is sent, and that is no failure: who reads the connection learns it, after the last words.
#[napi]
pub fn send(connection: RawFd, line: String, fds: Vec<RawFd>, wait: bool) -> Outcome<u32> {
    let sent = borrow(connection).and_then(|fd| {
        send_line(fd, &format!("{line}\n"), &fds, wait)
            .map_err(|errno| Failure::system("write to the monitor", errno))
    });
    sent.into()
}

fn send_line(fd: impl AsFd, line: &str, fds: &[RawFd], wait: bool) -> nix::Result<u32> {
    let fd = fd.as_fd();
    let control = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &control[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let mut rest = line.as_bytes();
    let mut first = true;
    while !rest.is_empty() {
        let sent = if first {
            sendmsg::<()>(fd.as_raw_fd(), &[IoSlice::new(rest)], control, flags, None)
        } else {
            send_bytes(fd.as_raw_fd(), rest, flags)
        };
        match sent {
            Ok(count) => {
                rest = &rest[count..];
                first = false;
            }
            Err(Errno::EINTR) => {}
            // Descriptors go with the first byte, so that one must go.
            Err(Errno::EAGAIN) if wait || first => {
                poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PollTimeout::NONE)?;
            }
            Err(Errno::EAGAIN) => break,
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(0),
            Err(errno) => return Err(errno),
        }
    }
    Ok(rest.len() as u32)
}
