//! The image `host:`: programs of this machine, with everything they need to start, as a deterministic tar.
//! Nothing is executed to find out: ELF files, scripts and the loader's cache are read as they are.

mod elf;
mod loader;
mod needs;
mod skeleton;
mod tree;

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};

/// A file or link of this machine that goes into the image under the same path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Source {
    /// Absolute, without symbolic links but perhaps the last name.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Seconds and nanoseconds since 1970, as `1700000000.000000001`: JavaScript's numbers are too short for it.
    pub mtime: String,
    /// Inode number; 0 of a link that is the image's own.
    pub inode: u64,
    /// Where a symbolic link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<PathBuf>,
}

/// Finds what `programs` need: names in `$PATH`, or absolute paths of programs, other files, or directories.
/// Sorted by path. `HOST_PROGRAM_NOT_FOUND` and `HOST_LIBRARY_NOT_FOUND` name what is missing.
pub fn resolve(programs: &[String]) -> Result<Vec<Source>> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    needs::resolve(programs, &std::env::split_paths(&path).collect::<Vec<_>>())
}

/// Writes the image's one layer: `sources` as [`resolve`] gave them and a minimal root file system around them.
/// The same sources give the same bytes. `HOST_CHANGED` where a file is no more what it was.
pub fn write_tar(sources: &[Source], out: impl Write) -> Result<()> {
    skeleton::write_tar(sources, out)
}

/// Docker's PATH of an image that sets none: what will be searched in the container.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn unreadable(path: &Path, cause: &std::io::Error) -> Error {
    Error::io("HOST_UNREADABLE", format!("cannot read '{}' for the host image", path.display()), cause)
}
