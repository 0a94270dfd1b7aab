//! The id maps of user namespaces: written for a new one, read for one's own.

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
};

use nix::{sys::wait::waitpid, unistd::Pid};

use crate::{
    Error, channel,
    error::{At, Stage},
    namespaces::{Maps, Namespaces, in_first_user_namespace},
    spec::IdMapping,
    sys::process::{Cloned, clone},
};

/// Writes the maps of the user namespace that `pid`, a child of ours, was cloned into.
pub(crate) fn write_maps(pid: i32, maps: &Maps) -> Result<(), Error> {
    for (file, map) in [("uid_map", &maps.uids), ("gid_map", &maps.gids)] {
        let path = format!("/proc/{pid}/{file}");
        let text: String =
            map.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect();
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

/// Which group ids the container knows: a file system that is to belong to an unknown one cannot be mounted.
pub(crate) enum KnownIds {
    /// All.
    All,
    /// Those of these maps.
    Mapped(Vec<IdMapping>),
}

impl KnownIds {
    /// The group ids of a container in these namespaces.
    pub(crate) fn of_groups(namespaces: &Namespaces) -> Self {
        if let Some(maps) = &namespaces.maps {
            return Self::Mapped(maps.gids.clone());
        }
        if in_first_user_namespace() {
            return Self::All;
        }
        Self::Mapped(parse(&fs::read_to_string("/proc/self/gid_map").unwrap_or_default()))
    }

    /// Whether `id` is one of them.
    pub(crate) fn contain(&self, id: u32) -> bool {
        match self {
            Self::All => true,
            Self::Mapped(maps) => {
                maps.iter().any(|m| id.checked_sub(m.container_id).is_some_and(|n| n < m.size))
            }
        }
    }
}

fn parse(text: &str) -> Vec<IdMapping> {
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
            let mut next = || numbers.next()?;
            Some(IdMapping { container_id: next()?, host_id: next()?, size: next()? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_if_a_map_holds_it() {
        let ids = KnownIds::Mapped(parse("         0      65534          1\n         5      100       10\n"));
        assert!(ids.contain(0) && ids.contain(5) && ids.contain(14));
        assert!(!ids.contain(1) && !ids.contain(15));
    }
}
