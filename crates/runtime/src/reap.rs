//! `reap`: what a dead monitor left is killed and removed. Doing it twice, or where nothing is left, is no error.

use std::ffi::OsString;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;

use kapsel_cgroups::Cgroup;
use kapsel_network::nftables::filter::Filter;
use kapsel_storage::remove::remove_tree;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::{ExitCode, document, rootless};

/// fd 3.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reap {
    cgroups_path: Option<String>,
    unpublish: Option<Unpublish>,
    #[serde(default)]
    remove: Vec<PathBuf>,
}

/// Ports that lead nowhere any more.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unpublish {
    /// The engine's, where an ordinary user's [hub](crate::rootless::Hub) is found.
    run_root: PathBuf,
    /// The packet filter's.
    table: String,
    /// Id of the container.
    container: String,
}

/// `kapsel-runtime reap`. Everything is tried; the first thing that did not work is reported.
pub fn run(_arguments: &[OsString]) -> Result<ExitCode> {
    // SAFETY: no pointer is passed.
    if unsafe { libc::fcntl(3, libc::F_GETFD) } < 0 {
        return Err(Error::new(
            "USAGE",
            "fd 3, the document, is not open: `reap` is started by kapsel, not by hand",
        ));
    }
    // SAFETY: the descriptor is open, as tested above, and nobody else in this process has it.
    let json = document::read(unsafe { OwnedFd::from_raw_fd(3) })?;
    let reap: Reap = serde_json::from_slice(&json).map_err(|error| {
        Error::new("REAP_INVALID", format!("the document on fd 3 cannot be read: {error}"))
    })?;
    match &reap.unpublish {
        Some(Unpublish { run_root, .. }) => rootless::enter_hub(run_root)?,
        None => drop(rootless::enter()?),
    }
    if let Some(path) = reap.remove.iter().find(|path| !path.is_absolute()) {
        return Err(Error::new("REAP_INVALID", format!("{} is not an absolute path", path.display())));
    }
    let cgroup = reap.cgroups_path.as_deref().map_or(Ok(()), reap_cgroup);
    let trees = reap.remove.iter().map(|path| remove_tree(path).map_err(Error::from));
    let unpublished = reap.unpublish.map_or(Ok(()), unpublish);
    trees.fold(cgroup.and(unpublished), |first, result| first.and(result))?;
    Ok(ExitCode::SUCCESS)
}

fn unpublish(Unpublish { table, container, .. }: Unpublish) -> Result<()> {
    Filter::open(&table)?.unpublish(&container, None)?;
    Ok(())
}

fn reap_cgroup(path: &str) -> Result<()> {
    let cgroup = match Cgroup::open(path) {
        Ok(cgroup) => cgroup,
        Err(kapsel_cgroups::Error::NotFound { .. } | kapsel_cgroups::Error::NotMounted) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    cgroup.kill_all()?;
    // A frozen process dies when it is thawed; one that is not frozen does not mind.
    let _ = cgroup.thaw();
    Ok(cgroup.remove()?)
}
