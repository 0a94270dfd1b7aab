//! The id maps of user namespaces: written for a new one, read for one's own.

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
};

use nix::{sys::wait::waitpid, unistd::Pid};

use crate::{
    Error, channel,
    error::{At, Stage},
    spec::IdMapping,
    sys::process::{Cloned, clone},
};

/// The id mappings of a new user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Maps {
    /// User ids.
    pub uids: Vec<IdMapping>,
    /// Group ids.
    pub gids: Vec<IdMapping>,
}

/// As many ranges as a map may have, and bytes as one write of it (user_namespaces(7)).
const MOST_RANGES: usize = 340;
const MOST_BYTES: usize = 4095;

impl Maps {
    /// Mappings that the kernel takes. `whose`: for the error.
    pub(crate) fn new(whose: &str, uids: &[IdMapping], gids: &[IdMapping]) -> Result<Self, Error> {
        for (name, map) in [("uidMappings", uids), ("gidMappings", gids)] {
            check(map).map_err(|why| Error::config(format!("{whose}.{name}: {why}")))?;
        }
        Ok(Self { uids: uids.to_vec(), gids: gids.to_vec() })
    }
}

fn check(map: &[IdMapping]) -> Result<(), String> {
    if map.is_empty() {
        return Err("there is no mapping; at least one is needed".to_owned());
    }
    if map.len() > MOST_RANGES || text(map).len() > MOST_BYTES {
        return Err(format!("{} mappings are more than the kernel takes", map.len()));
    }
    let inside = |mapping: &IdMapping| mapping.container_id;
    let outside = |mapping: &IdMapping| mapping.host_id;
    for (which, first) in [("container", inside as fn(&IdMapping) -> u32), ("host", outside)] {
        let mut ranges = Vec::with_capacity(map.len());
        for mapping in map {
            // The last number of all means "no id".
            let end = first(mapping).checked_add(mapping.size);
            match end {
                Some(_) if mapping.size == 0 => return Err("a mapping has the size 0".to_owned()),
                Some(end) => ranges.push((first(mapping), end)),
                None => return Err(format!("a mapping goes beyond the last {which} id")),
            }
        }
        ranges.sort_unstable();
        if let Some(pair) = ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            return Err(format!("two mappings have the {which} id {}", pair[1].0));
        }
    }
    Ok(())
}

fn text(map: &[IdMapping]) -> String {
    map.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
}

/// Writes the maps of the user namespace that `pid`, a child of ours, was cloned into.
pub(crate) fn write_maps(pid: i32, maps: &Maps) -> Result<(), Error> {
    for (file, map) in [("uid_map", &maps.uids), ("gid_map", &maps.gids)] {
        let path = format!("/proc/{pid}/{file}");
        let text = text(map);
        fs::write(path, &text).at(Stage::Namespace, || {
            format!(
                "cannot map ids ({file}: {}); the host's ids must be the caller's to give",
                text.trim().replace('\n', ", ")
            )
        })?;
    }
    Ok(())
}

/// A user namespace that nobody is in, for mounts that show ids as it maps them.
pub(crate) fn holder(maps: &Maps) -> Result<OwnedFd, Error> {
    let (go, signal) = channel::pair()?;
    // SAFETY: `launch` asks for a single thread; the child only waits.
    match unsafe { clone(libc::CLONE_NEWUSER as u64, None, false) }
        .at(Stage::Namespace, || "cannot make a user namespace")?
    {
        Cloned::Child => {
            drop(go);
            let _ = signal.wait();
            // SAFETY: ends this process without running what belongs to the original.
            unsafe { libc::_exit(0) }
        }
        Cloned::Parent { pid, .. } => {
            let path = format!("/proc/{pid}/ns/user");
            let held = write_maps(pid, maps)
                .and_then(|()| File::open(&path).at(Stage::Namespace, || "cannot open a user namespace"));
            drop(go);
            drop(signal);
            waitpid(Pid::from_raw(pid), None).at(Stage::Namespace, || "cannot wait for a child")?;
            held.map(OwnedFd::from)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_what_the_kernel_takes() {
        let map = |numbers: &[[u32; 3]]| -> Vec<IdMapping> {
            let mapping = |[container_id, host_id, size]: &[u32; 3]| IdMapping {
                container_id: *container_id,
                host_id: *host_id,
                size: *size,
            };
            numbers.iter().map(mapping).collect()
        };
        let many: Vec<[u32; 3]> = (0..341).map(|at| [at, at, 1]).collect();
        let long: Vec<[u32; 3]> = (0..300).map(|at| [4_000_000_000 + at, at, 1]).collect();
        for good in [
            &[[0, 100_000, 65_536]][..],
            &[[0, 0, u32::MAX]],
            &[[1, 10, 9], [0, 5, 1], [10, 0, 5]],
            &many[..340],
        ] {
            assert_eq!(check(&map(good)), Ok(()), "{good:?}");
        }
        for (bad, words) in [
            (&[][..], "no mapping"),
            (&[[0, 0, 0]], "size 0"),
            (&[[0, 0, 10], [9, 100, 1]], "container id 9"),
            (&[[0, 5, 10], [20, 0, 6]], "host id 5"),
            (&[[1, 0, u32::MAX]], "last container id"),
            (&[[0, 1, u32::MAX]], "last host id"),
            (&many, "341 mappings"),
            (&long, "300 mappings"),
        ] {
            assert!(check(&map(bad)).unwrap_err().contains(words), "{words}");
        }
    }
}
