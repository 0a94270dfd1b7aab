//! A user who is not root becomes root of a user namespace first, whatever the verb.
//!
//! - [`hub`](self::hub): the one that containers on networks share, with the network namespace of their bridges
//! - [`holder`](self::holder): the process that keeps both
//! - [`ids`](self::ids): the host's ids in a document
//! - [`uplink`](self::uplink): pasta or slirp4netns, by which that network namespace reaches other machines

mod holder;
mod hub;
mod ids;
mod uplink;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kapsel_sandbox::userns;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{AccessFlags, Gid, Uid, faccessat, setgroups, setresgid, setresuid};

pub use hub::Hub;
pub use ids::translate;

use crate::error::{Error, Result};
use crate::launch::Launch;

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
                    "this system does not let ordinary users make user namespaces; as root run: {}",
                    remedy(setting, std::fs::read_link("/proc/self/exe").ok())
                ),
                errno: error.errno,
            },
            _ => error,
        }
    })?;
    Ok(true)
}

/// What root has to run. AppArmor needs no more than a profile that lets this one program do it; but a copy in memory, which
/// is what runs where the file is the user's own, has no path that a profile could have.
fn remedy(setting: &str, executable: Option<PathBuf>) -> String {
    match executable {
        Some(path) if setting.contains("apparmor") && path.is_file() => format!(
            "printf 'abi <abi/4.0>,\\nprofile kapsel \"{}\" flags=(unconfined) {{ userns, }}\\n' > /etc/apparmor.d/kapsel && apparmor_parser -r /etc/apparmor.d/kapsel",
            path.display()
        ),
        _ => format!("sysctl -w {setting}"),
    }
}

/// As [`enter`], for a container: into the hub, where it is on networks, or into the user namespace of the network namespace
/// that it is to share.
pub fn enter_for(launch: Option<&Launch>) -> Result<(bool, Option<Hub>)> {
    if let Some(launch) = launch.filter(|launch| launch.awaits_network) {
        return enter_for_networks(&launch.run_directory);
    }
    if nix::unistd::geteuid().is_root() {
        return Ok((is_in_user_namespace(), None));
    }
    match launch.and_then(Launch::shared_network).map(owner) {
        Some(Ok(Some(owner))) => enter_this(&owner).map(|()| (true, None)),
        _ => Ok((enter()?, None)),
    }
}

/// As [`enter_for`], for a container with that run directory, which is on networks.
pub fn enter_for_networks(run_directory: &Path) -> Result<(bool, Option<Hub>)> {
    if nix::unistd::geteuid().is_root() {
        return Ok((is_in_user_namespace(), None));
    }
    Ok((true, Some(Hub::join(&run_directory.join("../.."))?)))
}

/// Whether this executable is a file of root's that the user cannot write, and his containers therefore neither.
pub fn cannot_write_executable() -> bool {
    const EXECUTABLE: &str = "/proc/self/exe";
    let is_roots = std::fs::metadata(EXECUTABLE).is_ok_and(|file| file.uid() == 0);
    let writable = || faccessat(AT_FDCWD, EXECUTABLE, AccessFlags::W_OK, AtFlags::AT_EACCESS);
    !nix::unistd::geteuid().is_root() && is_roots && writable() == Err(Errno::EACCES)
}

/// Enters the network namespace where the bridges are, with its user namespace. For root it is the caller's own; an ordinary
/// user who has none at present gets an empty one.
pub fn enter_hub(run_root: &Path) -> Result<()> {
    if nix::unistd::geteuid().is_root() || Hub::visit(run_root)? {
        return Ok(());
    }
    enter()?;
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| Error::io("cannot make a network namespace", &errno.into()))
}

/// The user namespace that another namespace belongs to, unless that is our own.
fn owner(path: &Path) -> io::Result<Option<File>> {
    /// `NS_GET_USERNS` of linux/nsfs.h.
    const GET_OWNER: libc::Ioctl = 0xb701;
    let owner = related(&File::open(path)?, GET_OWNER)?;
    Ok((owner.metadata()?.ino() != own()?).then_some(owner))
}

fn own() -> io::Result<u64> {
    Ok(File::open("/proc/self/ns/user")?.metadata()?.ino())
}

/// Enters a user namespace that an earlier command of this user made, with a mount namespace of its own.
fn enter_this(namespace: &File) -> Result<()> {
    let enter = || -> io::Result<()> {
        setns(namespace, CloneFlags::CLONE_NEWUSER)?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        // The user's groups of the host mean nothing in here; with a single id they cannot be left.
        let _ = setgroups(&[]);
        setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))?;
        setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))?;
        Ok(())
    };
    enter().map_err(|error| Error::io("cannot enter the container's user namespace", &error))
}

/// Enters, instead of a new one, the user namespace which an earlier command of this user made and in which that process
/// lives: only there has the user a right over the namespaces of the process.
pub fn enter_that_of(pid: i32) -> Result<bool> {
    if nix::unistd::geteuid().is_root() {
        return Ok(is_in_user_namespace());
    }
    let find = || -> io::Result<File> {
        let own = own()?;
        let mut namespace = File::open(format!("/proc/{pid}/ns/user"))?;
        // A container may have further ones inside.
        loop {
            let around = parent(&namespace)?;
            if around.metadata()?.ino() == own {
                return Ok(namespace);
            }
            namespace = around;
        }
    };
    let found = find().map_err(|error| Error::io("cannot find the container's user namespace", &error))?;
    enter_this(&found).map(|()| true)
}

/// The user namespace around one.
fn parent(namespace: &File) -> io::Result<File> {
    /// `NS_GET_PARENT` of linux/nsfs.h.
    const GET_PARENT: libc::Ioctl = 0xb702;
    related(namespace, GET_PARENT)
}

fn related(namespace: &File, request: libc::Ioctl) -> io::Result<File> {
    // SAFETY: the requests have no argument.
    match unsafe { libc::ioctl(namespace.as_raw_fd(), request) } {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_given_where_it_helps() {
        let sysctl = "kernel.apparmor_restrict_unprivileged_userns=0";
        let profile = remedy(sysctl, Some("/bin/sh".into()));
        assert!(
            profile.contains(
                r#"profile kapsel "/bin/sh" flags=(unconfined) { userns, }\n' > /etc/apparmor.d/kapsel"#
            ),
            "{profile}"
        );
        assert_eq!(
            remedy(sysctl, Some("/memfd:kapsel-runtime (deleted)".into())),
            format!("sysctl -w {sysctl}")
        );
        assert_eq!(remedy("a.b=1", Some("/bin/sh".into())), "sysctl -w a.b=1");
    }
}
