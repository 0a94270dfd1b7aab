//! Checkpoint and restore through CRIU (criu.org), which is asked to do it and does everything.
//!
//! - [`session`](self::session): a CRIU, and what is said to it
//! - [`dump`](self::dump): a container's processes become images
//! - [`restore`](self::restore): images become a container's processes
//! - [`external`](self::external), [`streams`](self::streams): what a container has that is not its own

pub mod core;
mod dump;
mod executable;
mod external;
mod log;
mod mountinfo;
mod restore;
mod rpc;
mod session;
pub mod streams;
mod wire;

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use kapsel_sandbox::spec::Config;
use serde::Deserialize;

pub use dump::{Dump, Dumping};
pub use restore::{Event, Restore};
pub use rpc::CgroupMode;

use self::rpc::Options;
use crate::error::{Error, Result};

/// What a dump and a restore are to agree on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terms {
    /// Where the images are.
    pub images: PathBuf,
    /// Where the log and what is temporary goes; absent: to the images.
    pub work: Option<PathBuf>,
    /// Established TCP connections are kept.
    pub tcp_established: bool,
    /// Unix sockets may have a peer outside.
    pub ext_unix_sk: bool,
    /// The session's terminal is outside.
    pub shell_job: bool,
    /// File locks are kept.
    pub file_locks: bool,
    /// `CLONE_NEW*` of namespaces whose content is left out.
    pub empty_ns: u32,
    /// What becomes of cgroups; absent: [`CgroupMode::Soft`], as CRIU has it.
    #[serde(skip)]
    pub manage_cgroups: Option<CgroupMode>,
    /// Memory is fetched when it is used.
    pub lazy_pages: bool,
    /// Pages that a later dump has too are given up.
    pub auto_dedup: bool,
}

impl Terms {
    /// The work directory.
    fn work(&self) -> &Path {
        self.work.as_deref().unwrap_or(&self.images)
    }

    /// Makes the work directory, and for a dump that of the images.
    fn make_directories(&self, dump: bool) -> Result<()> {
        let images = dump.then_some(self.images.as_path());
        for path in images.into_iter().chain(self.work.as_deref()) {
            match DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(Error::io(format_args!("cannot make {}", path.display()), &error));
                }
                _ => {}
            }
        }
        for path in [self.images.as_path(), self.work()] {
            if !path.is_dir() {
                return Err(Error::new("CHECKPOINT_INVALID", format!("{} is no directory", path.display())));
            }
        }
        Ok(())
    }

    fn options(&self, log_file: &'static str, config: &Config) -> Options {
        Options {
            images_dir_fd: session::IMAGES,
            work_dir_fd: session::WORK,
            log_file,
            config_file: config_file(config),
            manage_cgroups: Some(self.manage_cgroups.unwrap_or(CgroupMode::Soft)),
            tcp_established: self.tcp_established,
            ext_unix_sk: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            empty_ns: self.empty_ns,
            lazy_pages: self.lazy_pages,
            auto_dedup: self.auto_dedup,
            ..Options::default()
        }
    }
}

/// CRIU's settings for containers: the file that an annotation names, or the one that all runtimes share. An empty
/// annotation is none.
fn config_file(config: &Config) -> Option<String> {
    match config.annotations.get("org.criu.config") {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.clone()),
        None => Some("/etc/criu/runc.conf".to_owned()),
    }
}

/// The key under which runtimes know a namespace that is not the container's own.
fn namespace_key(kind: &str) -> String {
    let (first, rest) = kind.split_at(1);
    format!("extRoot{}{rest}NS", first.to_uppercase())
}
