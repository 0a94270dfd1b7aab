//! A container's first process, from top to bottom in the order in which things happen to it.

use std::{os::fd::OwnedFd, path::Path};

use nix::{
    sched::{CloneFlags, unshare},
    sys::stat::{Mode, umask},
    unistd::setsid,
};

use crate::{
    Error, Launched, Plan, Rootfs, Stdio,
    channel::{self, Child},
    devices::Devices,
    error::{At, Stage},
    hooks, kernel, masks,
    mounts::{Builder, Operation, clean},
    namespaces::{Namespaces, become_root, hide, with_children_in},
    netdevices::NetDevices,
    notify,
    process::{NoReturn, Prepared, die_with_parent, fail, open_proc},
    resolve::Root,
    root, seal,
    spec::{self, Config, Hooks, Linux, State, Status},
    sys::process::{Cloned, clone, setns},
    sysctl,
    terminal::Terminal,
    trace::Trace,
    userns::write_maps,
};

/// Everything but the root that can be known and opened before the process exists.
struct Container<'a> {
    plan: &'a Plan<'a>,
    linux: &'a Linux,
    hooks: &'a Hooks,
    namespaces: Namespaces,
    mounts: Vec<Operation>,
    devices: Devices,
    net_devices: NetDevices,
    sysctl: Vec<(String, String)>,
    program: Prepared<'a>,
    trace: Trace,
}

/// Starts a container. The caller must have one thread: the child runs ordinary code on a copy of its memory.
///
/// Returns as soon as the process exists; with a terminal, when that exists; with hooks, when those of the runtime have
/// run; with [`Plan::gate`], when all is ready. With [`Plan::held`] the caller lets it go.
pub fn launch(plan: &Plan) -> Result<Launched, Error> {
    let trace = Trace::from_environment();
    trace.mark("sandbox: launch");
    let nothing = Linux::default();
    let container = Container::prepare(plan, plan.config.linux.as_ref().unwrap_or(&nothing), trace)?;
    let (parent, child) = channel::pair()?;
    container.trace.mark("sandbox: prepared");
    match container.clone()? {
        Cloned::Child => {
            // The child's copy of the parent's end would hide the parent's death from it.
            drop(parent);
            container.become_container(child)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(child);
            container.trace.mark("sandbox: cloned");
            container.accompany(Launched::new(pid, pidfd, plan.listener, parent))
        }
    }
}

impl<'a> Container<'a> {
    fn prepare(plan: &'a Plan<'a>, linux: &'a Linux, trace: Trace) -> Result<Self, Error> {
        let config = plan.config;
        let process = config.process.as_ref().ok_or_else(|| Error::config("process is missing"))?;
        refuse_unsupported(config)?;
        static NONE: Hooks = Hooks::NONE;
        let hooks = config.hooks.as_ref().unwrap_or(&NONE);
        check_hooks(plan, hooks)?;
        let identity = (plan.user, plan.group_add);
        notify::check(plan.seccomp, plan.listener)?;
        let mut program =
            Prepared::new(process, Some(linux), identity, plan.seccomp, plan.stdio, plan.manner)?;
        program.gate = plan.gate;
        program.held = plan.held;
        program.make_directory = true;
        if plan.init {
            program.init = Some(seal::executable()?);
        }
        let namespaces = Namespaces::open(config)?;
        kernel::check_names(config, &namespaces)?;
        root::check_propagation(linux.rootfs_propagation.as_deref())?;
        masks::check(&linux.masked_paths, &linux.readonly_paths)?;
        let net_devices = NetDevices::read(linux, &namespaces)?;
        let sysctl = sysctl::parameters(linux, &namespaces)?;
        if !sysctl.is_empty() && program.proc.is_none() {
            program.proc = Some(open_proc()?);
        }
        let builder = Builder {
            namespaces: &namespaces,
            copy_up: plan.copy_up,
            cgroup: plan.cgroup,
            label: linux.mount_label.as_deref(),
        };
        let mounts = builder.build(config)?;
        let devices = Devices::build(&namespaces, &linux.devices, !binds_dev(config))?;
        Ok(Self { plan, linux, hooks, namespaces, mounts, devices, net_devices, sysctl, program, trace })
    }

    /// The process, in its cgroup and new namespaces from its first instruction on.
    fn clone(&self) -> Result<Cloned, Error> {
        let cgroup = self.plan.cgroup.and_then(|entry| entry.unified_fd());
        let hop = self.namespaces.need_hop();
        let flags = if hop { 0 } else { self.namespaces.new };
        let pid_namespace = self.namespaces.pid.as_ref().filter(|_| !hop);
        with_children_in(pid_namespace, self.namespaces.offsets.as_ref(), || {
            // SAFETY: `launch` asks for a caller with one thread.
            unsafe { clone(flags, cgroup, false) }
                .at(Stage::Namespace, || "cannot make the container's process and namespaces")
        })
    }

    /// What the parent still has to do.
    fn accompany(&self, mut launched: Launched) -> Result<Launched, Error> {
        let mut accompany = || {
            if let Some(entry) = self.plan.cgroup {
                entry.admit(launched.pid)?;
            }
            if self.namespaces.need_hop() {
                launched.follow_hop()?;
            }
            if let Some(maps) = &self.namespaces.maps {
                write_maps(launched.pid, maps)?;
                launched.release()?;
            }
            if !self.net_devices.is_empty() {
                self.net_devices.give_to(launched.pid, &self.namespaces)?;
                launched.release()?;
            }
            // The most expensive mount of all, made here while the child makes the others: two processors are faster.
            let propagation = self.linux.rootfs_propagation.as_deref();
            let root = root::prepare(self.plan.rootfs, propagation, self.namespaces.maps.as_ref())?;
            launched.hand_over(&root)?;
            self.trace.mark("sandbox: root made");
            if self.hooks.any_in_creation() {
                launched.wait_mounted()?;
                let state = self.state(launched.pid);
                hooks::run("prestart", &self.hooks.prestart, &state)?;
                hooks::run("createRuntime", &self.hooks.create_runtime, &state)?;
                launched.release()?;
            }
            if matches!(self.plan.stdio, Stdio::Terminal { .. }) {
                launched.wait_console()?;
            }
            if self.plan.gate.is_some() { launched.wait_held() } else { Ok(()) }
        };
        match accompany() {
            Ok(()) => Ok(launched),
            Err(error) => Err(launched.abandon(error)),
        }
    }

    /// The child's whole life until it is the program.
    fn become_container(mut self, channel: Child) -> ! {
        let _no_return = NoReturn;
        match self.live(&channel) {
            Ok((root, terminal)) => self.program.run(root, terminal, channel, &self.trace),
            Err(error) => fail(&channel, &error),
        }
    }

    fn live(&mut self, channel: &Child) -> Result<(Root, Option<OwnedFd>), Error> {
        self.trace.mark("sandbox: child runs");
        die_with_parent(channel)?;
        if let Some(entry) = self.plan.cgroup {
            entry.join().at(Stage::Cgroup, || "cannot enter the cgroup")?;
        }
        self.program.adjust_oom_score()?;
        self.enter_namespaces(channel)?;
        hide()?;
        setsid().at(Stage::Terminal, || "cannot lead a session")?;
        // Modes are given as they are meant; the program's own mask comes at the end.
        umask(Mode::empty());
        if self.namespaces.cgroup {
            unshare(CloneFlags::CLONE_NEWCGROUP).at(Stage::Namespace, || "cannot make a cgroup namespace")?;
        }
        self.trace.mark("sandbox: namespaces entered");

        if self.namespaces.is_new(libc::CLONE_NEWNET) {
            kernel::raise_loopback()?;
        }
        if !self.net_devices.is_empty() {
            channel.wait()?;
            self.net_devices.bring_up()?;
        }
        kernel::set_names(self.plan.config)?;
        if let Some(proc) = &self.program.proc {
            sysctl::write(proc, &self.sysctl)?;
        }
        self.trace.mark("sandbox: kernel set");

        root::isolate()?;
        self.mounts.iter_mut().try_for_each(Operation::create)?;
        self.trace.mark("sandbox: mounts made");
        let tree = channel.take_over()?;
        let root = if self.hooks.any_in_creation() {
            let shown = root::show(&tree, self.root_directory()?)?;
            self.furnish(&shown)?;
            self.call_hooks(channel)?;
            self.enter_root(&tree)?
        } else {
            // Everything of the host is out of reach before the first path of the container is looked up.
            let root = self.enter_root(&tree)?;
            self.furnish(&root)?;
            root
        };
        let terminal = self.make_terminal(&root, channel)?;
        masks::make_read_only(&root, &self.linux.readonly_paths)?;
        masks::mask(&root, &self.linux.masked_paths)?;
        let read_only = self.plan.config.root.as_ref().is_some_and(|root| root.readonly);
        root::finish(&root, self.linux.rootfs_propagation.as_deref(), read_only)?;
        self.trace.mark("sandbox: paths masked");
        Ok((root, terminal))
    }

    /// Makes the tree the root and lets go of the host's.
    fn enter_root(&self, tree: &OwnedFd) -> Result<Root, Error> {
        if !self.hooks.any_in_creation() {
            root::cover(tree)?;
        }
        let root = match root::pivot(tree) {
            // Only then: it is the weaker way.
            Err(_) if self.plan.no_pivot => self.enter_without_pivot(tree)?,
            pivoted => pivoted.and_then(|()| root::enter())?,
        };
        self.trace.mark("sandbox: root entered");
        Ok(root)
    }

    fn enter_without_pivot(&self, tree: &OwnedFd) -> Result<Root, Error> {
        if self.hooks.any_in_creation() {
            root::cover(tree)?;
        }
        root::strip()?;
        root::enter_without_pivot(tree)
    }

    fn furnish(&self, root: &Root) -> Result<(), Error> {
        self.mounts.iter().try_for_each(|mount| mount.attach(root))?;
        self.trace.mark("sandbox: mounts attached");
        self.devices.make(root)?;
        self.trace.mark("sandbox: devices made");
        Ok(())
    }

    /// The last moment at which the host's root is seen: here the parent runs its hooks, and then we ours.
    fn call_hooks(&mut self, channel: &Child) -> Result<(), Error> {
        channel.mounted()?;
        // As the container sees it.
        let state = self.state(nix::unistd::getpid().as_raw());
        hooks::run("createContainer", &self.hooks.create_container, &state)?;
        self.program.start_hooks = Some((&self.hooks.start_container, state));
        self.trace.mark("sandbox: hooks run");
        Ok(())
    }

    /// What hooks read. They come after the second step of the container's life, which is why it is "created" to them
    /// (runtime.md, "Lifecycle").
    fn state(&self, pid: i32) -> State {
        let (id, bundle) =
            self.plan.container.map(|own| (own.id.clone(), own.bundle.clone())).unwrap_or_default();
        let annotations = self.plan.config.annotations.clone();
        State { oci_version: spec::VERSION.to_owned(), id, status: Status::Created, pid, bundle, annotations }
    }

    /// Where the host has the root.
    fn root_directory(&self) -> Result<&Path, Error> {
        match self.plan.rootfs {
            Rootfs::Directory(path) => Ok(path),
            Rootfs::Overlay { .. } => Err(Error::config("hooks need a root that is a directory of the host")),
        }
    }

    fn enter_namespaces(&self, channel: &Child) -> Result<(), Error> {
        let namespaces = &self.namespaces;
        if namespaces.need_hop() {
            self.hop(channel)?;
        }
        if namespaces.maps.is_some() {
            channel.wait()?;
            become_root()?;
        }
        if namespaces.need_hop() { Ok(()) } else { namespaces.join() }
    }

    /// Joins what exists, and goes on in a new process that is the parent's child too.
    fn hop(&self, channel: &Child) -> Result<(), Error> {
        self.namespaces.join()?;
        if let Some(namespace) = &self.namespaces.pid {
            setns(namespace, libc::CLONE_NEWPID).at(Stage::Namespace, || "cannot join the pid namespace")?;
        }
        // SAFETY: this process is the copy of one with one thread.
        let cloned = unsafe { clone(self.namespaces.new, None, true) };
        match cloned.at(Stage::Namespace, || "cannot make the container's namespaces")? {
            Cloned::Child => die_with_parent(channel),
            Cloned::Parent { pid, .. } => {
                let status = channel.child(pid).is_err().into();
                // SAFETY: ends this copy of the caller without running what belongs to the original.
                unsafe { libc::_exit(status) }
            }
        }
    }

    fn make_terminal(&self, root: &Root, channel: &Child) -> Result<Option<OwnedFd>, Error> {
        let Stdio::Terminal { columns, rows } = self.plan.stdio else { return Ok(None) };
        let terminal = Terminal::open(root, columns, rows)?;
        terminal.bind_console(root)?;
        channel.console(&terminal.master)?;
        Ok(Some(terminal.slave))
    }
}

/// What is not carried out yet is refused: a container that lacks what was asked for is worse than none.
fn refuse_unsupported(config: &Config) -> Result<(), Error> {
    let name = match config {
        Config { linux: Some(Linux { intel_rdt: Some(_), .. }), .. } => "linux.intelRdt",
        _ => return Ok(()),
    };
    Err(Error::config(format!("{name} is not supported; remove it")))
}

/// A hook that would not know whom it is called for is called for nobody.
fn check_hooks(plan: &Plan, hooks: &Hooks) -> Result<(), Error> {
    if plan.container.is_none() && *hooks != Hooks::NONE {
        return Err(Error::config("hooks are only run for a container of an OCI bundle; remove them"));
    }
    Ok(())
}

/// A /dev that is the host's or a volume has its own nodes.
fn binds_dev(config: &Config) -> bool {
    config.mounts.iter().any(|mount| clean(&mount.destination) == Path::new("/dev") && mount.is_bind())
}
