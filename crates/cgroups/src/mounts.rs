//! Which cgroup hierarchies this machine has, and where: read once a process from /proc/self/mountinfo.

use std::{path::PathBuf, sync::OnceLock};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, TMPFS_MAGIC, statfs};

use crate::Error;

/// How the machine mounts its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// v1 only.
    Legacy,
    /// v1, with a v2 tree beside it: limits are v1's where v1 has the controller.
    Hybrid,
    /// v2 only.
    Unified,
}

/// One hierarchy: enough to mount the same in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Name of the directory below /sys/fs/cgroup (`memory`, `cpu,cpuacct`, `unified`); empty for v2 alone, which is
    /// /sys/fs/cgroup itself. Where it differs from a controller's name, systemd's machines have a symbolic link of
    /// that name to it.
    pub name: String,
    /// Whether the file system is `cgroup2` (otherwise `cgroup`).
    pub unified: bool,
    /// v1: the data of `mount(2)`, such as `cpu,cpuacct` or `name=systemd`; v2: empty.
    pub options: String,
    /// v1: the controllers of this hierarchy; empty for a named one and for v2.
    pub controllers: Vec<String>,
    /// Where the host has it.
    pub path: PathBuf,
}

const ROOT: &str = "/sys/fs/cgroup";

/// Every controller that v1 has ever had; what else a v1 mount's options say is no controller.
const CONTROLLERS: [&str; 15] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "debug",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// The layout of this machine and its hierarchies, in the order in which they were mounted.
pub fn mounts() -> Result<(Layout, &'static [Mount]), Error> {
    static MOUNTS: OnceLock<Option<(Layout, Vec<Mount>)>> = OnceLock::new();
    let found = MOUNTS.get_or_init(detect);
    found.as_ref().map(|(layout, mounts)| (*layout, mounts.as_slice())).ok_or(Error::NotMounted)
}

fn detect() -> Option<(Layout, Vec<Mount>)> {
    match statfs(ROOT).ok()?.filesystem_type() {
        CGROUP2_SUPER_MAGIC => Some((Layout::Unified, vec![unified("", PathBuf::from(ROOT))])),
        TMPFS_MAGIC => {
            let mounts = parse(&std::fs::read_to_string("/proc/self/mountinfo").ok()?);
            let layout =
                if mounts.iter().any(|mount| mount.unified) { Layout::Hybrid } else { Layout::Legacy };
            mounts.iter().any(|mount| !mount.controllers.is_empty()).then_some((layout, mounts))
        }
        _ => None,
    }
}

fn unified(name: &str, path: PathBuf) -> Mount {
    Mount { name: name.to_owned(), unified: true, options: String::new(), controllers: Vec::new(), path }
}

/// proc_pid_mountinfo(5): `ID PARENT MAJ:MIN ROOT POINT OPTIONS [OPTIONAL…] - TYPE SOURCE SUPER-OPTIONS`.
fn parse(mountinfo: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let mut after = after.split(' ');
        let (Some(kind), Some(options)) = (after.next(), after.nth(1)) else { continue };
        let Some(point) = before.split(' ').nth(4) else { continue };
        let Some(name) = point.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/')) else { continue };
        if name.is_empty() || name.contains(['/', '\\']) {
            continue;
        }
        let path = PathBuf::from(point);
        let mount = match kind {
            "cgroup2" => unified(name, path),
            "cgroup" => {
                let controllers: Vec<String> = options
                    .split(',')
                    .filter(|option| CONTROLLERS.contains(option))
                    .map(str::to_owned)
                    .collect();
                let named = options.split(',').find(|option| option.starts_with("name="));
                let options = named.map_or_else(|| controllers.join(","), str::to_owned);
                Mount { name: name.to_owned(), unified: false, options, controllers, path }
            }
            _ => continue,
        };
        // A later mount on the same directory hides the earlier one.
        mounts.retain(|earlier| earlier.path != mount.path);
        mounts.push(mount);
    }
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_machine_of_systemd_is_understood() {
        let mounts = parse(
            "24 1 0:21 / /sys/fs/cgroup ro,nosuid shared:5 - tmpfs tmpfs ro,mode=755\n\
             25 24 0:22 / /sys/fs/cgroup/unified rw shared:6 - cgroup2 cgroup2 rw,nsdelegate\n\
             26 24 0:23 / /sys/fs/cgroup/systemd rw shared:7 - cgroup cgroup rw,xattr,release_agent=/a,name=systemd\n\
             27 24 0:24 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             28 24 0:25 / /mnt/elsewhere rw - cgroup cgroup rw,memory\n",
        );
        let seen: Vec<_> = mounts
            .iter()
            .map(|m| (m.name.as_str(), m.unified, m.options.as_str(), m.controllers.join("+")))
            .collect();
        assert_eq!(
            seen,
            [
                ("unified", true, "", String::new()),
                ("systemd", false, "name=systemd", String::new()),
                ("cpu,cpuacct", false, "cpu,cpuacct", "cpu+cpuacct".to_owned()),
            ]
        );
    }

    #[test]
    fn a_later_mount_on_the_same_directory_wins() {
        let mounts = parse(
            "27 24 0:24 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
             28 24 0:25 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpuacct\n",
        );
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].options, "cpuacct");
    }
}
