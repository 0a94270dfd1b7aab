//! From a Launch to a container whose program is about to be executed.

use std::path::PathBuf;

use kapsel_cgroups::{Cgroup, LinuxResources};
use kapsel_sandbox::spec::{self, NamespaceKind, State, Status};
use kapsel_sandbox::{Listener, Manner, Plan, Stdio, launch};
use kapsel_seccomp::{Architecture, Kernel, Profile, Program, Source};
use serde_json::value::RawValue;

use super::Monitor;
use super::log::Log;
use super::network::{self, Network, Networking};
use super::process::{CONTAINER, Ours, Pipes, Process};
use super::setup;
use super::spare::{Place, Ready};
use super::wire::Failure;
use crate::document::Lines;
use crate::error::{Error, Result};
use crate::launch::Launch;

impl Monitor {
    /// Starts the container. What was made on the way is in `self`, and [`Monitor::finish`] undoes it.
    pub fn start(
        &mut self,
        launch: &mut Launch,
        documents: Lines,
        place: Option<Place>,
        rootless: bool,
    ) -> std::result::Result<(), Failure> {
        self.prepare(launch, rootless).map_err(engine)?;
        let place = place.filter(|_| launch.awaits_network || is_alone(&launch.config));
        let mut ready = place.map(Place::take).transpose().map_err(engine)?;
        if let Some(Ready { namespace, .. }) = &ready {
            join(&mut launch.config, network::path(namespace));
        }
        let connects = ready.take_if(|_| launch.awaits_network);
        let mut unconnected = connects.map(|ready| Unconnected { ready, documents });
        if is_connected_first(launch)
            && let Some(unconnected) = unconnected.take()
        {
            self.connect(launch, unconnected).map_err(engine)?;
        }
        set_parameters(launch).map_err(engine)?;
        self.clone_container(launch, rootless, unconnected)
    }

    /// Everything that comes before the clone, but for its network namespace.
    fn prepare(&mut self, launch: &mut Launch, rootless: bool) -> Result<()> {
        setup::let_go_of_stdio()?;
        if let Some(options) = launch.log.take() {
            let path = options.path.display().to_string();
            let log = Log::open(options)
                .map_err(|error| Error::io(format_args!("cannot open the log {path}"), &error))?;
            self.log = Some(log);
        }
        self.seccomp = seccomp(launch)?;
        if self.seccomp.as_ref().is_some_and(Program::notifies) {
            self.listener = listener(launch)?;
        }
        self.trace.mark("seccomp");
        self.cgroup = cgroup(launch, rootless)?;
        self.trace.mark("cgroup");
        Ok(())
    }

    /// Connects the container to its networks, as soon as it is known which they are.
    fn connect(&mut self, launch: &Launch, unconnected: Unconnected) -> Result<()> {
        let Unconnected { ready: Ready { namespace, cable }, mut documents } = unconnected;
        let mut networking = Networking::read(&mut documents)?;
        self.trace.mark("network known");
        if let Some(cable) = cable {
            networking.take(&namespace, cable)?;
        }
        self.network = Some(Network::make(&id(launch), namespace, &networking, &self.epoll)?);
        self.trace.mark("network");
        Ok(())
    }

    /// Clones the container; one that is not on its networks yet (`unconnected`) is brought there while it makes its mounts,
    /// and its program begins when both are done.
    fn clone_container(
        &mut self,
        launch_document: &Launch,
        rootless: bool,
        unconnected: Option<Unconnected>,
    ) -> std::result::Result<(), Failure> {
        let rootfs = launch_document.rootfs(rootless).map_err(engine)?;
        let entry =
            self.cgroup.as_ref().map(Cgroup::entry).transpose().map_err(|error| engine(error.into()))?;
        let process = launch_document.config.process.as_ref();
        let (columns, rows) = self.size.or(process.and_then(size)).unwrap_or((80, 24));
        let terminal = process.is_some_and(|process| process.terminal);
        let pipes = if terminal {
            None
        } else {
            Some(Pipes::new(launch_document.stdin, true, true).map_err(engine)?)
        };
        if let Some(pipes) = &pipes {
            self.streams = pipes.names().map_err(engine)?;
        }
        if let Some(terms) = &launch_document.restore {
            return self.restore(launch_document, terms, &rootfs, pipes).map_err(engine);
        }
        let mut launched = launch(&Plan {
            config: &launch_document.config,
            rootfs: &rootfs,
            user: &launch_document.user,
            group_add: &launch_document.group_add,
            copy_up: &launch_document.copy_up,
            init: launch_document.init,
            seccomp: self.seccomp.as_ref(),
            listener: self.listener.as_ref(),
            cgroup: entry.as_ref(),
            stdio: pipes.as_ref().map_or(Stdio::Terminal { columns, rows }, Pipes::stdio),
            gate: None,
            held: unconnected.is_some(),
            container: None,
            manner: Manner::default(),
            no_pivot: false,
        })
        .map_err(unlaunched)?;
        self.trace.mark("cloned");
        if let Some(unconnected) = unconnected {
            let connected = self.connect(launch_document, unconnected).map_err(engine);
            if let Err(failure) = connected.and_then(|()| launched.let_go().map_err(unlaunched)) {
                launched.end();
                return Err(failure);
            }
        }
        if let Some(Listener { state, .. }) = &mut self.listener {
            // What `exec` starts later is in a container that runs.
            (state.pid, state.status) = (launched.pid, Status::Running);
        }
        let ours = pipes.map_or_else(Ours::default, Pipes::keep_ours);
        self.adopt(launched, ours, CONTAINER, None).map_err(engine)
    }

    /// Takes a launched process into the loop.
    pub fn adopt(
        &mut self,
        launched: kapsel_sandbox::Launched,
        ours: Ours,
        id: u32,
        client: Option<u32>,
    ) -> Result<()> {
        let process = Process::new(launched, ours, id, client, &self.epoll);
        let process = process.map_err(|error| Error::io("cannot watch a process", &error))?;
        self.processes.insert(id, process);
        Ok(())
    }
}

/// A container's network namespace, before anybody knows what it is to be connected to.
struct Unconnected {
    ready: Ready,
    /// Where that is said.
    documents: Lines,
}

/// The engine's own affairs have failed.
fn engine(error: Error) -> Failure {
    Failure { exit_code: 125, error }
}

/// The container has failed before its program.
fn unlaunched(error: kapsel_sandbox::Error) -> Failure {
    Failure { exit_code: error.exit_code(), error: error.into() }
}

/// Whether the networks come before the clone: what is restored may be in them already, and parameters of the kernel may be
/// an interface's.
fn is_connected_first(launch: &Launch) -> bool {
    let mut parameters = launch.config.linux.iter().flat_map(|linux| linux.sysctl.keys());
    launch.restore.is_some()
        || parameters.any(|name| name.starts_with("net") && (name.contains("conf") || name.contains("neigh")))
}

/// Whether it has a network namespace of its own, with nothing in it, which may as well be made before. That of a user
/// namespace has to be made in there.
fn is_alone(config: &spec::Config) -> bool {
    let namespaces = config.linux.iter().flat_map(|linux| &linux.namespaces);
    let mut kinds = namespaces.filter(|namespace| namespace.path.is_none()).map(|namespace| namespace.kind);
    kinds.clone().any(|kind| kind == NamespaceKind::Network) && !kinds.any(|kind| kind == NamespaceKind::User)
}

/// Sets the parameters of a network namespace that the container may not: in a user namespace of its own, as the network
/// namespace is not its own.
fn set_parameters(launch: &mut Launch) -> Result<()> {
    let Some(linux) = launch.config.linux.as_mut().filter(|_| launch.awaits_network) else {
        return Ok(());
    };
    let of = |kind| linux.namespaces.iter().find(|namespace| namespace.kind == kind);
    let Some(namespace) = of(NamespaceKind::User).and_then(|_| of(NamespaceKind::Network)) else {
        return Ok(());
    };
    let Some(path) = namespace.path.clone() else { return Ok(()) };
    network::set(&path, &mut linux.sysctl)
}

/// The container's, by its run directory.
fn id(launch: &Launch) -> String {
    launch.run_directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The container is, or is to be, in this network namespace.
pub fn join(config: &mut spec::Config, path: PathBuf) {
    let linux = config.linux.get_or_insert_default();
    for namespace in linux.namespaces.iter_mut().filter(|namespace| namespace.kind == NamespaceKind::Network)
    {
        namespace.path = Some(path.clone());
    }
}

/// The terminal's size that a process asks for.
pub fn size(process: &kapsel_sandbox::spec::Process) -> Option<(u16, u16)> {
    process
        .console_size
        .as_ref()
        .filter(|size| size.width > 0 && size.height > 0)
        .map(|size| (size.width, size.height))
}

/// Makes the cgroup. A user without any delegation has none: that is forgiven where no limit was asked for.
fn cgroup(launch: &Launch, rootless: bool) -> Result<Option<Cgroup>> {
    let linux = launch.config.linux.as_ref();
    let Some(path) = linux.and_then(|linux| linux.cgroups_path.as_deref()) else { return Ok(None) };
    let none = LinuxResources::default();
    let resources = linux.and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
    match Cgroup::create(path, resources) {
        Ok(cgroup) => Ok(Some(cgroup)),
        // Device rules are in every config; what they forbid a user namespace cannot do anyway.
        Err(kapsel_cgroups::Error::PermissionDenied { .. } | kapsel_cgroups::Error::NotMounted)
            if rootless && LinuxResources { devices: Vec::new(), ..resources.clone() } == none =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The system call filter, compiled or from the cache; none for `"unconfined"`.
fn seccomp(launch: &Launch) -> Result<Option<Program>> {
    let Some(source) = source(launch) else { return Ok(None) };
    let capabilities = launch.config.process.as_ref().and_then(|process| process.capabilities.as_ref());
    let bounding = capabilities.map_or(&[][..], |capabilities| &capabilities.bounding);
    let cache = launch.seccomp_cache.as_deref();
    Ok(Some(Program::cached(cache, source, bounding, Architecture::NATIVE, Kernel::running())?))
}

fn source(launch: &Launch) -> Option<Source<'_>> {
    match launch.seccomp.as_deref().map(RawValue::get) {
        Some("\"unconfined\"") => None,
        Some("\"default\"") => Some(Source::Default),
        Some(json) if json != "null" => Some(Source::Json(json)),
        _ => launch.config.linux.as_ref()?.seccomp.as_ref().map(Source::Resolved),
    }
}

/// Who answers a filter that asks.
fn listener(launch: &Launch) -> Result<Option<Listener>> {
    let filter = match source(launch) {
        Some(Source::Json(json)) => {
            Profile::parse(json)?.resolve(&[], Architecture::NATIVE, Kernel::running())
        }
        Some(Source::Resolved(filter)) => filter.clone(),
        Some(Source::Default) | None => return Ok(None),
    };
    let directory = &launch.run_directory;
    let state = State {
        oci_version: spec::VERSION.to_owned(),
        id: id(launch),
        status: Status::Creating,
        pid: 0,
        bundle: directory.clone(),
        annotations: launch.config.annotations.clone(),
    };
    Ok(Listener::of(&filter, state))
}
