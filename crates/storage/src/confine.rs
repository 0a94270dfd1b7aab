//! What makes a process fit to parse hostile bytes: nothing but the target in sight, and no right it does not need.
//! Whoever takes over the parser can write in the layer being unpacked, which was theirs anyway, and nothing else.

mod filter;

use std::path::Path;

use nix::errno::Errno;

use crate::error::{Error, Result};

/// Capability numbers of linux/capability.h: what unpacking a layer takes.
const CHOWN: u32 = 0;
const DAC_OVERRIDE: u32 = 1;
const FOWNER: u32 = 3;
const FSETID: u32 = 4;
/// For `trusted.*` extended attributes, overlayfs's among them. The filter withholds all else it would allow.
const SYS_ADMIN: u32 = 21;
const MKNOD: u32 = 27;
const SETFCAP: u32 = 31;

/// Confines this process, for good, to `dir`: it becomes `/` and the working directory; fds from `keep` up are closed;
/// capabilities but those that unpacking needs are dropped; no_new_privs and a system call filter are set.
/// Call it while there is one thread. `rootless` as in [`crate::unpack::Options`].
pub fn confine(dir: &Path, rootless: bool, keep: u32) -> Result<()> {
    let refused = |what: &str, errno: Errno| {
        Error::io(
            "CONFINE_FAILED",
            format!("cannot {what} to work in '{}' alone", dir.display()),
            &errno.into(),
        )
    };
    nix::unistd::chroot(dir).map_err(|errno| refused("change the root directory", errno))?;
    // Without it the old root stays in reach through the working directory.
    nix::unistd::chdir("/").map_err(|errno| refused("change the working directory", errno))?;
    // SAFETY: an fd somebody in this process still owns would then name nothing: the caller has given them up.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, keep, u32::MAX, 0u32) };
    Errno::result(closed).map_err(|errno| refused("close file descriptors", errno))?;
    let capabilities: &[u32] = match rootless {
        true => &[CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETFCAP],
        false => &[CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETFCAP, MKNOD, SYS_ADMIN],
    };
    // The bounding set stays: it matters to execve alone, which the filter refuses.
    drop_capabilities(capabilities).map_err(|errno| refused("drop capabilities", errno))?;
    // SAFETY: takes numbers only.
    let no_new_privs = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    Errno::result(no_new_privs).map_err(|errno| refused("set no_new_privs", errno))?;
    filter::install().map_err(|errno| refused("set a system call filter", errno))
}

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`, of which version 3 has two.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn drop_capabilities(keep: &[u32]) -> nix::Result<()> {
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 of the call reads and writes exactly these two structures.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let mask = keep.iter().fold(0, |mask, capability| mask | 1u32 << capability);
    for (half, mask) in data.iter_mut().zip([mask, 0]) {
        half.permitted &= mask;
        half.effective = half.permitted;
        half.inheritable = 0;
    }
    // SAFETY: as above.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}
