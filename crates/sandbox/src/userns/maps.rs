//! The id maps of user namespaces: written for a new one, read for one's own.

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
};

use nix::{sys::wait::waitpid, unistd::Pid};

use crate::{
    Error, channel,
    error::{At, Stage},
    namespaces::Maps,
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
