//! The Launch: the one document that `monitor` is started with. ARCHITECTURE.md, "Launch", is its specification.

use std::path::{Path, PathBuf};

use kapsel_sandbox::{Rootfs, spec};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::criu::Terms;
use crate::error::{Error, Result};
use crate::monitor::LogOptions;

/// Everything a monitor has to know; the container's id is not among it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// The OCI runtime config.
    pub config: spec::Config,
    /// The root as layers; absent: `config.root.path`.
    pub overlay: Option<Overlay>,
    /// `name|uid[:group|gid]`, resolved in the container.
    #[serde(default)]
    pub user: String,
    /// Supplementary groups, names or numbers.
    #[serde(default)]
    pub group_add: Vec<String>,
    /// Mount destinations whose empty source gets the image's content first.
    #[serde(default)]
    pub copy_up: Vec<String>,
    /// Whether PID 1 is kapsel's own init.
    #[serde(default)]
    pub init: bool,
    /// `"default"`, `"unconfined"` or a profile; absent: `config.linux.seccomp`.
    pub seccomp: Option<Box<RawValue>>,
    /// Where compiled seccomp programs are kept.
    pub seccomp_cache: Option<PathBuf>,
    /// Where the control socket and the exit record go; it exists.
    pub run_directory: PathBuf,
    /// The log, where there is one.
    pub log: Option<LogOptions>,
    /// Whether the program's stdin is a pipe; otherwise /dev/null.
    #[serde(default)]
    pub stdin: bool,
    /// The signal of a stop that names none.
    #[serde(default = "sigterm")]
    pub stop_signal: i32,
    /// The time-out of a stop that names none, in seconds.
    #[serde(default = "ten")]
    pub stop_timeout: u32,
    /// Whether it is on networks: what to make of them comes after the Launch, while the container is being made.
    #[serde(default)]
    pub awaits_network: bool,
    /// A checkpoint to begin with, instead of the program.
    pub restore: Option<Terms>,
    /// Trees to remove when the container has ended.
    #[serde(default)]
    pub remove_on_exit: Vec<PathBuf>,
}

/// Layers of the root file system.
#[derive(Debug, Deserialize)]
pub struct Overlay {
    /// Topmost first.
    pub lowers: Vec<PathBuf>,
    /// Where writes go.
    pub upper: PathBuf,
    /// An empty directory beside it.
    pub work: PathBuf,
}

fn sigterm() -> i32 {
    libc::SIGTERM
}

fn ten() -> u32 {
    10
}

impl Launch {
    /// Reads the document.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let launch: Self = serde_json::from_slice(json).map_err(|error| {
            Error::new("LAUNCH_INVALID", format!("the Launch on fd 3 cannot be read: {error}"))
        })?;
        if !launch.run_directory.is_absolute() {
            return Err(Error::new("LAUNCH_INVALID", "runDirectory must be an absolute path"));
        }
        if launch.config.process.is_none() {
            return Err(Error::new("LAUNCH_INVALID", "config.process is missing: there is nothing to start"));
        }
        Ok(launch)
    }

    /// The network namespace of somebody else that it is to be in.
    pub fn shared_network(&self) -> Option<&Path> {
        let namespaces = &self.config.linux.as_ref()?.namespaces;
        let network = namespaces.iter().find(|namespace| namespace.kind == spec::NamespaceKind::Network)?;
        network.path.as_deref()
    }

    /// The root file system. `rootless`: the overlay is mounted by a user who is not root.
    pub fn rootfs(&self, rootless: bool) -> Result<Rootfs> {
        if let Some(Overlay { lowers, upper, work }) = &self.overlay {
            // An image of no layers: overlayfs wants a lower one, and there is nothing to lay anything over.
            if lowers.is_empty() {
                return Ok(Rootfs::Directory(upper.clone()));
            }
            return Ok(Rootfs::Overlay {
                lowers: lowers.clone(),
                upper: upper.clone(),
                work: work.clone(),
                userxattr: rootless,
            });
        }
        match &self.config.root {
            Some(root) if root.path.is_absolute() => Ok(Rootfs::Directory(root.path.clone())),
            _ => Err(Error::new(
                "LAUNCH_INVALID",
                "neither an overlay nor an absolute config.root.path is given",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_launch_has_dockers_defaults() {
        let json = br#"{"id":"a","config":{"process":{"args":["true"]}},"runDirectory":"/run/x","later":1}"#;
        let launch = Launch::parse(json).unwrap();
        assert_eq!((launch.stop_signal, launch.stop_timeout, launch.stdin), (libc::SIGTERM, 10, false));
        assert_eq!(launch.rootfs(false).unwrap_err().code, "LAUNCH_INVALID");
        assert!(launch.restore.is_none());
    }

    #[test]
    fn a_launch_may_begin_with_a_checkpoint() {
        let json = br#"{"config":{"process":{}},"runDirectory":"/run/x","restore":{"images":"/i","work":"/w","fileLocks":true}}"#;
        let terms = Launch::parse(json).unwrap().restore.unwrap();
        assert_eq!((terms.images, terms.work), ("/i".into(), Some("/w".into())));
        assert!(terms.file_locks && !terms.tcp_established);
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused() {
        for json in [
            "",
            "[]",
            r#"{"id":"a"}"#,
            r#"{"id":"a","config":{},"runDirectory":"/run/x"}"#,
            r#"{"id":"a","config":{"process":{}},"runDirectory":"relative"}"#,
            r#"{"id":"a","config":{"process":{}},"runDirectory":"/x","stopTimeout":-1}"#,
        ] {
            assert_eq!(Launch::parse(json.as_bytes()).unwrap_err().code, "LAUNCH_INVALID", "{json}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Launch::parse(deep.as_bytes()).unwrap_err().code, "LAUNCH_INVALID");
    }
}
