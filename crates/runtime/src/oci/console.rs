//! `--console-socket` and `--pidfd-socket`: a descriptor for whoever listens there.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use kapsel_sandbox::connect;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::error::{Error, Result};

/// Sends it, with a name as runc does: Go's receivers want one.
pub fn send(socket: &Path, fd: &OwnedFd) -> Result<()> {
    let failed = |errno: nix::errno::Errno| {
        Error::io(format_args!("cannot send a descriptor to the socket {}", socket.display()), &errno.into())
    };
    let connection = connect(socket).map_err(failed)?;
    let fds = [fd.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&fds)];
    let name = [IoSlice::new(b"/dev/ptmx")];
    sendmsg::<()>(connection.as_raw_fd(), &name, &control, MsgFlags::MSG_NOSIGNAL, None).map_err(failed)?;
    Ok(())
}
