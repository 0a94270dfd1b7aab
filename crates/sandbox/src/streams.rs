//! Standard streams, and the end of every other descriptor.

use std::os::fd::{BorrowedFd, RawFd};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    sys::stat::{SFlag, fstat},
    unistd::Uid,
};

use crate::{
    Error,
    channel::RESERVED,
    error::{At, Stage},
    resolve::is_kind,
    sys::open::close_range,
};

/// Puts `sources` on 0, 1 and 2, and closes every other descriptor but the first `inherited` from 3 on and those `kept`,
/// none of which may be one of the program's streams. What the caller had open (a directory of the host, another
/// container's console) would be a way out of the container, even during the few path lookups that are left
/// (CVE-2024-21626).
///
/// No other descriptor opened before this may be used after it.
pub(crate) fn settle(sources: [RawFd; 3], inherited: u32, kept: &mut [RawFd]) -> Result<(), Error> {
    let mut arrange = || {
        let [stdin, stdout, stderr] = sources.map(lift);
        for (target, source) in [(0, stdin?), (1, stdout?), (2, stderr?)] {
            place(source, target)?;
        }
        let mut first_to_close = RESERVED.saturating_add_unsigned(inherited);
        kept.sort_unstable();
        for kept in kept.iter() {
            close_range(first_to_close, kept - 1)?;
            first_to_close = first_to_close.max(kept + 1);
        }
        close_range(first_to_close, RawFd::MAX)
    };
    arrange().at(Stage::Channel, || "cannot arrange the standard streams")
}

/// The descriptor, or a copy of it above those that are about to be replaced.
fn lift(fd: RawFd) -> nix::Result<RawFd> {
    if fd >= RESERVED {
        return Ok(fd);
    }
    // SAFETY: the caller's descriptor is open for as long as it is borrowed here.
    fcntl(unsafe { BorrowedFd::borrow_raw(fd) }, FcntlArg::F_DUPFD_CLOEXEC(RESERVED))
}

fn place(source: RawFd, target: RawFd) -> nix::Result<()> {
    // SAFETY: the table is this child's own, and what `target` was is not used again.
    Errno::result(unsafe { libc::dup3(source, target, 0) }).map(drop)
}

/// Gives pipes, sockets and the container's terminal to the program's user, who may want to open /dev/stdout again.
/// A file of the host keeps its owner, and where ids are not mapped everything does.
pub(crate) fn give_to(uid: u32, is_terminal: bool) {
    for number in 0..3 {
        // SAFETY: 0, 1 and 2 have just been put there.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let Ok(stat) = fstat(fd) else { continue };
        let is_stream = is_terminal || is_kind(&stat, SFlag::S_IFIFO) || is_kind(&stat, SFlag::S_IFSOCK);
        if is_stream && stat.st_uid != uid {
            let _ = nix::unistd::fchown(fd, Some(Uid::from_raw(uid)), None);
        }
    }
}
