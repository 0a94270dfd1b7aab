//! A container that exists: its record, and what the kernel says of it.

use std::os::fd::OwnedFd;

use kapsel_cgroups::Cgroup;
use kapsel_sandbox::spec::{State, Status, VERSION};
use kapsel_sandbox::{Gate, hooks};

use super::store::{Entry, Record, Store};
use crate::error::{Error, Result};

/// A container, locked against other commands.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub entry: Entry,
    /// What is known of it.
    pub record: Record,
}

impl Container {
    /// Opens one that exists, once nobody else is at work on it.
    pub fn open(store: &Store, id: &str) -> Result<Self> {
        let entry = store.open(id)?;
        match entry.read()? {
            Some(record) => Ok(Self { entry, record }),
            None => Err(half_made(id)),
        }
    }

    /// Where it is in its life.
    pub fn status(&self) -> Status {
        status(&self.record, &self.entry.directory)
    }

    /// A descriptor for its first process.
    pub fn process(&self) -> Result<OwnedFd> {
        self.record.process.and_then(|process| process.open()).ok_or_else(not_running)
    }

    /// Its cgroup; none where it never had one, or it is gone.
    pub fn cgroup(&self) -> Result<Option<Cgroup>> {
        cgroup(&self.record)
    }

    /// Its cgroup, for what cannot be done without.
    pub fn own_cgroup(&self, what: &str) -> Result<Cgroup> {
        self.cgroup()?.ok_or_else(|| {
            let id = &self.record.id;
            Error::new("CGROUP_MISSING", format!("cannot {what} container {id}: it has no cgroup of its own"))
        })
    }

    /// What hooks read.
    pub fn state(&self, status: Status) -> State {
        state(&self.record, status)
    }
}

/// The record and the status of a container that somebody else may be at work on.
pub fn look(store: &Store, id: &str) -> Result<(Record, Status)> {
    let Some(record) = store.look(id)? else { return Err(half_made(id)) };
    let status = match record.process {
        None if store.is_busy(id) => Status::Creating,
        _ => status(&record, &store.directory(id)?),
    };
    Ok((record, status))
}

/// What `state` prints and hooks read.
pub fn state(record: &Record, status: Status) -> State {
    let pid = record.process.filter(|_| status != Status::Stopped).map_or(0, |process| process.pid);
    State {
        oci_version: VERSION.to_owned(),
        id: record.id.clone(),
        status,
        pid,
        bundle: record.bundle.clone(),
        annotations: record.config.annotations.clone(),
    }
}

/// Runs the hooks of the moment after the start.
pub fn poststart(record: &Record) -> std::result::Result<(), kapsel_sandbox::Error> {
    let poststart = record.config.hooks.as_ref().map_or(&[][..], |hooks| &hooks.poststart);
    hooks::run("poststart", poststart, &state(record, Status::Running))
}

/// A status as callers read it.
pub fn word(status: Status) -> &'static str {
    match status {
        Status::Creating => "creating",
        Status::Created => "created",
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Stopped => "stopped",
    }
}

/// The words that containerd and podman look for.
pub fn not_running() -> Error {
    Error::new("CONTAINER_NOT_RUNNING", "container not running")
}

fn status(record: &Record, directory: &std::path::Path) -> Status {
    if !record.process.is_some_and(|process| process.is_alive()) {
        return Status::Stopped;
    }
    match cgroup(record) {
        Ok(Some(cgroup)) if cgroup.is_frozen().unwrap_or(false) => Status::Paused,
        _ if Gate::is_waiting(directory) => Status::Created,
        _ => Status::Running,
    }
}

fn cgroup(record: &Record) -> Result<Option<Cgroup>> {
    let Some(path) = record.cgroups_path.as_ref().filter(|_| !record.is_draft) else { return Ok(None) };
    match record.driver.open(path) {
        Ok(cgroup) => Ok(Some(cgroup)),
        Err(kapsel_cgroups::Error::NotFound { .. } | kapsel_cgroups::Error::NotMounted) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn half_made(id: &str) -> Error {
    let message = format!("container {id} was never finished; remove it with delete --force {id}");
    Error::new("CONTAINER_HALF_MADE", message)
}
