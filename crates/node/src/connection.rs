//! The connection to a monitor (ARCHITECTURE.md): lines of JSON, and the descriptors that go with them.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;

use napi::bindgen_prelude::{Env, Object};
use napi_derive::napi;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect as connect_socket, recv,
    send as send_bytes, sendmsg, socket,
};
use nix::sys::stat::Mode;

use crate::descriptors::{borrow, duplicate};
use crate::outcome::{Failure, Outcome};
use crate::settle::Settle;
use crate::waiter::when_readable;

/// The longest line there may be: what a monitor sends is far shorter.
const LONGEST: usize = 1 << 20;

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

/// The next line, without its newline; null at the end.
#[napi]
pub fn receive(env: &Env, connection: RawFd) -> napi::Result<Object<'_>> {
    let (settle, promise) = Settle::promise(env)?;
    match duplicate(connection) {
        Ok(fd) => continue_line(fd, Vec::new(), settle),
        Err(failure) => settle.with(Err(failure)),
    }
    Ok(promise)
}

/// Takes what is there up to the newline and nothing beyond it; what follows is the next reader's.
fn continue_line(fd: OwnedFd, mut line: Vec<u8>, settle: Settle<Option<String>>) {
    when_readable(fd, move |readable| {
        let failed = |errno| Failure::system("read from the monitor", errno);
        let fd = match readable {
            Ok(fd) => fd,
            Err(errno) => return settle.with(Err(failed(errno))),
        };
        match take(&fd, &mut line) {
            Ok(Taken::Line) => settle.with(Ok(Some(String::from_utf8_lossy(&line).into_owned()))),
            Ok(Taken::Some) if line.len() <= LONGEST => continue_line(fd, line, settle),
            Ok(Taken::Some) => settle.with(Err(failed(Errno::EMSGSIZE))),
            Ok(Taken::End) => settle.with(Ok(None)),
            Err(Errno::EAGAIN | Errno::EINTR) => continue_line(fd, line, settle),
            Err(errno) => settle.with(Err(failed(errno))),
        }
    });
}

enum Taken {
    Line,
    Some,
    End,
}

fn take(fd: &OwnedFd, line: &mut Vec<u8>) -> nix::Result<Taken> {
    let mut buffer = [0; 4096];
    let seen = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)?;
    if seen == 0 {
        return Ok(Taken::End);
    }
    let newline = buffer[..seen].iter().position(|byte| *byte == b'\n');
    let wanted = newline.map_or(seen, |position| position + 1);
    let taken = recv(fd.as_raw_fd(), &mut buffer[..wanted], MsgFlags::MSG_DONTWAIT)?;
    line.extend_from_slice(&buffer[..newline.filter(|_| taken == wanted).unwrap_or(taken)]);
    Ok(if newline.is_some() && taken == wanted { Taken::Line } else { Taken::Some })
}
