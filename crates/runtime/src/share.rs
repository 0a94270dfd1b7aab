//! `share`: files of new layers that others have alike become one file. As an ordinary user it links what only its user
//! namespace owns.

use std::ffi::OsString;
use std::os::fd::{FromRawFd, OwnedFd};

use kapsel_storage::share::{Newcomer, Saved, share};

use crate::ExitCode;
use crate::error::{Error, Result};
use crate::{document, output, rootless};

/// `kapsel-runtime share`: fd 3: a list of [`Newcomer`]; stdout: a [`Saved`], of all of them.
pub fn run(_arguments: &[OsString]) -> Result<ExitCode> {
    // SAFETY: no pointer is passed.
    if unsafe { libc::fcntl(3, libc::F_GETFD) } < 0 {
        return Err(Error::new(
            "USAGE",
            "fd 3, the document, is not open: `share` is started by kapsel, not by hand",
        ));
    }
    rootless::enter()?;
    // SAFETY: the descriptor is open, as tested above, and nobody else in this process has it.
    let json = document::read(unsafe { OwnedFd::from_raw_fd(3) })?;
    let newcomers: Vec<Newcomer> = serde_json::from_slice(&json).map_err(|error| {
        Error::new("SHARE_INVALID", format!("the document on fd 3 cannot be read: {error}"))
    })?;
    let mut all = Saved::default();
    for newcomer in &newcomers {
        let saved = share(newcomer)?;
        all.files += saved.files;
        all.bytes += saved.bytes;
    }
    output(&all)
}
