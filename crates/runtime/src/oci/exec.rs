//! `exec`: a further program in a running container.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use kapsel_cgroups::Entry;
use kapsel_sandbox::spec::{Capabilities, Process, Status, User};
use kapsel_sandbox::{Join, Listener, Manner, join, seal};

use super::arguments::{Arguments, Flag, switch, usage, value, values};
use super::container::{Container, not_running};
use super::foreground::Foreground;
use super::{Context, bundle, make, seccomp, stdio};
use crate::ExitCode;
use crate::error::{Error, Result};

/// The flags.
pub const FLAGS: &[Flag] = &[
    value("process").short('p'),
    value("console-socket"),
    value("pid-file"),
    value("pidfd-socket"),
    switch("detach").short('d'),
    value("preserve-fds"),
    switch("ignore-paused"),
    values("cgroup"),
    switch("no-subreaper"),
    // Instead of --process, for people.
    value("cwd"),
    values("env").short('e'),
    switch("tty").short('t'),
    value("user").short('u'),
    values("additional-gids").short('g'),
    values("cap").short('c'),
    value("apparmor"),
    value("process-label"),
    switch("no-new-privs"),
];

/// In the foreground: gives the program's own exit status.
pub fn exec(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    // A program of the container's may be `/proc/self/exe`, which is us (CVE-2019-5736).
    seal()?;
    let (id, words) = arguments.id_and_words()?;
    let container = Container::open(&context.store, id)?;
    match container.status() {
        Status::Running | Status::Created => {}
        Status::Paused if arguments.has("ignore-paused") => {}
        Status::Paused => {
            return Err(Error::new(
                "CONTAINER_PAUSED",
                "cannot exec in a paused container (use --ignore-paused)",
            ));
        }
        Status::Stopped | Status::Creating => {
            return Err(Error::new("CONTAINER_NOT_RUNNING", "cannot exec a container that has stopped"));
        }
    }
    let mut process = process(&container, arguments, words)?;
    make::warn_of_capabilities(context, &mut process)?;
    let preserve_fds = stdio::inherited(arguments, &mut process)?;
    let detached = arguments.has("detach");
    let foreground = (!detached).then(Foreground::prepare).transpose()?;
    let own = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let filter = seccomp::program(&context.store, &container.record.config, &process)?;
    let profile = container.record.config.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
    let listener = profile.and_then(|profile| Listener::of(profile, container.state(Status::Running)));
    let target = container.process().map_err(|_| not_running())?;
    let entry = entry(&container, arguments)?;
    let user = format!("{}:{}", process.user.uid, process.user.gid);
    // Other commands need not wait for this one: where the container is paused, it goes on only after they resume it.
    container.entry.unlock();
    let mut launched = join(&Join {
        target: target.as_fd(),
        process: &process,
        linux: container.record.config.linux.as_ref(),
        user: &user,
        group_add: &[],
        seccomp: filter.as_ref(),
        listener: listener.as_ref(),
        cgroup: entry.as_ref(),
        stdio: stdio::of(&process, arguments, detached, &own)?,
        manner: Manner { detached: true, preserve_fds, keep_keyring: false },
    })?;
    let told = launched.wait_exec().map_err(Error::from).and_then(|()| make::tell(arguments, &launched));
    if let Err(error) = told {
        launched.end();
        return Err(error);
    }
    match foreground {
        Some(foreground) => Ok(foreground.attend(&launched.pidfd, launched.console.take())?.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// The container's cgroup, or one below it (`--cgroup PATH`).
fn entry(container: &Container, arguments: &Arguments) -> Result<Option<Entry>> {
    let Some(cgroup) = container.cgroup()? else { return Ok(None) };
    let places = arguments.texts("cgroup")?;
    Ok(Some(match container.record.process.filter(|_| places.is_empty()) {
        Some(process) => cgroup.entry_beside(process.pid)?,
        None => cgroup.nested_entry(&places)?,
    }))
}

/// The document of `--process`, or the container's own process with what the flags change.
fn process(container: &Container, arguments: &Arguments, words: &[OsString]) -> Result<Process> {
    if let Some(path) = stdio::path(arguments, "process") {
        if !words.is_empty() {
            return Err(usage("--process names the program already"));
        }
        return bundle::read(Path::new(path));
    }
    let args: Option<Vec<String>> = words.iter().map(|word| word.to_str().map(str::to_owned)).collect();
    let args = args.ok_or_else(|| usage("the program's arguments are not UTF-8"))?;
    if args.is_empty() {
        return Err(usage("what should be executed? give a program, or --process FILE"));
    }
    let mut process = container.record.config.process.clone().unwrap_or_else(make::placeholder);
    process.args = args;
    // The terminal is the first program's business, and so is its size.
    process.terminal = arguments.has("tty");
    process.console_size = None;
    if let Some(directory) = arguments.text("cwd")? {
        process.cwd = PathBuf::from(directory);
    }
    process.env.extend(arguments.texts("env")?);
    if let Some(user) = arguments.text("user")? {
        process.user = numeric_user(user, process.user)?;
    }
    for gid in arguments.texts("additional-gids")? {
        process.user.additional_gids.push(id(&gid)?);
    }
    for name in arguments.texts("cap")? {
        add_capability(process.capabilities.get_or_insert_default(), name);
    }
    if let Some(profile) = arguments.text("apparmor")? {
        process.apparmor_profile = Some(profile.to_owned());
    }
    if let Some(label) = arguments.text("process-label")? {
        process.selinux_label = Some(label.to_owned());
    }
    process.no_new_privileges |= arguments.has("no-new-privs");
    Ok(process)
}

/// `uid[:gid]`.
fn numeric_user(text: &str, user: User) -> Result<User> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (id(uid)?, id(gid)?),
        None => (id(text)?, user.gid),
    };
    Ok(User { uid, gid, ..user })
}

fn id(text: &str) -> Result<u32> {
    // Rust takes a sign for part of a number (crun CVE-2026-30892).
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let id = text.parse().ok().filter(|_| is_number);
    id.ok_or_else(|| usage(format!("{text:?} is no id: it must be a number")))
}

/// Never inheritable: what a program file adds to that could not be undone (CVE-2022-29162).
fn add_capability(capabilities: &mut Capabilities, name: String) {
    for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
        if !set.contains(&name) {
            set.push(name.clone());
        }
    }
}
