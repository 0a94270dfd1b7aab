//! The OCI runtime specification 1.3, Linux, as serde types: the part a sandbox carries out.
//!
//! Names are the specification's in camelCase; unknown fields are ignored, as it asks ("Extensibility").
//! `linux.resources` belongs to the cgroup room and `linux.seccomp` to the seccomp room.

mod linux;
mod process;
mod state;

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use linux::{
    Device, IdMapping, IntelRdt, Linux, MemoryPolicy, Namespace, NamespaceKind, NetDevice, Personality,
    TimeOffset,
};
pub use process::{
    Box as TerminalBox, Capabilities, CpuAffinity, IoPriority, Process, Rlimit, Scheduler, User,
};
pub use state::{State, Status};

/// The version of the specification that this crate follows.
pub const VERSION: &str = "1.3.0";

/// `config.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Config {
    /// Version of the specification that the document follows.
    pub oci_version: String,
    /// The program; absent only in a container that is created and never started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// The container's host name (needs a new UTS namespace).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The container's NIS domain name (needs a new UTS namespace).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// What is mounted, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// What runs at the points of the container's life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Free text for callers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Everything that only Linux has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
}

/// `root`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Root {
    /// The directory, absolute or relative to the bundle.
    pub path: PathBuf,
    /// Whether the root is mounted read-only.
    pub readonly: bool,
}

/// One of `mounts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Mount {
    /// Where, an absolute path in the container.
    pub destination: PathBuf,
    /// File system type; `bind` or absent for a bind mount.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What: a path of the host for a bind mount, a word otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Options of mount(8).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// User ids of the source as the container sees them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of the source as the container sees them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
}

impl Mount {
    /// Whether it shows a directory or file of the host.
    pub fn is_bind(&self) -> bool {
        matches!(self.kind.as_deref(), None | Some("bind" | "none"))
            || self.options.iter().any(|option| option == "bind" || option == "rbind")
    }
}

/// `hooks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hooks {
    /// Deprecated: with `createRuntime`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prestart: Vec<Hook>,
    /// In the runtime's namespaces, after the container's exist and before its root is entered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before its root is entered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub create_container: Vec<Hook>,
    /// In the container, before the program.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub start_container: Vec<Hook>,
    /// In the runtime's namespaces, after the program has started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// In the runtime's namespaces, after the container is deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// None at all.
    pub const NONE: Self = Self {
        prestart: Vec::new(),
        create_runtime: Vec::new(),
        create_container: Vec::new(),
        start_container: Vec::new(),
        poststart: Vec::new(),
        poststop: Vec::new(),
    };

    /// Whether any is run by the one that makes the container or by its first process.
    pub(crate) fn any_in_creation(&self) -> bool {
        let all = [&self.prestart, &self.create_runtime, &self.create_container, &self.start_container];
        all.into_iter().any(|hooks| !hooks.is_empty())
    }
}

/// One hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hook {
    /// The program.
    pub path: PathBuf,
    /// Its arguments, the first one being its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its environment, `NAME=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Seconds until it is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}
