//! User namespaces: a user who is not root becomes uid 0 of one; and the maps of those made for containers.

mod helper;
mod maps;
mod subordinate;

use std::fs;

use nix::{errno::Errno, sched::CloneFlags};

use crate::{
    Error,
    error::{At, Stage},
    namespaces::become_root,
};
use helper::Helper;
pub(crate) use maps::{Maps, holder, write_maps};

/// Which ids the namespace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The user's own id as 0, and the subordinate ids of /etc/subuid and /etc/subgid from 1 on.
    Range {
        /// How many user ids there are in all.
        uids: u32,
        /// How many group ids there are in all.
        gids: u32,
    },
    /// The user's own id as 0 and no other; supplementary groups cannot be changed.
    Single,
}

const ONE_OF_TWO: &str = "only one of newuidmap and newgidmap allowed this user's subordinate ids; \
    compare the user's lines in /etc/subuid and /etc/subgid";

/// Makes a user and a mount namespace and enters both as uid 0. The calling process must have one thread.
///
/// The mount namespace (a copy of the host's) is what gives the right to make detached mounts.
pub fn enter() -> Result<Granted, Error> {
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let subordinate = subordinate::ranges(uid);
    // Made now, because they must stay outside: in the new namespace a set-user-ID program has no power.
    let helpers = match &subordinate {
        Some((uids, gids)) => {
            Some((Helper::new(c"newuidmap", uid, uids)?, Helper::new(c"newgidmap", gid, gids)?))
        }
        None => None,
    };
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(refused)?;
    let granted = match helpers {
        None => map_single(uid, gid)?,
        Some((uids, gids)) => {
            // Both at once: they are slow, and neither waits for the other.
            let (uids, gids) = (uids.start()?, gids.start()?);
            match (uids.finish()?, gids.finish()?) {
                (Some(uids), Some(gids)) => Granted::Range { uids, gids },
                // Missing or refused, and nothing written: the user's own id is always there.
                (None, None) => map_single(uid, gid)?,
                _ => return Err(Error::new(Stage::Namespace, 0, ONE_OF_TWO)),
            }
        }
    };
    become_root()?;
    if granted != Granted::Single {
        // The user's groups of the host mean nothing in here, and would still open files out there.
        nix::unistd::setgroups(&[]).at(Stage::Namespace, || "cannot leave the user's groups")?;
    }
    Ok(granted)
}

fn refused(errno: Errno) -> Error {
    let how = match errno {
        Errno::EPERM | Errno::EACCES => {
            "; allow it with `sysctl kernel.unprivileged_userns_clone=1` (or kernel.apparmor_restrict_unprivileged_userns=0)"
        }
        Errno::ENOSPC | Errno::EUSERS => "; raise `sysctl user.max_user_namespaces`",
        _ => "",
    };
    let mut error = Error::system(Stage::Namespace, errno, "cannot make a user namespace");
    error.message.push_str(how);
    error
}

fn map_single(uid: u32, gid: u32) -> Result<Granted, Error> {
    let write = |file: &str, text: String| {
        fs::write(file, text).at(Stage::Namespace, || format!("cannot write {file}"))
    };
    // Without this a user could leave a group that is denied access to a file (CVE-2014-8989).
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    Ok(Granted::Single)
}
