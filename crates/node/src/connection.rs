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

/// Connects to a socket; the path may be longer than a socket address can hold.
#[napi]
pub fn connect(path: String) -> Outcome<RawFd> {
    let connected = open_connection(Path::new(&path));
    connected
        .map(IntoRawFd::into_raw_fd)
        .map_err(|errno| Failure::system(&format!("connect to {path}"), errno))
        .into()
}

fn open_connection(path: &Path) -> nix::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
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

/// Sends a line, and descriptors with its first byte.
#[napi]
pub fn send(connection: RawFd, line: String, fds: Vec<RawFd>) -> Outcome<()> {
    let sent = borrow(connection).and_then(|fd| {
        send_line(fd, &format!("{line}\n"), &fds)
            .map_err(|errno| Failure::system("write to the monitor", errno))
    });
    sent.into()
}

fn send_line(fd: impl AsFd, line: &str, fds: &[RawFd]) -> nix::Result<()> {
    let fd = fd.as_fd();
    let control = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &control[..] };
    let mut rest = line.as_bytes();
    let mut first = true;
    while !rest.is_empty() {
        let sent = if first {
            sendmsg::<()>(fd.as_raw_fd(), &[IoSlice::new(rest)], control, MsgFlags::MSG_NOSIGNAL, None)
        } else {
            send_bytes(fd.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL)
        };
        match sent {
            Ok(count) => {
                rest = &rest[count..];
                first = false;
            }
            Err(Errno::EINTR) => {}
            // A monitor reads at once; node:net may have made the socket non-blocking.
            Err(Errno::EAGAIN) => {
                poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PollTimeout::NONE)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
