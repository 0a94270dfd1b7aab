//! The image `host:`: programs of this machine, with everything they need to start, as a deterministic tar.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::{Error, Result};

/// A file, link or directory of this machine that goes into the image under the same path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Source {
    /// Absolute, without symbolic links but perhaps the last name.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Seconds and nanoseconds since 1970, as `1700000000.000000001`: JavaScript's numbers are too short for it.
    pub mtime: String,
    /// Inode number.
    pub inode: u64,
}

/// Finds what `programs` (names in `$PATH`, or absolute paths) need, by reading ELF files and scripts; nothing is executed.
/// Sorted by path. `HOST_PROGRAM_NOT_FOUND` names what is missing.
pub fn resolve(programs: &[String]) -> Result<Vec<Source>> {
    Err(Error::new("HOST_PROGRAM_NOT_FOUND", format!("cannot find {programs:?} yet")))
}

/// Writes the image's one layer: `sources` as [`resolve`] gave them and a minimal `/etc`.
/// The same sources give the same bytes.
pub fn write_tar(sources: &[Source], out: impl Write) -> Result<()> {
    drop(out);
    Err(Error::new("HOST_UNREADABLE", format!("cannot write {} files yet", sources.len())))
}
