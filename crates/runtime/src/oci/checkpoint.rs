//! `checkpoint`: a container's processes become images, and it ends unless it is to go on.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use kapsel_sandbox::spec::Status;

use super::arguments::{Arguments, Flag, switch, usage, value};
use super::container::{Container, word};
use super::{Context, removal, stdio};
use crate::ExitCode;
use crate::criu::{CgroupMode, Dump, Terms};
use crate::error::{Error, Result};

/// The flags.
pub const FLAGS: &[Flag] = &[
    value("image-path"),
    value("work-path"),
    value("parent-path"),
    switch("leave-running"),
    switch("tcp-established"),
    switch("tcp-skip-in-flight"),
    switch("link-remap"),
    switch("ext-unix-sk"),
    switch("shell-job"),
    switch("lazy-pages"),
    value("status-fd"),
    value("page-server"),
    switch("file-locks"),
    switch("pre-dump"),
    value("manage-cgroups-mode"),
    value("empty-ns"),
    switch("auto-dedup"),
];

/// Returns when the images are whole; the container is gone then, unless it was left running.
pub fn checkpoint(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    need_root(context, "checkpoint")?;
    let container = Container::open(&context.store, arguments.id()?)?;
    let terms = terms(arguments)?;
    match container.status() {
        Status::Running | Status::Paused => {}
        status => {
            let message = format!("cannot checkpoint a container that is {}: start it first", word(status));
            return Err(Error::new("CONTAINER_NOT_RUNNING", message));
        }
    }
    let (pre_dump, leave_running) = (arguments.has("pre-dump"), arguments.has("leave-running"));
    let parent = arguments.text("parent-path")?.filter(|path| !path.is_empty());
    let cgroup = container.cgroup()?;
    let dump = Dump {
        terms: &terms,
        pid: container.record.process.map_or(0, |process| process.pid),
        config: &container.record.config,
        streams: &container.record.streams,
        cgroup: cgroup.as_ref(),
        bound: false,
        leave_running,
        pre_dump,
        parent,
        page_server: page_server(arguments)?,
        tcp_skip_in_flight: arguments.has("tcp-skip-in-flight"),
        link_remap: arguments.has("link-remap"),
        status: status(arguments)?,
    };
    dump.begin()?.finish()?;
    if !leave_running && !pre_dump {
        removal::remove(context, container)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// CRIU makes processes with ids of its choice, in namespaces that belong to the machine.
pub fn need_root(context: &Context, verb: &str) -> Result<()> {
    if context.rootless {
        return Err(Error::new("PERMISSION_DENIED", format!("{verb} needs root: CRIU cannot do without")));
    }
    Ok(())
}

/// What `checkpoint` and `restore` are both told.
pub fn terms(arguments: &Arguments) -> Result<Terms> {
    let path = |name: &str| -> Result<Option<PathBuf>> {
        let path = stdio::path(arguments, name).map(std::path::absolute).transpose();
        path.map_err(|error| usage(format!("--{name}: {error}")))
    };
    let images = path("image-path")?.map_or_else(|| std::path::absolute("checkpoint"), Ok);
    Ok(Terms {
        images: images.map_err(|error| usage(format!("--image-path: {error}")))?,
        work: path("work-path")?,
        tcp_established: arguments.has("tcp-established"),
        ext_unix_sk: arguments.has("ext-unix-sk"),
        shell_job: arguments.has("shell-job"),
        file_locks: arguments.has("file-locks"),
        empty_ns: match arguments.text("empty-ns")?.unwrap_or_default() {
            "" => 0,
            "network" => libc::CLONE_NEWNET as u32,
            other => return Err(usage(format!("--empty-ns {other}: only network can be left empty"))),
        },
        manage_cgroups: match arguments.text("manage-cgroups-mode")?.unwrap_or_default() {
            "" => None,
            "soft" => Some(CgroupMode::Soft),
            "full" => Some(CgroupMode::Full),
            "strict" => Some(CgroupMode::Strict),
            "ignore" => Some(CgroupMode::Ignore),
            other => {
                let message = format!("--manage-cgroups-mode {other}: it is soft, full, strict or ignore");
                return Err(usage(message));
            }
        },
        lazy_pages: arguments.has("lazy-pages"),
        auto_dedup: arguments.has("auto-dedup"),
    })
}

fn page_server(arguments: &Arguments) -> Result<Option<(String, u16)>> {
    let Some(text) = arguments.text("page-server")?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let parsed = text.rsplit_once(':').and_then(|(address, port)| Some((address, port.parse::<u16>().ok()?)));
    match parsed {
        Some((address, port)) if !address.is_empty() && port != 0 => Ok(Some((address.to_owned(), port))),
        _ => Err(usage(format!("--page-server {text}: it is ADDRESS:PORT"))),
    }
}

fn status(arguments: &Arguments) -> Result<Option<OwnedFd>> {
    let Some(fd) = arguments.number::<RawFd>("status-fd")?.filter(|fd| *fd >= 0) else { return Ok(None) };
    // SAFETY: fcntl only looks; a number that is no descriptor is an error.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if fd < 3 || flags < 0 || flags & libc::O_ACCMODE == libc::O_RDONLY {
        return Err(usage(format!("--status-fd {fd} is not open for writing")));
    }
    // SAFETY: no pointer is passed.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: the caller has handed it over, and nothing else in this process knows it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}
