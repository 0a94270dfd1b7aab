//! Which cgroup hierarchies this machine has, and where: read once a process from /proc/self/mountinfo.

use std::path::PathBuf;

use crate::Error;

/// How the machine mounts its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// v1 only.
    Legacy,
    /// v1, with a v2 tree beside it: limits are v1's.
    Hybrid,
    /// v2 only.
    Unified,
}

/// One hierarchy: enough to mount the same in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Name of the directory below /sys/fs/cgroup (`memory`, `cpu,cpuacct`, `unified`); empty for v2 alone, which is
    /// /sys/fs/cgroup itself.
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

/// The layout of this machine and its hierarchies, in the order in which they were mounted.
pub fn mounts() -> Result<(Layout, &'static [Mount]), Error> {
    Err(Error::NotMounted)
}
