//! `compare`: what differs between the trees that two stacks of layers make, a JSON line each. As an ordinary user it sees
//! what only its user namespace may read.

use std::ffi::OsString;
use std::io::{BufWriter, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;

use kapsel_storage::compare::compare;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::{ExitCode, document, rootless};

/// fd 3: directories, topmost first.
#[derive(Deserialize)]
struct Request {
    first: Vec<PathBuf>,
    second: Vec<PathBuf>,
    /// Whether times that differ make a difference.
    #[serde(default)]
    times: bool,
}

/// `kapsel-runtime compare`.
pub fn run(_arguments: &[OsString]) -> Result<ExitCode> {
    // SAFETY: no pointer is passed.
    if unsafe { libc::fcntl(3, libc::F_GETFD) } < 0 {
        return Err(Error::new(
            "USAGE",
            "fd 3, the document, is not open: `compare` is started by kapsel, not by hand",
        ));
    }
    rootless::enter()?;
    // SAFETY: the descriptor is open, as tested above, and nobody else in this process has it.
    let json = document::read(unsafe { OwnedFd::from_raw_fd(3) })?;
    let request: Request = serde_json::from_slice(&json).map_err(|error| {
        Error::new("COMPARE_INVALID", format!("the document on fd 3 cannot be read: {error}"))
    })?;
    let failed =
        |error: std::io::Error| kapsel_storage::Error::io("OUTPUT", "cannot write to stdout", &error);
    let mut output = BufWriter::new(std::io::stdout().lock());
    compare(&request.first, &request.second, request.times, &mut |difference| {
        let line = serde_json::to_vec(&difference).map_err(|error| failed(error.into()))?;
        output.write_all(&line).and_then(|()| output.write_all(b"\n")).map_err(failed)
    })?;
    output.flush().map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}
