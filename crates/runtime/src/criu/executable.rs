//! A container whose first process is our own init has our executable mapped, which is not in the container. A restore
//! puts its own there, if that is the very same.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use kapsel_storage::Digest;

use super::mountinfo::Mounted;
use super::streams;
use crate::error::{Error, Result};

/// What a container has of us: its name for CRIU, and its digest.
pub type Ours = [String; 2];

/// The executable of a container's first process, where it is not in the container.
pub fn of(pid: i32, inside: &[Mounted]) -> Result<Option<Ours>> {
    let path = format!("/proc/{pid}/exe");
    let look = || -> io::Result<Option<Ours>> {
        let file = File::open(&path)?;
        let (mount, inode) = streams::place(file.as_fd())?;
        let is_inside = inside.iter().any(|mounted| mounted.id == mount);
        if is_inside { Ok(None) } else { Ok(Some([streams::file_name(mount, inode), digest(file)?])) }
    };
    look().map_err(|error| Error::io(format_args!("cannot look at {path}"), &error))
}

/// Our own, in its place.
pub fn own([name, wanted]: &Ours) -> Result<(String, OwnedFd)> {
    let open = || File::open("/proc/self/exe");
    let failed = |error| Error::io("cannot read our own executable", &error);
    if open().and_then(digest).map_err(failed)? != *wanted {
        let message =
            "the container's init is of another build of kapsel, and can only be restored by that one";
        return Err(Error::new("CRIU_UNSUPPORTED", message));
    }
    Ok((name.clone(), open().map_err(failed)?.into()))
}

fn digest(mut file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Digest::of(&bytes).to_string())
}
