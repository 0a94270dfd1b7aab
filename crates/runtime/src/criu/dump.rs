//! A container's processes become images.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kapsel_cgroups::Cgroup;
use kapsel_sandbox::spec::{Config, NamespaceKind};

use super::rpc::{self, Kind, Options, Response};
use super::session::{Session, Surroundings, program};
use super::{Terms, executable, external, log, mountinfo, namespace_key, streams};
use crate::error::{Error, Result};

const LOG: &str = "dump.log";
const WHAT: &str = "cannot checkpoint the container";

/// A dump to make.
#[derive(Debug)]
pub struct Dump<'a> {
    /// What the restore must know too.
    pub terms: &'a Terms,
    /// The container's first process.
    pub pid: i32,
    /// The document that the container was made by.
    pub config: &'a Config,
    /// What its standard streams were when it began ([`super::streams`]).
    pub streams: &'a [String],
    /// Its cgroup, whose freezer holds it still.
    pub cgroup: Option<&'a Cgroup>,
    /// The container ends when we do, and so must CRIU: it would wait for what it holds.
    pub bound: bool,
    /// It goes on afterwards.
    pub leave_running: bool,
    /// Only memory, while it runs: a later dump is the quicker.
    pub pre_dump: bool,
    /// An earlier dump, relative to the images.
    pub parent: Option<&'a str>,
    /// Where memory goes instead of to the images: address and port.
    pub page_server: Option<(String, u16)>,
    /// Connections that are still being made are left out.
    pub tcp_skip_in_flight: bool,
    /// Files without a name get one for the time being.
    pub link_remap: bool,
    /// Gets a zero byte when the server of lazy pages is ready, and is closed.
    pub status: Option<OwnedFd>,
}

/// A dump that is being made. Dropped before its end, it is given up and the container goes on.
#[derive(Debug)]
pub struct Dumping {
    session: Session,
    log: PathBuf,
    kind: Kind,
    status: Option<OwnedFd>,
}

impl Dump<'_> {
    /// Begins it.
    pub fn begin(self) -> Result<Dumping> {
        self.refuse_user_namespace()?;
        let program = program("checkpoint")?;
        self.terms.make_directories(true)?;
        self.check_parent()?;
        let (images, work) = (self.terms.images.as_path(), self.terms.work());
        let surroundings = Surroundings {
            images,
            work,
            stdio: None,
            inherited: Vec::new(),
            bound: self.bound,
            cgroup: Vec::new(),
            root: None,
        };
        let session = Session::start(&program, surroundings)?;
        if self.pre_dump || self.parent.is_some() || self.terms.lazy_pages {
            self.check_features(&session)?;
        }
        let kind = if self.pre_dump { Kind::PreDump } else { Kind::Dump };
        let mut options = Options {
            pid: Some(self.pid),
            freeze_cgroup: self.cgroup.and_then(freezer),
            leave_running: self.leave_running,
            parent_img: self.parent.map(str::to_owned),
            track_mem: self.pre_dump || self.parent.is_some(),
            page_server: self.page_server.clone(),
            tcp_skip_in_flight: self.tcp_skip_in_flight,
            link_remap: self.link_remap,
            ..self.terms.options(LOG, self.config)
        };
        options.external = self.namespaces()?;
        if !self.pre_dump {
            let inside = mountinfo::of(&self.pid.to_string())?;
            options.external.extend(streams::external(self.streams).cloned());
            options.external.extend(external::of_dump(self.config, &inside, &mountinfo::of("self")?));
            let ours = executable::of(self.pid, &inside)?;
            options.external.extend(ours.iter().map(|[name, _]| name.clone()));
            streams::write(&self.terms.images, self.streams, ours.as_ref())?;
        }
        session.send(&rpc::request(kind, Some(&options)))?;
        Ok(Dumping { session, log: work.join(LOG), kind, status: self.status })
    }

    fn check_features(&self, session: &Session) -> Result<()> {
        session.send(&rpc::feature_check())?;
        let (features, _) = session.receive()?;
        let lacking = |what: &str| Err(Error::new("CRIU_UNSUPPORTED", format!("{WHAT}: this kernel {what}")));
        if (self.pre_dump || self.parent.is_some()) && !features.mem_track {
            return lacking(
                "cannot track changed memory (CONFIG_MEM_SOFT_DIRTY), which --pre-dump and --parent-path need",
            );
        }
        if self.terms.lazy_pages && !features.lazy_pages {
            return lacking("cannot hand memory over page by page (userfaultfd), which --lazy-pages needs");
        }
        Ok(())
    }

    /// At the restore CRIU looks for images and volumes when it is nobody but the namespace's root. What could not be
    /// brought back is not ended.
    fn refuse_user_namespace(&self) -> Result<()> {
        if !external::has_namespace(self.config, NamespaceKind::User) {
            return Ok(());
        }
        let message = format!("{WHAT}: it has a user namespace, and could not be restored");
        Err(Error::new("CRIU_UNSUPPORTED", message))
    }

    /// CRIU says nothing of use where there is none.
    fn check_parent(&self) -> Result<()> {
        let Some(parent) = self.parent else { return Ok(()) };
        if Path::new(parent).is_absolute() || !self.terms.images.join(parent).is_dir() {
            let images = self.terms.images.display();
            let message = format!("the earlier dump {parent} must be a directory, and relative to {images}");
            return Err(Error::new("USAGE", message));
        }
        Ok(())
    }

    /// Namespaces that were given to the container: those who restore it give it others.
    fn namespaces(&self) -> Result<Vec<String>> {
        let linux = self.config.linux.iter().flat_map(|linux| &linux.namespaces);
        let mut external = Vec::new();
        for namespace in linux {
            let kind = match namespace.kind {
                NamespaceKind::Network => "net",
                NamespaceKind::Pid => "pid",
                _ => continue,
            };
            if namespace.path.as_ref().is_none_or(|path| path.as_os_str().is_empty()) {
                continue;
            }
            // The one that it is in: the path may have gone.
            let path = format!("/proc/{}/ns/{kind}", self.pid);
            let inode = std::fs::metadata(&path)
                .map_err(|error| Error::io(format_args!("cannot look at {path}"), &error))?
                .st_ino();
            external.push(format!("{kind}[{inode}]:{}", namespace_key(kind)));
        }
        Ok(external)
    }
}

impl Dumping {
    /// Hears what CRIU has to say, waiting for it; true when the dump is made.
    pub fn step(&mut self) -> Result<bool> {
        let heard = log::explain(WHAT, &self.log, self.session.receive());
        let (response, _) = heard?;
        if let Some((script, _)) = &response.notify {
            if script == "status-ready" {
                self.tell_status()?;
            }
            self.session.send(&rpc::acknowledge(true))?;
            return Ok(false);
        }
        self.judge(&response)?;
        self.session.end();
        Ok(true)
    }

    /// Waits for all of it.
    pub fn finish(mut self) -> Result<()> {
        while !self.step()? {}
        Ok(())
    }

    fn tell_status(&mut self) -> Result<()> {
        use std::io::Write;
        let Some(status) = self.status.take() else { return Ok(()) };
        std::fs::File::from(status)
            .write_all(&[0])
            .map_err(|error| Error::io("cannot tell --status-fd", &error))
    }

    fn judge(&self, response: &Response) -> Result<()> {
        if response.success && response.kind == self.kind as i64 {
            return Ok(());
        }
        Err(log::failure(WHAT, &self.log, response))
    }
}

/// To wait on for the next [`Dumping::step`].
impl AsFd for Dumping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.session.as_fd()
    }
}

/// The directory where a cgroup is frozen.
fn freezer(cgroup: &Cgroup) -> Option<String> {
    let mut directories = cgroup.directories();
    let found =
        directories.find(|(name, _)| name.is_empty() || name.split(',').any(|name| name == "freezer"));
    found.map(|(_, path)| path.display().to_string())
}
