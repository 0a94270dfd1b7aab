//! `state`: where a container is in its life (runtime.md, "Query State").

use std::path::PathBuf;

use kapsel_sandbox::spec::{State, Status};
use serde::Serialize;

use super::Context;
use super::arguments::Arguments;
use super::container::{self, look};
use super::store::Record;
use crate::ExitCode;
use crate::error::{Error, Result};
use crate::print;

/// The specification's document and what runc adds to it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    oci_version: String,
    /// The container's id.
    pub id: String,
    /// 0 where there is no process: callers expect the member.
    pub pid: i32,
    /// Where it is in its life.
    pub status: Status,
    /// Its bundle.
    pub bundle: PathBuf,
    rootfs: PathBuf,
    /// When it was created.
    pub created: String,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: std::collections::BTreeMap<String, String>,
    /// The name of the user whose it is.
    pub owner: String,
}

impl Report {
    /// On a container; `owner`: the id of the user whose its directory is.
    pub fn new(record: Record, status: Status, owner: Option<u32>) -> Self {
        let State { oci_version, id, status, pid, bundle, annotations } = container::state(&record, status);
        let Record { rootfs, created, .. } = record;
        Self { oci_version, id, pid, status, bundle, rootfs, created, annotations, owner: user_name(owner) }
    }
}

/// `state ID`.
pub fn state(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let id = arguments.id()?;
    let (record, status) = look(&context.store, id)?;
    let report = Report::new(record, status, context.store.owner(id));
    let mut text =
        serde_json::to_vec_pretty(&report).map_err(|error| Error::new("OUTPUT", error.to_string()))?;
    text.push(b'\n');
    print(&text)
}

/// From /etc/passwd; the number where it has none.
fn user_name(uid: Option<u32>) -> String {
    let Some(uid) = uid else { return String::new() };
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}
