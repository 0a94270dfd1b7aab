//! From a bundle to a container whose first process exists: what `create` and `run` have in common.
//!
//! Whoever is killed on the way leaves a directory whose record names the cgroup: `delete --force` finds everything. Until
//! the cgroup is there the record is a draft, and one of that name may be another's.

use std::path::{Path, PathBuf};

use kapsel_cgroups::Cgroup;
use kapsel_sandbox::spec::{Config, Process, Status};
use kapsel_sandbox::{Gate, Launched, Listener, Manner, Plan, Rootfs, capabilities, launch, seal};

use super::arguments::{Arguments, Flag, switch, value};
use super::bundle::Bundle;
use super::container::{self, Container};
use super::identity::Identity;
use super::store::{Entry, Record};
use super::{Context, cgroup, console, pid_file, removal, seccomp, stdio};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::rootless;

/// Flags of both verbs.
pub const FLAGS: &[Flag] = &[
    value("bundle").short('b'),
    value("console-socket"),
    value("pid-file"),
    value("pidfd-socket"),
    switch("no-pivot"),
    switch("no-new-keyring"),
    value("preserve-fds"),
];

/// How it is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Whether the program waits for `start`.
    pub gate: bool,
    /// Whether nobody of us stays with it.
    pub detached: bool,
}

/// A container whose first process exists.
pub struct Made {
    /// The container, still locked.
    pub container: Container,
    /// Its first process.
    pub launched: Launched,
}

/// Makes it. Of one that fails nothing is left.
pub fn make(context: &Context, arguments: &Arguments, mode: Mode) -> Result<Made> {
    // A program of the container's may be `/proc/self/exe`, which is us (CVE-2019-5736).
    seal()?;
    context.trace.mark("oci: sealed");
    let id = arguments.id()?;
    let directory = stdio::path(arguments, "bundle").map_or_else(|| Path::new("."), Path::new);
    let Bundle { directory, document, mut config, root } = Bundle::load(directory)?;
    if context.own_namespace {
        rootless::translate(&mut config)?;
    }
    let has_process = config.process.is_some();
    if !has_process && !mode.gate {
        return Err(Error::new("CONFIG_INVALID", "config.json has no process: there is nothing to run"));
    }
    let process = config.process.get_or_insert_with(placeholder);
    let preserve_fds = stdio::inherited(arguments, process)?;
    warn_of_capabilities(context, process)?;
    let entry = context.store.create(id)?;
    let record = Record {
        id: id.to_owned(),
        process: None,
        bundle: directory,
        rootfs: root,
        created: Timestamp::now().to_string(),
        streams: stdio::names(&config),
        driver: context.driver,
        cgroups_path: Some(cgroup::path(context.driver, &config, id)),
        has_process,
        document,
        config,
        is_draft: true,
    };
    let mut making = Making { context, arguments, mode, preserve_fds, entry, record, launched: None };
    match making.all() {
        Ok(launched) => {
            Ok(Made { container: Container { entry: making.entry, record: making.record }, launched })
        }
        Err(error) => {
            if let Some(launched) = making.launched.take() {
                launched.end();
            }
            let container = Container { entry: making.entry, record: making.record };
            // The first error is the one to tell.
            if let Err(second) = removal::remove(context, container) {
                context.log.warning(&second.message);
            }
            Err(error)
        }
    }
}

/// The process of a container that has none: such a one can be created, and never started (config.md, "Process").
pub fn placeholder() -> Process {
    Process { args: vec!["/".to_owned()], cwd: PathBuf::from("/"), ..Process::default() }
}

/// What cannot be granted is told, and is no error (config.md, "Linux Process").
pub fn warn_of_capabilities(context: &Context, process: &mut Process) -> Result<()> {
    let Some(capabilities) = &mut process.capabilities else { return Ok(()) };
    for name in capabilities::relax(capabilities)? {
        context.log.warning(&format!("capability {name} cannot be granted here and is left out"));
    }
    Ok(())
}

/// Gives the caller what it asked for: the terminal, the process's descriptor, its id.
pub fn tell(arguments: &Arguments, launched: &Launched) -> Result<()> {
    if let (Some(path), Some(master)) = (stdio::path(arguments, "console-socket"), &launched.console) {
        console::send(Path::new(path), master)?;
    }
    if let Some(path) = stdio::path(arguments, "pidfd-socket") {
        console::send(Path::new(path), &launched.pidfd)?;
    }
    if let Some(path) = stdio::path(arguments, "pid-file") {
        pid_file::write(Path::new(path), launched.pid)?;
    }
    Ok(())
}

struct Making<'a> {
    context: &'a Context,
    arguments: &'a Arguments,
    mode: Mode,
    preserve_fds: u32,
    entry: Entry,
    record: Record,
    launched: Option<Launched>,
}

impl Making<'_> {
    fn all(&mut self) -> Result<Launched> {
        // First of all: whoever finds it later must know where the rest may be.
        self.entry.begin(&self.record)?;
        self.context.trace.mark("oci: bundle read, container recorded");
        let cgroup =
            cgroup::make(self.context, &self.record.config, self.cgroups_path()).inspect_err(|_| {
                // It may be another container's: nothing of ours is in it, so nothing of it is removed.
                self.record.cgroups_path = None;
            })?;
        self.context.trace.mark("oci: cgroup made");
        if cgroup.is_none() {
            self.record.cgroups_path = None;
        }
        if cgroup.as_ref().is_none_or(Cgroup::exists) {
            self.entry.establish()?;
            self.record.is_draft = false;
        }
        // Without a cgroup of its own so far only the record knows the process: it must not become the program before
        // that is written.
        let gated = self.mode.gate || cgroup.is_none() || self.record.is_draft;
        let launched = self.launch(cgroup.as_ref(), gated)?;
        let identity = Identity::of(launched.pid);
        let launched = self.launched.insert(launched);
        self.record.process = Some(identity?);
        self.entry.write(&self.record)?;
        self.record.is_draft = false;
        self.context.trace.mark("oci: process recorded");
        tell(self.arguments, launched)?;
        if !self.mode.gate {
            match gated {
                false => launched.wait_exec()?,
                true => Gate::open(&self.entry.directory)?,
            }
            self.context.trace.mark("oci: program executed");
            container::poststart(&self.record)?;
        }
        self.launched.take().ok_or_else(|| Error::new("CONTAINER_NOT_RUNNING", "the process has vanished"))
    }

    fn cgroups_path(&self) -> &str {
        self.record.cgroups_path.as_deref().unwrap_or_default()
    }

    fn launch(&self, cgroup: Option<&Cgroup>, gated: bool) -> Result<Launched> {
        let config: &Config = &self.record.config;
        let Some(process) = &config.process else {
            return Err(Error::new("CONFIG_INVALID", "config.json has no process"));
        };
        let own = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let stdio = stdio::of(process, self.arguments, self.mode.detached, &own)?;
        let filter = seccomp::program(&self.context.store, config, process)?;
        let profile = config.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
        let listener = profile
            .and_then(|profile| Listener::of(profile, container::state(&self.record, Status::Creating)));
        let entry = cgroup.map(Cgroup::entry).transpose()?;
        let gate = gated.then(|| Gate::make(&self.entry.directory)).transpose()?;
        let rootfs = Rootfs::Directory(PathBuf::clone(&self.record.rootfs));
        let who =
            kapsel_sandbox::Container { id: self.record.id.clone(), bundle: self.record.bundle.clone() };
        let user = format!("{}:{}", process.user.uid, process.user.gid);
        Ok(launch(&Plan {
            config,
            rootfs: &rootfs,
            user: &user,
            group_add: &[],
            copy_up: &[],
            init: false,
            seccomp: filter.as_ref(),
            listener: listener.as_ref(),
            cgroup: entry.as_ref(),
            stdio,
            gate: gate.as_ref(),
            held: false,
            container: Some(&who),
            manner: Manner {
                detached: true,
                preserve_fds: self.preserve_fds,
                keep_keyring: self.arguments.has("no-new-keyring"),
            },
            no_pivot: self.arguments.has("no-pivot"),
        })?)
    }
}
