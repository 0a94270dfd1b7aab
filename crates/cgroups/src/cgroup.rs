//! One container's cgroup, in every hierarchy that the machine has.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use crate::{
    Entry, Error, Layout, LinuxResources, Metrics, Pressure, Stats,
    admission::{Admission, Deed},
    controllers::{self, Place, locate},
    directory::{Directory, remove_tree},
    freezer, limits, metrics, mounts, nested, oom, pressure,
    systemd::Scope,
    tree, usage,
};

/// How long [`Cgroup::remove`] waits for killed processes to be gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// A container's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
    directories: Vec<Directory>,
    /// With systemd's driver.
    scope: Option<Scope>,
    /// The limits that a scope is to start with.
    pending: Option<LinuxResources>,
}

impl Cgroup {
    /// Makes the cgroup in every hierarchy and writes its limits. `path` is the OCI `cgroupsPath`: absolute, counted
    /// from the root of each hierarchy, such as `/kapsel/ID`. A stale one without processes is replaced; what was made
    /// is removed again when something fails.
    pub fn create(path: &str, resources: &LinuxResources) -> Result<Self, Error> {
        let parts = tree::components(path)?;
        let (layout, mounts) = mounts()?;
        let mut cgroup = Self::of(path, Vec::with_capacity(mounts.len()));
        let result = mounts.iter().try_for_each(|mount| {
            cgroup.directories.push(tree::make(mount, &parts)?);
            let directory = &cgroup.directories[cgroup.directories.len() - 1];
            controllers::prepare(layout, mount, &parts, directory, resources)
        });
        let result = result.and_then(|()| limits::apply(&cgroup.directories, resources, layout));
        match result {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                // The first error is the one to tell.
                let _ = cgroup.remove();
                Err(error)
            }
        }
    }

    /// Opens an existing cgroup; `Error::NotFound` where no hierarchy has it.
    pub fn open(path: &str) -> Result<Self, Error> {
        let directories = Self::directories_of(path)?;
        if directories.is_empty() {
            return Err(Error::NotFound { path: path.to_owned() });
        }
        Ok(Self::of(path, directories))
    }

    fn of(path: &str, directories: Vec<Directory>) -> Self {
        Self { path: path.to_owned(), directories, scope: None, pending: None }
    }

    pub(crate) fn of_scope(
        scope: Scope,
        directories: Vec<Directory>,
        pending: Option<LinuxResources>,
    ) -> Self {
        Self { path: scope.path().to_owned(), directories, scope: Some(scope), pending }
    }

    /// Those of a path's directories that exist.
    pub(crate) fn directories_of(path: &str) -> Result<Vec<Directory>, Error> {
        let parts = tree::components(path)?;
        let mut directories = Vec::new();
        for mount in mounts()?.1 {
            let full = tree::full(mount, &parts);
            match Directory::open(mount, full.clone()) {
                Ok(directory) => directories.push(directory),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(Error::io(format!("open {}", full.display()), error)),
            }
        }
        Ok(directories)
    }

    /// The path below each hierarchy's root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is there: systemd makes one around a process that enters it.
    pub fn exists(&self) -> bool {
        self.pending.is_none()
    }

    /// The cgroup's directories on the host, one for each of [`crate::mounts`] that has it, by [`crate::Mount::name`].
    pub fn directories(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.directories.iter().map(|directory| (directory.mount.name.as_str(), directory.path.as_path()))
    }

    /// Opens what a child needs to enter the cgroup.
    pub fn entry(&self) -> Result<Entry, Error> {
        self.entry_below(&|_| Ok(String::new()))
    }

    /// The same for a process that joins others, of which `pid` is one: a v2 cgroup that has handed its controllers down
    /// takes no more processes, so the newcomer goes where that one is.
    pub fn entry_beside(&self, pid: i32) -> Result<Entry, Error> {
        self.entry_below(&|directory| nested::beside(directory, &self.path, pid))
    }

    /// The same for existing cgroups nested in this one, as `exec --cgroup` names them: `PATH` for all hierarchies, or
    /// `CONTROLLER[,CONTROLLER]:PATH` for some of v1's, the others being entered here.
    pub fn nested_entry<T: AsRef<str>>(&self, places: &[T]) -> Result<Entry, Error> {
        let places = nested::Places::parse(places)?;
        places.check(&self.directories)?;
        self.entry_below(&|directory| Ok(places.of(directory)))
    }

    fn entry_below(&self, below: &dyn Fn(&Directory) -> Result<String, Error>) -> Result<Entry, Error> {
        let deed = match (&self.pending, self.directories.first()) {
            (Some(resources), _) => Deed::Start(Box::new(resources.clone())),
            (None, Some(top)) if self.scope.as_ref().is_some_and(Scope::must_attach) => {
                Deed::Attach(format!("/{}", below(top)?))
            }
            _ => return Entry::open(&self.directories, below),
        };
        let admission = self.scope.clone().map(|scope| Admission::new(scope, deed)).transpose()?;
        Ok(Entry { unified: None, tasks: Vec::new(), homes: Vec::new(), admission })
    }

    /// Changes the limits; what is absent stays as it is.
    pub fn apply(&self, resources: &LinuxResources) -> Result<(), Error> {
        let (layout, _) = mounts()?;
        // v1's device rules begin by forbidding everything, ours and systemd's: nobody is to run into that.
        let disruptive = layout != Layout::Unified && !resources.devices.is_empty();
        if !disruptive || self.is_frozen().unwrap_or(true) {
            return self.change(resources, layout);
        }
        self.freeze()?;
        let changed = self.change(resources, layout);
        changed.and(self.thaw())
    }

    fn change(&self, resources: &LinuxResources, layout: Layout) -> Result<(), Error> {
        if let Some(scope) = &self.scope {
            // systemd would write it without asking.
            limits::check_memory(&self.directories, resources)?;
            scope.set(resources, layout == Layout::Unified)?;
        }
        limits::apply(&self.directories, resources, layout)
    }

    /// What has been used so far.
    pub fn stats(&self) -> Result<Stats, Error> {
        usage::stats(&self.directories)
    }

    /// What has been used so far, with every detail.
    pub fn metrics(&self) -> Result<Metrics, Error> {
        metrics::metrics(&self.directories)
    }

    /// How much time is being lost for want of processors, memory and devices. It is v2's, which a hybrid machine has
    /// too; a descriptor of the file in [`Cgroup::directories`] can be polled for it.
    pub fn pressure(&self) -> Result<Pressure, Error> {
        pressure::read(&self.directories)
    }

    /// Stops every task, and returns when all are stopped; ten seconds at most, then all go on again.
    pub fn freeze(&self) -> Result<(), Error> {
        freezer::freeze(self.freezer()?, freezer::PATIENCE)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), Error> {
        freezer::thaw(self.freezer()?)
    }

    /// Whether every task is stopped, or about to be.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        freezer::is_frozen(self.freezer()?)
    }

    /// The processes in the cgroup and those nested in it, by their ids in this process's PID namespace.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        let mut found = Vec::new();
        for directory in self.listed() {
            let processes = directory.processes();
            found.extend(processes.map_err(|error| directory.error("read", "cgroup.procs", error))?);
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Sends SIGKILL to every process in the cgroup and those nested in it, new ones of a fork bomb and frozen ones
    /// included. It does not wait for their end; [`Cgroup::remove`] does.
    pub fn kill_all(&self) -> Result<(), Error> {
        for directory in self.listed() {
            if !directory.mount.unified || !freezer::kill_unified(directory)? {
                freezer::kill_each(directory, self.freezer().ok())?;
            }
        }
        // v1 lets a frozen process die only when it thaws.
        match self.freezer() {
            Ok(freezer) if !freezer.mount.unified => freezer::thaw_nested(freezer),
            _ => Ok(()),
        }
    }

    /// Sends a signal to every process in the cgroup and those nested in it. They are stopped while they are listed, so
    /// that none that is just being made is missed; of a frozen cgroup's processes each gets it when it goes on.
    pub fn signal_all(&self, signal: i32) -> Result<(), Error> {
        let freezer = self.freezer().ok().filter(|freezer| !freezer::is_frozen(freezer).unwrap_or(false));
        for directory in self.listed() {
            freezer::signal_each(directory, freezer, signal)?;
        }
        Ok(())
    }

    /// Removes the cgroup, those nested in it, and parents made by [`Cgroup::create`] that are empty, but for the
    /// one directly below the root. A cgroup already gone is no error; one whose processes do not end within a second is.
    pub fn remove(mut self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        if let Some(scope) = self.scope.clone() {
            if self.pending.is_some() {
                self.directories = Self::directories_of(&self.path)?;
            }
            self.wait_empty(deadline)?;
            scope.stop()?;
        }
        let mut result = Ok(());
        for directory in &self.directories {
            let mut pause = Duration::from_micros(50);
            loop {
                match remove_tree(&directory.path) {
                    Ok(()) => break tree::remove_parents(directory.mount, &directory.path),
                    Err(Errno::EBUSY) if Instant::now() < deadline => {
                        sleep(pause);
                        pause = (pause * 2).min(Duration::from_millis(10));
                    }
                    Err(error) => {
                        let doing = format!("remove cgroup {}", directory.path.display());
                        break result = result.and(Err(Error::io(doing, io::Error::from(error))));
                    }
                }
            }
        }
        result
    }

    /// systemd would end what is left in it, but not at once.
    fn wait_empty(&self, deadline: Instant) -> Result<(), Error> {
        while !self.processes()?.is_empty() {
            if Instant::now() >= deadline {
                let busy = io::Error::from_raw_os_error(libc::EBUSY);
                return Err(Error::io(format!("remove cgroup {}", self.path), busy));
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// A descriptor that becomes readable when the kernel has killed, or is about to kill, for want of memory (v1: an
    /// eventfd; v2: an inotify watch, which speaks for other memory events too): ask [`Cgroup::oom_kills`] then.
    /// None where memory is not accounted.
    pub fn oom_fd(&self) -> Result<Option<OwnedFd>, Error> {
        locate(&self.directories, "memory", "memory").as_ref().map(oom::watch).transpose()
    }

    /// How many processes the kernel has killed for want of memory.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        locate(&self.directories, "memory", "memory").as_ref().map_or(Ok(0), oom::kills)
    }

    /// The hierarchies that together know every process: a process may be in one cgroup of v2 and another of v1.
    fn listed(&self) -> impl Iterator<Item = &Directory> {
        let v1 = self.freezer().ok().filter(|directory| !directory.mount.unified);
        let v1 = v1.or_else(|| self.directories.iter().find(|directory| !directory.mount.unified));
        self.directories.iter().find(|directory| directory.mount.unified).into_iter().chain(v1)
    }

    fn freezer(&self) -> Result<&Directory, Error> {
        match locate(&self.directories, "freezer", "") {
            Some(Place::V1(directory) | Place::V2(directory)) => Ok(directory),
            None => self.directories.iter().find(|directory| directory.mount.unified).ok_or_else(|| {
                Error::MissingController { controller: "freezer".to_owned(), setting: "pause".to_owned() }
            }),
        }
    }
}
