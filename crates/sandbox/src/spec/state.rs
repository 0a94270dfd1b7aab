//! The state of a container (runtime.md, "State"): what `state` prints and hooks read.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// The document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification that the state follows.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Where it is in its life.
    pub status: Status,
    /// Its first process, in the runtime's PID namespace; 0 where there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pid: i32,
    /// The absolute path of its bundle.
    pub bundle: PathBuf,
    /// Those of the config.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being made.
    Creating,
    /// Everything is ready but the program has not been started.
    Created,
    /// The program runs.
    Running,
    /// The program is frozen; not of the specification, but of every runtime.
    Paused,
    /// Its first process has ended.
    Stopped,
}

fn is_zero(pid: &i32) -> bool {
    *pid == 0
}
