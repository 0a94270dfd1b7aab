//! A user who is not root becomes root of a user namespace first, whatever the verb.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::MetadataExt;

use kapsel_sandbox::userns;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Uid, setresgid, setresuid};

use crate::error::{Error, Result};

/// Where a kernel says that users may not have user namespaces, and the value with which it says so.
const FORBIDDEN: [(&str, &str, &str); 3] = [
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
];

/// Enters a user namespace where that is needed, and says whether we are in one of our own making.
pub fn enter() -> Result<bool> {
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return Ok(is_in_user_namespace());
    }
    userns::enter().map_err(|error| {
        let error = Error::from(error);
        match (error.errno, forbidden()) {
            (libc::EPERM | libc::ENOSPC | libc::EACCES, Some(setting)) => Error {
                code: "USER_NAMESPACE_FORBIDDEN".to_owned(),
                message: format!(
                    "this system does not let ordinary users make user namespaces; as root run: sysctl -w {setting}"
                ),
                errno: error.errno,
            },
            _ => error,
        }
    })?;
    Ok(true)
}

/// Enters, instead of a new one, the user namespace which an earlier command of this user made and in which that process
/// lives: only there has the user a right over the namespaces of the process.
pub fn enter_that_of(pid: i32) -> Result<bool> {
    if nix::unistd::geteuid().is_root() {
        return Ok(is_in_user_namespace());
    }
    let enter = || {
        let own = File::open("/proc/self/ns/user")?.metadata()?.ino();
        let mut namespace = File::open(format!("/proc/{pid}/ns/user"))?;
        // A container may have further ones inside.
        loop {
            let around = parent(&namespace)?;
            if around.metadata()?.ino() == own {
                break;
            }
            namespace = around;
        }
        setns(&namespace, CloneFlags::CLONE_NEWUSER)?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))?;
        setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))?;
        Ok(true)
    };
    enter().map_err(|error: io::Error| Error::io("cannot enter the container's user namespace", &error))
}

/// The user namespace around one.
fn parent(namespace: &File) -> io::Result<File> {
    /// `NS_GET_PARENT` of linux/nsfs.h.
    const GET_PARENT: libc::Ioctl = 0xb702;
    // SAFETY: the request has no argument.
    match unsafe { libc::ioctl(namespace.as_raw_fd(), GET_PARENT) } {
        fd if fd < 0 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just given this descriptor to us and nobody else knows its number.
        fd => Ok(unsafe { File::from_raw_fd(fd) }),
    }
}

/// The setting that would allow it, of the first one that forbids it.
pub fn forbidden() -> Option<&'static str> {
    let says = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    FORBIDDEN.iter().find(|(path, value, _)| says(path, value)).map(|&(_, _, setting)| setting)
}

/// Whether uid 0 here is not uid 0 of the machine: every namespace but the first has a map that is not the identity of all ids.
pub fn is_in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && map.split_whitespace().ne(["0", "0", "4294967295"])
}
