//! Images become a container's processes.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use kapsel_cgroups::Cgroup;
use kapsel_sandbox::spec::{Config, NamespaceKind};
use kapsel_sandbox::{Rootfs, furnish};

use super::rpc::{self, Kind, Options, Response};
use super::session::{FIRST_INHERITED, Session, Surroundings, program};
use super::{Terms, executable, external, log, mountinfo, namespace_key, streams};
use crate::error::{Error, Result};

const LOG: &str = "restore.log";
const WHAT: &str = "cannot restore the container";

/// A container to restore.
#[derive(Debug)]
pub struct Restore<'a> {
    /// What the dump knew too.
    pub terms: &'a Terms,
    /// The document that the container is made by.
    pub config: &'a Config,
    /// Its root file system, as it was at the dump.
    pub rootfs: &'a Rootfs,
    /// A directory of the caller's, in which one is made for the time being.
    pub directory: &'a Path,
    /// Its cgroup, which exists and has its limits.
    pub cgroup: Option<&'a Cgroup>,
    /// Its standard streams; absent: /dev/null.
    pub stdio: Option<[OwnedFd; 3]>,
    /// AppArmor or SELinux profile in the place of the dumped one.
    pub lsm_profile: Option<String>,
    /// SELinux label of mounts in the place of the dumped one.
    pub lsm_mount_context: Option<String>,
}

/// What happens on the way, told at once: the processes wait for whoever hears it.
#[derive(Debug)]
pub enum Event {
    /// There is a process in the container's namespaces.
    Namespaces(i32),
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// Everything is as it was, and about to go on. This is the first process, which is our child.
    Restored(i32),
}

impl Restore<'_> {
    /// Makes the processes, and gives the first of them: a child of the caller.
    pub fn run(self, on_event: &mut dyn FnMut(Event) -> Result<()>) -> Result<i32> {
        let place = self.directory.join("criu-root");
        match DirBuilder::new().mode(0o700).create(&place) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(Error::io(format_args!("cannot make {}", place.display()), &error));
            }
            _ => {}
        }
        let result = self.run_in(&place, on_event);
        // What is mounted on it is mounted in CRIU's and the container's namespaces only.
        let _ = std::fs::remove_dir(&place);
        result
    }

    fn run_in(mut self, place: &Path, on_event: &mut dyn FnMut(Event) -> Result<()>) -> Result<i32> {
        let program = program("restore")?;
        self.terms.make_directories(false)?;
        let (images, work) = (self.terms.images.as_path(), self.terms.work());
        let log = work.join(LOG);
        let (tree, places) = furnish(self.rootfs, self.config)?;
        let (streams, ours) = streams::read(&self.terms.images)?;
        let mut options = Options {
            root: Some(place.display().to_string()),
            cgroup_root: self.cgroup.map(|cgroup| cgroup.path().to_owned()),
            lsm_profile: self.lsm_profile.take(),
            lsm_mount_context: self.lsm_mount_context.take(),
            // Where an image says nothing of its root directory, each engine gives it a mode of its own.
            skip_file_rwx_check: true,
            rst_sibling: true,
            inherit_fd: streams,
            external: external::of_restore(self.config, &places, &mountinfo::of("self")?),
            ..self.terms.options(LOG, self.config)
        };
        let mut inherited = self.namespaces(&mut options)?;
        if let Some(ours) = ours {
            let (name, file) = executable::own(&ours)?;
            options.inherit_fd.push((name, FIRST_INHERITED + inherited.len() as i32));
            inherited.push(file);
        }
        let stdio = self.stdio.take();
        let directories = self.cgroup.into_iter().flat_map(Cgroup::directories);
        let cgroup = directories.map(|(_, path)| path.to_owned()).collect();
        let surroundings =
            Surroundings { images, work, stdio, inherited, bound: true, cgroup, root: Some((tree, place)) };
        let mut session = Session::start(&program, surroundings)?;
        session.send(&rpc::request(Kind::Restore, Some(&options)))?;
        loop {
            let (response, descriptor) = log::explain(WHAT, &log, session.receive())?;
            let Some((script, pid)) = &response.notify else {
                let pid = judge(&response, &log)?;
                session.end();
                return Ok(pid);
            };
            let event = match (script.as_str(), descriptor) {
                ("setup-namespaces", _) => Some(Event::Namespaces(*pid)),
                ("orphan-pts-master", Some(master)) => Some(Event::Terminal(master)),
                ("post-restore", _) => Some(Event::Restored(*pid)),
                _ => None,
            };
            let heard = event.map_or(Ok(()), &mut *on_event);
            session.send(&rpc::acknowledge(heard.is_ok()))?;
            if let Err(error) = heard {
                // It undoes what it has done, and says so.
                while session.receive().is_ok_and(|(response, _)| response.notify.is_some()) {
                    session.send(&rpc::acknowledge(false))?;
                }
                session.end();
                return Err(error);
            }
        }
    }

    /// Namespaces that are given to the container: network and PID namespaces by descriptor, others by path.
    fn namespaces(&self, options: &mut Options) -> Result<Vec<OwnedFd>> {
        let mut inherited = Vec::new();
        for namespace in self.config.linux.iter().flat_map(|linux| &linux.namespaces) {
            let path = match &namespace.path {
                Some(path) if !path.as_os_str().is_empty() => path,
                _ => continue,
            };
            let kind = match namespace.kind {
                NamespaceKind::Network => "net",
                NamespaceKind::Pid => "pid",
                NamespaceKind::Ipc => "ipc",
                NamespaceKind::Uts => "uts",
                NamespaceKind::Time => "time",
                NamespaceKind::User => "user",
                NamespaceKind::Mount | NamespaceKind::Cgroup => {
                    let message =
                        "CRIU restores a container into mount and cgroup namespaces of its own only";
                    return Err(Error::new("CRIU_UNSUPPORTED", message));
                }
            };
            if !matches!(kind, "net" | "pid") {
                options.join_ns.push((kind, path.display().to_string()));
                continue;
            }
            let opened = std::fs::File::open(path).map_err(|error| {
                Error::io(format_args!("cannot open the namespace {}", path.display()), &error)
            })?;
            let number = FIRST_INHERITED + inherited.len() as i32;
            options.inherit_fd.push((namespace_key(kind), number));
            inherited.push(opened.into());
        }
        Ok(inherited)
    }
}

fn judge(response: &Response, log: &Path) -> Result<i32> {
    match response.pid {
        Some(pid) if response.success && response.kind == Kind::Restore as i64 => Ok(pid),
        _ => Err(log::failure(WHAT, log, response)),
    }
}
