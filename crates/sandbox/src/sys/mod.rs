//! Safe wrappers of the system calls that nix does not have. Nothing here knows what a container is.

pub(crate) mod mount;
pub(crate) mod open;
pub(crate) mod process;

use nix::errno::Errno;

/// The kernel's −1 as an error.
fn check(result: libc::c_long) -> nix::Result<libc::c_long> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}
