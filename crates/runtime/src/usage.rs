//! `usage`: what trees take of the disk and what their removal would free. As an ordinary user it sees what only its user
//! namespace may read.

use std::ffi::OsString;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;

use kapsel_storage::usage::measure;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::{ExitCode, document, output, rootless};

/// fd 3.
#[derive(Deserialize)]
struct Request {
    /// Trees that would go together.
    sets: Vec<Vec<PathBuf>>,
}

/// `kapsel-runtime usage`: a `{"size","freed"}` for each set.
pub fn run(_arguments: &[OsString]) -> Result<ExitCode> {
    // SAFETY: no pointer is passed.
    if unsafe { libc::fcntl(3, libc::F_GETFD) } < 0 {
        return Err(Error::new(
            "USAGE",
            "fd 3, the document, is not open: `usage` is started by kapsel, not by hand",
        ));
    }
    rootless::enter()?;
    // SAFETY: the descriptor is open, as tested above, and nobody else in this process has it.
    let json = document::read(unsafe { OwnedFd::from_raw_fd(3) })?;
    let request: Request = serde_json::from_slice(&json).map_err(|error| {
        Error::new("USAGE_INVALID", format!("the document on fd 3 cannot be read: {error}"))
    })?;
    output(&measure(&request.sets)?)
}
