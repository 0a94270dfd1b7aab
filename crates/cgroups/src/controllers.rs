//! Where each controller lives on this machine, and what must be done before it can be used: v1's cpusets start empty,
//! and v2 hands a controller down only where every cgroup on the way says so.

use std::io;

use crate::{Error, Mount, directory::Directory};

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

/// v2: hands these controllers down to the cgroup, level by level. What the root has not is left to the caller, who
/// knows whether a limit was asked for.
pub(crate) fn enable(mount: &Mount, parts: &[&str], leaf: &Directory, wanted: &[&str]) -> Result<(), Error> {
    let read = |path: &std::path::Path, file: &str| {
        let path = path.join(file);
        std::fs::read_to_string(&path).map_err(|error| Error::io(format!("read {}", path.display()), error))
    };
    let offered = read(&mount.path, "cgroup.controllers")?;
    let offered: Vec<&str> = offered.split_whitespace().filter(|name| wanted.contains(name)).collect();
    let missing = |available: &str| -> Vec<&str> {
        let available: Vec<&str> = available.split_whitespace().collect();
        offered.iter().copied().filter(|name| !available.contains(name)).collect()
    };
    let here =
        leaf.read("cgroup.controllers").map_err(|error| leaf.error("read", "cgroup.controllers", error))?;
    if missing(&here).is_empty() {
        return Ok(());
    }
    let mut level = mount.path.clone();
    for part in parts {
        let file = level.join("cgroup.subtree_control");
        let lacking = missing(&read(&level, "cgroup.subtree_control")?);
        let line = |names: &[&str]| names.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
        if !lacking.is_empty() && std::fs::write(&file, line(&lacking)).is_err() {
            // One that cannot be had (cpu, while real-time tasks run outside the root; threaded cgroups) must not
            // keep the others away.
            for name in lacking {
                match std::fs::write(&file, line(&[name])) {
                    Err(error)
                        if !matches!(
                            error.raw_os_error(),
                            Some(libc::EINVAL | libc::ENOENT | libc::EOPNOTSUPP)
                        ) =>
                    {
                        return Err(Error::io(format!("enable {name} in {}", file.display()), error));
                    }
                    _ => {}
                }
            }
        }
        level.push(part);
    }
    Ok(())
}

/// v1: gives a new cpuset the CPUs and memory nodes of its parent, and the parent those of its own where it has none.
pub(crate) fn fill_cpuset(mount: &Mount, parts: &[&str]) -> Result<(), Error> {
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
        let failed =
            |path: &std::path::Path, error: io::Error| Error::io(format!("fill {}", path.display()), error);
        let mut value = String::new();
        let mut filled = levels.len();
        while filled > 0 && value.trim().is_empty() {
            filled -= 1;
            value =
                std::fs::read_to_string(&levels[filled]).map_err(|error| failed(&levels[filled], error))?;
        }
        for path in &levels[filled + 1..] {
            std::fs::write(path, value.trim()).map_err(|error| failed(path, error))?;
        }
    }
    Ok(())
}
