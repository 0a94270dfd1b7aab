//! `info`: what this kernel and this user can do. It looks and decides nothing; it makes nothing and keeps nothing.

use std::ffi::OsString;
use std::fs;

use kapsel_cgroups::{Layout, mounts};
use serde::Serialize;

use crate::error::Result;
use crate::{ExitCode, output, rootless};

/// The answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    version: &'static str,
    kernel: String,
    architecture: &'static str,
    cgroups: Cgroups,
    /// Whether the kernel has overlayfs (or may load it).
    overlay: bool,
    /// Whether the kernel filters system calls.
    seccomp: bool,
    /// Whether AppArmor confines programs.
    apparmor: bool,
    /// Whether SELinux is there.
    selinux: bool,
    user_namespaces: UserNamespaces,
    /// Absent for root.
    rootless: Option<Rootless>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroups {
    /// `v1`, `v2` or `hybrid`; absent where none is mounted.
    version: Option<&'static str>,
    controllers: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserNamespaces {
    supported: bool,
    /// The sysctl setting that would let ordinary users have them, where one forbids it.
    forbidden_by: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rootless {
    uid: u32,
    /// Ranges of /etc/subuid and /etc/subgid for this user.
    sub_uids: Vec<Range>,
    sub_gids: Vec<Range>,
    /// Whether newuidmap and newgidmap are installed, without which the ranges cannot be used.
    id_map_helpers: bool,
}

#[derive(Serialize, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
}

/// `kapsel-runtime info`.
pub fn run(_arguments: &[OsString]) -> Result<ExitCode> {
    // SAFETY: no arguments, cannot fail.
    let uid = unsafe { libc::geteuid() };
    output(&Info {
        version: env!("CARGO_PKG_VERSION"),
        kernel: line("/proc/sys/kernel/osrelease"),
        architecture: std::env::consts::ARCH,
        cgroups: cgroups(),
        overlay: fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("\toverlay\n"))
            || fs::exists(format!("/lib/modules/{}/kernel/fs/overlayfs", line("/proc/sys/kernel/osrelease")))
                .unwrap_or(false),
        seccomp: fs::exists("/proc/sys/kernel/seccomp/actions_avail").unwrap_or(false),
        apparmor: line("/sys/module/apparmor/parameters/enabled") == "Y",
        selinux: fs::exists("/sys/fs/selinux/enforce").unwrap_or(false),
        user_namespaces: UserNamespaces {
            supported: fs::exists("/proc/self/ns/user").unwrap_or(false),
            forbidden_by: rootless::forbidden(),
        },
        rootless: (uid != 0).then(|| Rootless {
            uid,
            sub_uids: ranges("/etc/subuid", uid),
            sub_gids: ranges("/etc/subgid", uid),
            id_map_helpers: is_program("newuidmap") && is_program("newgidmap"),
        }),
    })
}

fn line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn cgroups() -> Cgroups {
    let Ok((layout, mounts)) = mounts() else { return Cgroups { version: None, controllers: Vec::new() } };
    let mut controllers: Vec<String> = mounts.iter().flat_map(|mount| mount.controllers.clone()).collect();
    for mount in mounts.iter().filter(|mount| mount.unified) {
        let names = fs::read_to_string(mount.path.join("cgroup.controllers")).unwrap_or_default();
        controllers.extend(names.split_whitespace().map(str::to_owned));
    }
    controllers.sort();
    controllers.dedup();
    let version = match layout {
        Layout::Legacy => "v1",
        Layout::Hybrid => "hybrid",
        Layout::Unified => "v2",
    };
    Cgroups { version: Some(version), controllers }
}

/// The lines `NAME-OR-UID:FIRST:COUNT` of a user.
fn ranges(path: &str, uid: u32) -> Vec<Range> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    parse_ranges(&fs::read_to_string(path).unwrap_or_default(), name.as_deref(), uid)
}

fn parse_ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<Range> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let owner = fields.next()?;
            let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.trim().parse().ok()?);
            (Some(owner) == name || owner == number).then_some(Range { first, count })
        })
        .collect()
}

fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinate_ids_are_found_by_name_and_by_number() {
        let text = "root:100000:65536\nanna:200000:65536\n# no\nbroken:1\n1000:300000:10\n";
        let found = parse_ranges(text, Some("anna"), 1000);
        assert_eq!(found, [Range { first: 200_000, count: 65_536 }, Range { first: 300_000, count: 10 }]);
        assert_eq!(parse_ranges(text, None, 7), []);
    }
}
