//! A stream → a tree. Owns the order of things; the tar format, the threads and the file system have files of their own.

use std::io::Read;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::{Error, Result};

/// What kind of tar it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A file system layer: owners, xattrs, devices, whiteouts.
    Layer,
    /// The outer archive of `docker save` or an OCI layout: files, directories and links only, owned by the caller.
    Archive,
}

/// What is too much. Each has a default far above what images need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Number of entries.
    pub entries: u64,
    /// Bytes of the tar once decompressed; also what all files may declare together.
    pub unpacked_size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: 16 << 20, unpacked_size: 1 << 40 }
    }
}

/// What to unpack and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// An empty directory. After [`crate::confine::confine`] it is `/`.
    pub into: PathBuf,
    /// Layer or archive.
    pub mode: Mode,
    /// What the bytes of the stream must hash to.
    pub digest: Option<Digest>,
    /// What the tar in it must hash to.
    pub diff_id: Option<Digest>,
    /// In a user namespace: `user.overlay.*` marks, no devices, owners that cannot be had are remembered in an xattr.
    pub rootless: bool,
    /// What is too much.
    pub limits: Limits,
}

/// What was unpacked; its JSON is what the `unpack` verb answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unpacked {
    /// Of the stream as it came.
    pub digest: Digest,
    /// Bytes of the stream as it came.
    pub size: u64,
    /// Of the tar.
    pub diff_id: Digest,
    /// Bytes of the tar.
    pub unpacked_size: u64,
    /// Number of entries.
    pub entries: u64,
    /// The OCI media type of such a layer, by what the bytes are.
    pub media_type: &'static str,
}

/// Unpacks `input` into `options.into`, and reads it to its end whatever the tar says.
/// On an error the directory holds a part: the caller removes it.
/// Reading happens on a thread of its own, which an error leaves behind if `input` blocks.
pub fn unpack(input: impl Read + Send + 'static, options: &Options) -> Result<Unpacked> {
    drop(input);
    Err(Error::new("UNPACK_FAILED", format!("cannot unpack into '{}' yet", options.into.display())))
}
