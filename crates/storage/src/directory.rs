//! What is in a directory.

use std::os::fd::OwnedFd;

use nix::dir::Dir;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

/// Its names, sorted, without "." and "..".
pub fn names(directory: &OwnedFd) -> nix::Result<Vec<Vec<u8>>> {
    // A description of its own: two readers of one would share the position.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listed = Dir::from_fd(openat(directory, ".", flags, Mode::empty())?)?;
    let mut names = Vec::new();
    for entry in listed.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
