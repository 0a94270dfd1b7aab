//! The working directory: inside the root, whatever the image's links say.

use std::path::Path;

use nix::unistd::{fchdir, getcwd};

use crate::{
    Error,
    error::{At, Stage},
    resolve::{Kind, Root},
};

/// Goes there; `make`: making it where it is missing, as a first program's is. A magic link (/proc/self/fd/N) is refused by the kernel: such a directory
/// is one of the host's that somebody forgot to close (CVE-2024-21626).
pub(crate) fn enter(root: &Root, path: &Path, make: bool) -> Result<(), Error> {
    if !path.is_absolute() {
        return Err(Error::config(format!("process.cwd {:?} must be an absolute path", path.display())));
    }
    let directory = match make {
        true => root.make(path, Kind::Directory),
        false => root.open(path, libc::O_PATH),
    };
    directory
        .and_then(fchdir)
        .at(Stage::Directory, || format!("cannot change to the working directory {}", path.display()))
}

/// Whether the kernel agrees that we are inside: it says "(unreachable)" of a directory that is not below the root.
pub(crate) fn verify() -> Result<(), Error> {
    match getcwd() {
        Ok(path) if path.is_absolute() => Ok(()),
        _ => Err(Error::new(
            Stage::Directory,
            libc::ENOENT,
            "the working directory is outside of the container's root",
        )),
    }
}
