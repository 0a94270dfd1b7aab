//! The file in which a caller reads a process's id: whole, or not there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Writes it beside its place and moves it there.
pub fn write(path: &Path, pid: i32) -> Result<()> {
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    let new: PathBuf = path.with_file_name(hidden);
    let written = fs::write(&new, pid.to_string()).and_then(|()| fs::rename(&new, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        Error::io(format_args!("cannot write the pid file {}", path.display()), &error)
    })
}
