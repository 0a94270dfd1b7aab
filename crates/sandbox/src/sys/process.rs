//! Processes: clone3, setns, prctl, capabilities, pidfds, scheduling.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;

/// libc has it in a type too small.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What clone3(2) gave.
pub(crate) enum Cloned {
    /// The caller is the new process.
    Child,
    /// The caller has a new child.
    Parent {
        /// Its id.
        pid: i32,
        /// A descriptor for it.
        pidfd: OwnedFd,
    },
}

/// Makes a process that goes on from here on a copy of the memory, as fork(2) does.
///
/// `sibling`: a child of the caller's parent, not of the caller.
///
/// # Safety
/// The calling process must have one thread: with more, a lock (the allocator's) may be held for ever in the child.
pub(crate) unsafe fn clone(flags: u64, cgroup: Option<BorrowedFd>, sibling: bool) -> nix::Result<Cloned> {
    let mut pidfd: i32 = -1;
    // SAFETY: all fields are integers, for which zero is valid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    if sibling {
        // The kernel takes the exit signal from the caller then, and refuses one here.
        args.flags |= libc::CLONE_PARENT as u64;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    let size = size_of::<libc::clone_args>();
    // SAFETY: `args` is a clone_args of the size that is passed; without CLONE_VM the child has its own memory and stack.
    match check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size) })? {
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel stored a new descriptor there before it returned.
        pid => Ok(Cloned::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// A descriptor for a process that is our child and not yet reaped.
pub(crate) fn pidfd_open(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just given this descriptor to us and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Enters namespaces: of the kinds `flags`, through a pidfd or a namespace's own descriptor.
pub(crate) fn setns(fd: impl AsFd, flags: i32) -> nix::Result<()> {
    // SAFETY: no pointers are passed.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_fd().as_raw_fd(), flags) })?;
    Ok(())
}

/// prctl(2) with integers only.
pub(crate) fn prctl(option: i32, arg2: u64, arg3: u64) -> nix::Result<i32> {
    // SAFETY: the options that this crate uses (PR_SET_DUMPABLE, PR_CAPBSET_DROP, …) take integers.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, arg2, arg3, 0, 0) }).map(|value| value as i32)
}

/// Sets the effective, permitted and inheritable sets of the calling thread.
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> nix::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let half = |shift: u32| {
        [(effective >> shift) as u32, (permitted >> shift) as u32, (inheritable >> shift) as u32]
    };
    let data = [half(0), half(32)];
    // SAFETY: the header is version 3 for the calling thread, and the data are its two structures of three words.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) })?;
    Ok(())
}

/// The permitted set of the calling thread.
pub(crate) fn capget_permitted() -> nix::Result<u64> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [[0u32; 3]; 2];
    // SAFETY: as in `capset`; the kernel fills the two structures.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    Ok(data[0][1] as u64 | (data[1][1] as u64) << 32)
}

/// Leaves the caller's session keyring for a new, empty one.
pub(crate) fn new_session_keyring() -> nix::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    check(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    })?;
    Ok(())
}

/// ioprio_set(2) of the calling thread.
pub(crate) fn set_io_priority(value: i32) -> nix::Result<()> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: no pointers are passed.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) })?;
    Ok(())
}

/// sched_setattr(2) of the calling thread.
pub(crate) fn set_scheduler(attributes: &libc::sched_attr) -> nix::Result<()> {
    // SAFETY: `attributes` is a sched_attr whose size field says how long it is.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *attributes, 0) })?;
    Ok(())
}
