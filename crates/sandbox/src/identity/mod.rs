//! Who the program is: a user by name or number, in the container's own /etc/passwd and /etc/group.
//!
//! Both files come from an image, which may be hostile: they are read like any stranger's letter, and an id that is no
//! number is an error, never 0 (crun CVE-2026-30892; Docker's rules otherwise).

mod accounts;

use std::{fs::File, io::Read, os::fd::OwnedFd, path::Path};

use nix::{
    errno::Errno,
    sys::stat::{SFlag, fstat},
};

use crate::{
    Error,
    capabilities::Sets,
    error::{At, Stage},
    namespaces::in_first_user_namespace,
    resolve::{Root, is_kind},
    sys::process::prctl,
};
use accounts::{Account, account_of_name, account_of_uid, gid_of_name, groups_of};

/// The ids a program gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Whether somebody asked for the supplementary groups by name or number; those of /etc/group nobody did.
    pub groups_asked: bool,
    /// The home directory.
    pub home: String,
}

/// The largest of /etc/passwd that is read; more is no list of users.
const MOST: u64 = 4 << 20;

impl Identity {
    /// Finds `name|uid[:group|gid]`, with the groups of `group_add` (names or numbers) and `gids`.
    pub(crate) fn find(root: &Root, user: &str, group_add: &[String], gids: &[u32]) -> Result<Self, Error> {
        let passwd = read(root, "/etc/passwd")?;
        let group = read(root, "/etc/group")?;
        resolve(user, group_add, gids, &passwd, &group)
    }
}

impl Identity {
    /// Becomes this user, with these capabilities. Needs CAP_SETPCAP, CAP_SETGID and CAP_SETUID, in this order, and
    /// leaves none that was not asked for.
    pub(crate) fn assume(&self, capabilities: &Sets) -> Result<(), Error> {
        let capabilities = capabilities.within_own()?;
        capabilities.limit_bounding()?;
        // Otherwise a user who is not root would have lost the permitted set before its own could be chosen from it.
        prctl(libc::PR_SET_KEEPCAPS, 1, 0).at(Stage::Identity, || "cannot keep the capabilities")?;
        self.leave_groups()?;
        let (uid, gid) = (self.uid, self.gid);
        // SAFETY: integers only, in a process with one thread.
        Errno::result(unsafe { libc::setresgid(gid, gid, gid) })
            .at(Stage::Identity, || unmapped("group", gid))?;
        // SAFETY: as above.
        Errno::result(unsafe { libc::setresuid(uid, uid, uid) })
            .at(Stage::Identity, || unmapped("user", uid))?;
        prctl(libc::PR_SET_KEEPCAPS, 0, 0).at(Stage::Identity, || "cannot let go of the capabilities")?;
        capabilities.apply()
    }

    fn leave_groups(&self) -> Result<(), Error> {
        // SAFETY: the pointer and the count are those of a list that outlives the call. The raw call changes this process's
        // one thread; glibc's would signal the threads that it believes to live, under a filter that may forbid it.
        let result = unsafe { libc::syscall(libc::SYS_setgroups, self.groups.len(), self.groups.as_ptr()) };
        match Errno::result(result).map(drop) {
            // A user namespace with a single id: nobody asked for these groups, and they mean nothing there.
            Err(Errno::EPERM | Errno::EINVAL) if !self.groups_asked && !in_first_user_namespace() => Ok(()),
            other => other.at(Stage::Identity, || {
                "cannot set the supplementary groups; without subordinate ids (/etc/subgid) there are none"
            }),
        }
    }
}

fn unmapped(what: &str, id: u32) -> String {
    format!(
        "cannot become {what} {id} (is it mapped in the user namespace? subordinate ids are in /etc/subuid and /etc/subgid)"
    )
}

fn resolve(
    user: &str,
    group_add: &[String],
    gids: &[u32],
    passwd: &str,
    group: &str,
) -> Result<Identity, Error> {
    let (user, primary) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let (uid, account) = match parse_id(user)? {
        _ if user.is_empty() => (0, account_of_uid(passwd, 0)?),
        Some(uid) => (uid, account_of_uid(passwd, uid)?),
        None => {
            let account = account_of_name(passwd, user)?.ok_or_else(|| {
                missing(format!(
                    "unable to find user {user}: no matching entries in the container's /etc/passwd"
                ))
            })?;
            (account.uid, Some(account))
        }
    };
    let gid = match primary.filter(|group| !group.is_empty()) {
        Some(name) => group_id(group, name)?,
        None => account.as_ref().map_or(0, |account| account.gid),
    };
    let mut groups = match (&account, primary) {
        // A group that was chosen stands alone.
        (Some(Account { name, .. }), None) => groups_of(group, name)?,
        _ => Vec::new(),
    };
    for gid in gids {
        groups.push(in_range(*gid)?);
    }
    for name in group_add {
        groups.push(group_id(group, name)?);
    }
    let mut seen = std::collections::BTreeSet::new();
    groups.retain(|gid| seen.insert(*gid));
    let groups_asked = !group_add.is_empty() || !gids.is_empty();
    let home = account.map(|account| account.home.to_owned()).filter(|home| !home.is_empty());
    Ok(Identity { uid, gid, groups, groups_asked, home: home.unwrap_or_else(|| "/".into()) })
}

fn group_id(group: &str, name: &str) -> Result<u32, Error> {
    if let Some(gid) = parse_id(name)? {
        return Ok(gid);
    }
    gid_of_name(group, name)?.ok_or_else(|| {
        missing(format!("unable to find group {name}: no matching entries in the container's /etc/group"))
    })
}

/// Docker's range: the upper half is used for "no id" in too many places.
fn in_range(id: u32) -> Result<u32, Error> {
    if id <= i32::MAX as u32 { Ok(id) } else { Err(out_of_range(id)) }
}

fn out_of_range(id: impl std::fmt::Display) -> Error {
    missing(format!("uids and gids must be in range 0-{}: {id}", i32::MAX))
}

/// A number as an id; none for a name.
fn parse_id(word: &str) -> Result<Option<u32>, Error> {
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    word.parse().map_err(|_| out_of_range(word)).and_then(in_range).map(Some)
}

fn missing(message: String) -> Error {
    Error::new(Stage::Identity, libc::EINVAL, message)
}

/// The text of a file of the container; empty where there is none.
fn read(root: &Root, path: &str) -> Result<String, Error> {
    let what = || format!("cannot read the container's {path}");
    // O_NONBLOCK: a FIFO in its place must not stop us.
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file: OwnedFd = match root.open(Path::new(path), flags) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(String::new()),
        other => other.at(Stage::Identity, what)?,
    };
    let stat = fstat(&file).at(Stage::Identity, what)?;
    if !is_kind(&stat, SFlag::S_IFREG) || stat.st_size as u64 > MOST {
        return Err(missing(format!(
            "the container's {path} is not an ordinary file of less than {} MiB",
            MOST >> 20
        )));
    }
    let mut bytes = Vec::with_capacity(stat.st_size as usize + 1);
    File::from(file).take(MOST).read_to_end(&mut bytes).at(Stage::Identity, what)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:100:Ann:/home/ann:/bin/sh\nbad:x:-1:0::/:/bin/sh\n\
                          worse:x:4294967296:0::/:\nempty:x::0::/:\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\nvideo:x:44:ann,bob\naudio:x:29:ann\nodd:x:12x:ann2\n";

    fn id(user: &str) -> Result<Identity, Error> {
        resolve(user, &[], &[], PASSWD, GROUP)
    }

    #[test]
    fn a_name_brings_its_groups_and_home() {
        let ann = id("ann").unwrap();
        assert_eq!((ann.uid, ann.gid, ann.groups.as_slice()), (1000, 100, &[44, 29][..]));
        assert_eq!(ann.home, "/home/ann");
    }

    #[test]
    fn a_number_that_is_a_user_is_that_user() {
        assert_eq!(id("1000").unwrap(), id("ann").unwrap());
    }

    #[test]
    fn a_number_that_is_nobody_has_group_0_and_home_root() {
        let nobody = id("4711").unwrap();
        assert_eq!((nobody.uid, nobody.gid, nobody.home.as_str()), (4711, 0, "/"));
    }

    #[test]
    fn nothing_means_root() {
        let root = id("").unwrap();
        assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/root"));
    }

    #[test]
    fn a_chosen_group_stands_alone() {
        let ann = id("ann:video").unwrap();
        assert_eq!((ann.gid, ann.groups.len()), (44, 0));
        assert_eq!(id("7:8").unwrap().gid, 8);
    }

    #[test]
    fn malformed_and_overflowing_ids_are_errors_and_never_root() {
        for user in [
            "bad",
            "worse",
            "empty",
            "-1",
            "+0",
            "0x0",
            "4294967295",
            "4294967296",
            "2147483648",
            "1:2:3",
            "ann:-1",
            "ann:odd",
            " 0",
            "ann2",
            "99999999999999999999",
            ":nobody",
            "1000:",
        ] {
            let result = id(user);
            let fine = user == "1000:" && result.as_ref().is_ok_and(|i| i.gid == 100);
            assert!(fine || result.is_err(), "{user:?} gave {result:?}");
        }
    }

    #[test]
    fn groups_are_added_by_name_and_number_once() {
        let groups = resolve("1000", &["44".into(), "users".into()], &[7], PASSWD, GROUP).unwrap().groups;
        assert_eq!(groups, [44, 29, 7, 100]);
        assert!(resolve("0", &["nosuch".into()], &[], PASSWD, GROUP).is_err());
    }
}
