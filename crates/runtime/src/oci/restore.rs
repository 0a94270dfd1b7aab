//! `restore`: images become a container's processes, as they were when it was checkpointed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use kapsel_sandbox::spec::Status;
use kapsel_sandbox::{Rootfs, hooks, seal};

use super::arguments::{Arguments, Flag, switch, usage, value};
use super::bundle::Bundle;
use super::checkpoint::{need_root, terms};
use super::container::{Container, not_running, poststart, state};
use super::foreground::Foreground;
use super::identity::Identity;
use super::store::{Entry, Record};
use super::{Context, cgroup, console, pid_file, removal, stdio};
use crate::ExitCode;
use crate::clock::Timestamp;
use crate::criu::{Event, Restore};
use crate::error::{Error, Result};

/// The flags.
pub const FLAGS: &[Flag] = &[
    value("bundle").short('b'),
    value("console-socket"),
    value("pid-file"),
    value("image-path"),
    value("work-path"),
    switch("tcp-established"),
    switch("ext-unix-sk"),
    switch("shell-job"),
    switch("file-locks"),
    value("manage-cgroups-mode"),
    value("empty-ns"),
    switch("auto-dedup"),
    switch("lazy-pages"),
    value("lsm-profile"),
    value("lsm-mount-context"),
    switch("detach").short('d'),
    switch("no-pivot"),
    switch("no-subreaper"),
];

/// In the foreground: gives the first process's own exit status, and removes the container.
pub fn restore(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    seal()?;
    need_root(context, "restore")?;
    let id = arguments.id()?;
    let foreground = (!arguments.has("detach")).then(Foreground::prepare).transpose()?;
    let directory = stdio::path(arguments, "bundle").map_or_else(|| Path::new("."), Path::new);
    let Bundle { directory, document, config, root } = Bundle::load(directory)?;
    let terminal = config.process.as_ref().is_some_and(|process| process.terminal);
    if terminal && foreground.is_none() && stdio::path(arguments, "console-socket").is_none() {
        return Err(usage("the process has a terminal: --console-socket must say who gets it"));
    }
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
        document,
        config,
        has_process: true,
        is_draft: true,
    };
    let mut restoring = Restoring { context, arguments, entry, record, console: None };
    let result = restoring.all();
    let Restoring { entry, record, console, .. } = restoring;
    let container = Container { entry, record };
    if let Err(error) = result {
        // The first error is the one to tell.
        if let Err(second) = removal::remove(context, container) {
            context.log.warning(&second.message);
        }
        return Err(error);
    }
    let Some(foreground) = foreground else { return Ok(ExitCode::SUCCESS) };
    let process = container.record.process.and_then(Identity::open).ok_or_else(not_running)?;
    container.entry.unlock();
    let status = foreground.attend(&process, console)?;
    removal::remove_ended(context, id)?;
    Ok(status.into())
}

struct Restoring<'a> {
    context: &'a Context,
    arguments: &'a Arguments,
    entry: Entry,
    record: Record,
    console: Option<OwnedFd>,
}

impl Restoring<'_> {
    fn all(&mut self) -> Result<()> {
        // First of all: whoever finds it later must know where the rest may be.
        self.entry.begin(&self.record)?;
        let path = self.record.cgroups_path.as_deref().unwrap_or_default();
        let cgroup = cgroup::make(self.context, &self.record.config, path);
        if !matches!(cgroup, Ok(Some(_))) {
            // There is none, or it is another's: nothing of it is to be removed with us.
            self.record.cgroups_path = None;
        }
        let cgroup = cgroup?;
        self.entry.establish()?;
        self.record.is_draft = false;
        let (config, rootfs) = (self.record.config.clone(), Rootfs::Directory(self.record.rootfs.clone()));
        let (terms, directory) = (terms(self.arguments)?, self.entry.directory.clone());
        let text = |name: &str| -> Result<Option<String>> {
            Ok(self.arguments.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
        };
        let restore = Restore {
            terms: &terms,
            config: &config,
            rootfs: &rootfs,
            directory: &directory,
            cgroup: cgroup.as_ref(),
            stdio: Some(own_streams()?),
            lsm_profile: text("lsm-profile")?,
            lsm_mount_context: text("lsm-mount-context")?,
        };
        restore.run(&mut |event| self.on_event(event))?;
        Ok(poststart(&self.record)?)
    }

    fn on_event(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Namespaces(pid) => {
                let mut state = state(&self.record, Status::Creating);
                state.pid = pid;
                if let Some(hooks) = &self.record.config.hooks {
                    hooks::run("prestart", &hooks.prestart, &state)?;
                    hooks::run("createRuntime", &hooks.create_runtime, &state)?;
                }
            }
            Event::Terminal(master) => match stdio::path(self.arguments, "console-socket") {
                Some(socket) => console::send(Path::new(socket), &master)?,
                None => self.console = Some(master),
            },
            Event::Restored(pid) => {
                self.record.process = Some(Identity::of(pid)?);
                self.entry.write(&self.record)?;
                if let Some(path) = stdio::path(self.arguments, "pid-file") {
                    pid_file::write(Path::new(path), pid)?;
                }
            }
        }
        Ok(())
    }
}

fn own_streams() -> Result<[OwnedFd; 3]> {
    let own = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let copies = [own.0.as_fd(), own.1.as_fd(), own.2.as_fd()].map(|fd| fd.try_clone_to_owned());
    let [stdin, stdout, stderr] = copies;
    let failed = |error| Error::io("cannot share our own streams", &error);
    Ok([stdin.map_err(failed)?, stdout.map_err(failed)?, stderr.map_err(failed)?])
}
