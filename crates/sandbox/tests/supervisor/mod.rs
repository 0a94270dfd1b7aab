//! Who answers a filter that asks (seccomp_unotify(2)), on the socket that a document names.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::{
    io::IoSliceMut,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    path::Path,
    thread::{JoinHandle, spawn},
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg},
};
use serde_json::Value;

/// _IOWR('!', 0, struct seccomp_notif), _IOWR('!', 1, struct seccomp_notif_resp)
const RECV: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const GO_ON: u32 = 1;

/// What a supervisor has seen: the states that came to it, and the calls that it was asked about.
#[derive(Default)]
pub struct Seen {
    pub states: Vec<Value>,
    pub calls: Vec<i32>,
}

/// Answers the calls of `connections` processes one after another: with an errno, or to go on.
pub fn supervise(path: &Path, connections: usize, errno: Option<i32>) -> JoinHandle<Seen> {
    let socket = UnixListener::bind(path).unwrap();
    spawn(move || {
        let mut seen = Seen::default();
        for _ in 0..connections {
            let (state, listener) = next(&socket);
            seen.states.push(state);
            answer(&listener, &mut seen.calls, |_| errno);
        }
        seen
    })
}

/// The state and the listener of the next process. One that does not come is a failure, no hang.
pub fn next(socket: &UnixListener) -> (Value, OwnedFd) {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd.
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 20_000) }, 1, "nobody came");
    let (connection, _) = socket.accept().unwrap();
    receive(connection.as_raw_fd())
}

/// One state and its descriptor, to the connection's end.
fn receive(connection: RawFd) -> (Value, OwnedFd) {
    let (mut text, mut listener) = (Vec::new(), None);
    loop {
        let mut buffer = [0; 1000];
        let mut control = nix::cmsg_space!(RawFd);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(connection, &mut parts, Some(&mut control), MsgFlags::empty()).unwrap();
        for control in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(fds) = control {
                // SAFETY: the kernel has just made it for us.
                listener = Some(unsafe { OwnedFd::from_raw_fd(fds[0]) });
            }
        }
        let length = message.bytes;
        if length == 0 {
            return (serde_json::from_slice(&text).unwrap(), listener.expect("a descriptor"));
        }
        text.extend_from_slice(&buffer[..length]);
    }
}

/// Answers the calls of one listener until nobody is under its filter any more: with the errno that a call's number gets, or
/// to go on.
pub fn answer(listener: &OwnedFd, calls: &mut Vec<i32>, errno: impl Fn(i32) -> Option<i32>) {
    loop {
        let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd.
        unsafe { libc::poll(&raw mut poll, 1, -1) };
        if poll.revents & libc::POLLIN == 0 {
            // Nobody is under the filter any more.
            return;
        }
        // SAFETY: integers only; the kernel wants them to be zero.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the request fits the structure.
        match Errno::result(unsafe { libc::ioctl(listener.as_raw_fd(), RECV, &raw mut asked) }) {
            // It was killed meanwhile.
            Err(Errno::ENOENT | Errno::EINTR) => continue,
            other => drop(other.unwrap()),
        }
        calls.push(asked.data.nr);
        let errno = errno(asked.data.nr);
        let answer = libc::seccomp_notif_resp {
            id: asked.id,
            val: 0,
            error: errno.map_or(0, |errno| -errno),
            flags: if errno.is_some() { 0 } else { GO_ON },
        };
        // SAFETY: as above. It may have been killed meanwhile.
        unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const answer) };
    }
}
