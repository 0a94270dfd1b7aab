//! Where each controller lives on this machine, and what must be done before it can be used: v1's cpusets start empty,
//! and v2 hands a controller down only where every cgroup on the way says so.

use std::{io, path::Path};

use crate::{Error, Layout, LinuxResources, Mount, directory::Directory};

/// A controller's place.
pub(crate) enum Place<'a> {
    V1(&'a Directory),
    V2(&'a Directory),
}

/// Finds a controller; v1's and v2's names differ for one (blkio, io).
pub(crate) fn locate<'a>(directories: &'a [Directory], v1: &str, v2: &str) -> Option<Place<'a>> {
    let has = |directory: &&Directory| directory.mount.controllers.iter().any(|name| name == v1);
    if let Some(directory) = directories.iter().find(has) {
        return Some(Place::V1(directory));
    }
    let unified = directories.iter().find(|directory| directory.mount.unified)?;
    let offered = unified.read("cgroup.controllers").ok()?;
    offered.split_whitespace().any(|name| name == v2).then_some(Place::V2(unified))
}

/// What v2 is asked to hand down to every container, limited or not: so that all of it is accounted.
const ACCOUNTED: [&str; 7] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma"];

/// Makes the controllers of a new cgroup usable.
pub(crate) fn prepare(
    layout: Layout,
    mount: &Mount,
    parts: &[&str],
    leaf: &Directory,
    resources: &LinuxResources,
) -> Result<(), Error> {
    if mount.controllers.iter().any(|name| name == "cpuset") {
        fill_cpuset(mount, parts)?;
    }
    // A hybrid machine's v2 tree is its owner's: touched only for a limit that needs it.
    if layout == Layout::Unified {
        enable(mount, parts, leaf, &ACCOUNTED);
    } else if mount.unified && !resources.hugepage_limits.is_empty() {
        enable(mount, parts, leaf, &["hugetlb"]);
    }
    Ok(())
}

/// v2: hands these controllers down to the cgroup, level by level, as far as they can be had. One that cannot (cpu, while
/// real-time tasks run outside the root; any, where a user's delegation ends or a cgroup on the way has processes of
/// its own) keeps no other away, and is missed only where a limit asks for it.
fn enable(mount: &Mount, parts: &[&str], leaf: &Directory, wanted: &[&str]) {
    let read = |path: &Path, file: &str| std::fs::read_to_string(path.join(file)).unwrap_or_default();
    let offered = read(&mount.path, "cgroup.controllers");
    let offered: Vec<&str> = offered.split_whitespace().filter(|name| wanted.contains(name)).collect();
    let missing = |available: &str| -> Vec<&str> {
        let available: Vec<&str> = available.split_whitespace().collect();
        offered.iter().copied().filter(|name| !available.contains(name)).collect()
    };
    if missing(&leaf.read("cgroup.controllers").unwrap_or_default()).is_empty() {
        return;
    }
    let mut level = mount.path.clone();
    for part in parts {
        let file = level.join("cgroup.subtree_control");
        let lacking = missing(&read(&level, "cgroup.subtree_control"));
        let line = |names: &[&str]| names.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
        if !lacking.is_empty() && std::fs::write(&file, line(&lacking)).is_err() {
            for name in lacking {
                let _ = std::fs::write(&file, line(&[name]));
            }
        }
        level.push(part);
    }
}

/// v1: gives a new cpuset the CPUs and memory nodes of its parent, and the parent those of its own where it has none. A
/// parent that got them here hands them down by itself from then on: each write looks at all cgroups beside it.
fn fill_cpuset(mount: &Mount, parts: &[&str]) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mut level = mount.path.clone();
        level.push(file);
        let levels: Vec<_> = std::iter::once(level)
            .chain((1..=parts.len()).map(|depth| {
                parts[..depth].iter().fold(mount.path.clone(), |path, part| path.join(part)).join(file)
            }))
            .collect();
        // Upwards to the first level that has a value, and down again: an engine that made a parent a moment ago may
        // not have filled it yet.
        let failed = |path: &Path, error: io::Error| Error::io(format!("fill {}", path.display()), error);
        let mut value = String::new();
        let mut filled = levels.len();
        while filled > 0 && value.trim().is_empty() {
            filled -= 1;
            value =
                std::fs::read_to_string(&levels[filled]).map_err(|error| failed(&levels[filled], error))?;
        }
        for path in &levels[filled + 1..] {
            std::fs::write(path, value.trim()).map_err(|error| failed(path, error))?;
            if file == "cpuset.mems" && levels.last() != Some(path) {
                // A kernel without this file has nothing to lose.
                let _ = std::fs::write(path.with_file_name("cgroup.clone_children"), "1");
            }
        }
    }
    Ok(())
}
