//! SCMP_ACT_NOTIFY: a filter that asks somebody outside, and how its listener gets there.
//!
//! Between the loading of such a filter and the arrival of its listener nobody answers it, so that every system call may
//! wait for ever: runc refuses to notify on write(2), crun hangs on sendmsg(2). Here the thread that loads makes none at
//! all: another thread, which the filter does not bind, hands the listener to the parent, who can reach the supervisor's
//! socket. The specification calls what goes there "The Container Process State" (config-linux.md).

use std::{
    hint,
    io::IoSlice,
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    thread,
};

use kapsel_seccomp::{LinuxSeccomp, Program};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{
        socket::{
            AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, setsockopt,
            socket, sockopt::SendTimeout,
        },
        stat::Mode,
        time::{TimeVal, TimeValLike},
    },
};
use serde::Serialize;

use crate::{
    Error,
    channel::Child,
    error::{At, Stage},
    process::fail,
    resolve::descriptor_path,
    spec::{State, VERSION},
};

/// Who answers a filter that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The supervisor's socket, in the caller's mount namespace.
    pub path: PathBuf,
    /// Opaque words for it.
    pub metadata: String,
    /// The container; its `pid` is the new process's where it is 0.
    pub state: State,
}

impl Listener {
    /// The one that a filter's document names, if it names one.
    pub fn of(seccomp: &LinuxSeccomp, state: State) -> Option<Self> {
        let path = seccomp.listener_path.as_deref().filter(|path| !path.is_empty())?;
        let metadata = seccomp.listener_metadata.clone().unwrap_or_default();
        Some(Self { path: PathBuf::from(path), metadata, state })
    }
}

/// Refuses a filter that asks where nobody is there to answer.
pub(crate) fn check(program: Option<&Program>, listener: Option<&Listener>) -> Result<(), Error> {
    if listener.is_none() && program.is_some_and(Program::notifies) {
        return Err(Error::config(
            "linux.seccomp: SCMP_ACT_NOTIFY needs listenerPath, the socket of who answers",
        ));
    }
    Ok(())
}

/// Seconds; a supervisor that takes longer to listen is none.
const PATIENCE: i64 = 10;
const STACK: usize = 128 << 10;

/// What the loading thread and its messenger say to each other: a descriptor, or one of these.
const NOTHING_YET: RawFd = -1;
const NONE: RawFd = -2;
const DELIVERED: RawFd = -3;

/// Loads the filter in the calling thread, and returns when its listener is with the supervisor.
pub(crate) fn load(program: &Program, channel: &Child) -> Result<(), Error> {
    let slot = Arc::new(AtomicI32::new(NOTHING_YET));
    let messenger = {
        let (slot, channel) = (Arc::clone(&slot), channel.duplicate()?);
        move || deliver(&slot, &channel)
    };
    thread::Builder::new().stack_size(STACK).spawn(messenger).at(
        Stage::Privilege,
        || "cannot make a thread to hand the seccomp listener over (a limit on processes?)",
    )?;
    let listener = match program.load() {
        Ok(listener) => listener,
        Err(error) => {
            slot.store(NONE, Ordering::Release);
            return Err(error).at(Stage::Privilege, || {
                "cannot load the seccomp filter (EBUSY: the caller is under a filter with a listener itself)"
            });
        }
    };
    slot.store(listener.map_or(NONE, IntoRawFd::into_raw_fd), Ordering::Release);
    // Not one system call: the filter may hold any of them until the listener has arrived.
    while slot.load(Ordering::Acquire) != DELIVERED {
        hint::spin_loop();
    }
    Ok(())
}

/// The messenger's life.
fn deliver(slot: &AtomicI32, channel: &Child) {
    let listener = loop {
        match slot.load(Ordering::Acquire) {
            NOTHING_YET => thread::yield_now(),
            NONE => return,
            // SAFETY: the loading thread has given its descriptor away.
            listener => break unsafe { OwnedFd::from_raw_fd(listener) },
        }
    };
    if let Err(error) = channel.listener(&listener).and_then(|()| channel.wait()) {
        // The whole process: with nobody to answer, the loading thread could not even say what happened.
        fail(channel, &error);
    }
    // A filter whose listener lives only in its own process waits for itself.
    drop(listener);
    slot.store(DELIVERED, Ordering::Release);
}

/// "The Container Process State".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'static str,
    fds: [&'static str; 1],
    pid: i32,
    metadata: &'a str,
    state: State,
}

/// Gives the listener of the process `pid` to its supervisor.
pub(crate) fn send(listener: &Listener, descriptor: &OwnedFd, pid: i32) -> Result<(), Error> {
    let what = || format!("cannot hand the seccomp listener to {}", listener.path.display());
    let mut state = listener.state.clone();
    if state.pid == 0 {
        state.pid = pid;
    }
    let metadata = &listener.metadata;
    let message = ProcessState { oci_version: VERSION, fds: ["seccompFd"], pid, metadata, state };
    let text = serde_json::to_vec(&message).map_err(std::io::Error::from).at(Stage::Privilege, what)?;

    let socket = connect(&listener.path).at(Stage::Privilege, what)?;
    let rights = [descriptor.as_raw_fd()];
    let mut control = &[ControlMessage::ScmRights(&rights)][..];
    let mut rest = &text[..];
    // A state with many annotations may not fit into one piece; the descriptor comes with its first byte.
    while !rest.is_empty() {
        let piece = [IoSlice::new(rest)];
        let sent = sendmsg::<()>(socket.as_raw_fd(), &piece, control, MsgFlags::MSG_NOSIGNAL, None);
        rest = &rest[sent.at(Stage::Privilege, what)?..];
        control = &[];
    }
    Ok(())
}

/// A connection to a socket of the caller's, whose path may be longer than a socket's address.
pub fn connect(path: &Path) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // One that has stopped listening would keep us for ever.
    setsockopt(&socket, SendTimeout, &TimeVal::seconds(PATIENCE))?;
    // A path too long for a socket's address is reached through a descriptor.
    let (_handle, address) = match UnixAddr::new(path) {
        Err(Errno::ENAMETOOLONG) => {
            let handle = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
            let short = descriptor_path(&handle);
            (Some(handle), UnixAddr::new(&short)?)
        }
        other => (None, other?),
    };
    nix::sys::socket::connect(socket.as_raw_fd(), &address)?;
    Ok(socket)
}
