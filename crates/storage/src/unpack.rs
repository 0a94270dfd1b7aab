//! A stream → a tree. Owns the order of things; the tar format, the threads and the file system have files of their own.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::extract::Extractor;
use crate::stream::Stream;
use crate::tar::{Event, Reader, TarError};

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
/// `recipe` gets what is needed beside the tree to have the tar again ([`crate::layer`]).
/// On an error the directory holds a part: the caller removes it.
/// Reading happens on a thread of its own, which an error leaves behind if `input` blocks.
///
/// Codes: `LAYER_TRUNCATED`, `LAYER_CORRUPT`, `LAYER_INVALID`, `LAYER_ESCAPES`, `LAYER_DEVICE`, `LAYER_LIMIT`,
/// `COMPRESSION_UNSUPPORTED`, `DIGEST_MISMATCH`, `DIFF_ID_MISMATCH`, `DISK_FULL`, `TARGET_NOT_EMPTY`, `UNPACK_FAILED`.
pub fn unpack(
    input: impl Read + Send + 'static,
    options: &Options,
    recipe: Option<File>,
) -> Result<Unpacked> {
    let mut tree = Extractor::open(options, recipe)?;
    let mut stream = Stream::start(input, options.limits.unpacked_size)?;
    let mut tar = Reader::default();
    let (mut entries, mut declared) = (0, 0u64);
    while let Some(chunk) = stream.next()? {
        let mut bytes = &chunk[..];
        loop {
            let before = bytes;
            let event = tar.next(&mut bytes)?;
            let taken = &before[..before.len() - bytes.len()];
            // Data comes by itself: whatever else was taken is the tar's own.
            if !matches!(event, Some(Event::Data { .. })) {
                tree.skipped(taken)?;
            }
            let Some(event) = event else { break };
            match event {
                Event::Entry(entry) => {
                    entries += 1;
                    declared = declared.saturating_add(entry.size);
                    check(entries, declared, &options.limits)?;
                    tree.entry(entry)?;
                }
                Event::Data { offset, bytes } => tree.data(offset, bytes)?,
                Event::EntryEnd => tree.entry_end()?,
            }
        }
    }
    tar.finish()?;
    tree.finish()?;
    let (verdict, compression) = stream.finish()?;
    expect("DIGEST_MISMATCH", "layer", options.digest, verdict.digest)?;
    expect("DIFF_ID_MISMATCH", "layer's tar", options.diff_id, verdict.diff_id)?;
    Ok(Unpacked {
        digest: verdict.digest,
        size: verdict.size,
        diff_id: verdict.diff_id,
        unpacked_size: verdict.unpacked_size,
        entries,
        media_type: compression.media_type(),
    })
}

fn check(entries: u64, declared: u64, limits: &Limits) -> Result<()> {
    let text = if entries > limits.entries {
        format!("the layer has more than {} entries", limits.entries)
    } else if declared > limits.unpacked_size {
        format!("the layer's files have more than {} bytes together", limits.unpacked_size)
    } else {
        return Ok(());
    };
    Err(Error::new("LAYER_LIMIT", text + ", which is not allowed"))
}

fn expect(code: &'static str, what: &str, expected: Option<Digest>, found: Digest) -> Result<()> {
    match expected {
        Some(expected) if expected != found => {
            let text = format!(
                "the {what} is {found}, not {expected}: it was changed or damaged on its way, fetch it again"
            );
            Err(Error::new(code, text))
        }
        _ => Ok(()),
    }
}

impl From<TarError> for Error {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Truncated(text) => Error::new("LAYER_TRUNCATED", text + ": fetch it again"),
            TarError::Invalid(text) => Error::new("LAYER_INVALID", text),
            TarError::Limit(text) => Error::new("LAYER_LIMIT", text),
        }
    }
}
