//! How the executable is reached: never by a descriptor or a mount through which a container could write to it.
//!
//! A container's process can find the executable as /proc/self/exe and open it for writing once nobody runs it any
//! more (CVE-2019-5736). So what is executed is not the installed file but, as root, the same file on a detached
//! read-only clone of its mount, which nobody can remount because it is in no mount namespace; where that is not
//! allowed and the file is one this user could write to, a sealed copy in memory.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, F_ADD_SEALS, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, stat};
use nix::unistd::{AccessFlags, faccessat, geteuid};

use crate::descriptors::errno_of;
use crate::outcome::Failure;

static REACHED: Mutex<Option<HashMap<CString, OwnedFd>>> = Mutex::new(None);

/// A descriptor (close-on-exec) to execute `path` by, made once per process and handed to `use_it` under a lock.
pub fn with<T>(path: &CStr, use_it: impl FnOnce(&OwnedFd) -> Result<T, Failure>) -> Result<T, Failure> {
    let mut reached = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
    let reached = reached.get_or_insert_default();
    if let Some(fd) = reached.get(path) {
        return use_it(fd);
    }
    let fd =
        reach(path).map_err(|errno| Failure::system(&format!("open {}", path.to_string_lossy()), errno))?;
    use_it(reached.entry(path.to_owned()).or_insert(fd))
}

fn reach(path: &CStr) -> nix::Result<OwnedFd> {
    match read_only_clone(path) {
        // Not privileged, an older kernel, or a seccomp filter around us.
        Err(Errno::EPERM | Errno::EACCES | Errno::ENOSYS | Errno::EINVAL) => {}
        other => return other,
    }
    // Of one's own file, that it cannot be written is a mode that can be changed.
    let is_own = stat(path)?.st_uid == geteuid().as_raw();
    match faccessat(AT_FDCWD, path, AccessFlags::W_OK, AtFlags::AT_EACCESS) {
        Err(error) if error != Errno::ETXTBSY && !is_own => {
            open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        }
        _ => sealed_copy(path),
    }
}

fn read_only_clone(path: &CStr) -> nix::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: open_tree(2), Linux 5.2: reads a string and returns a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let fd = i32::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: it is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: mount_setattr(2), Linux 5.12: reads an empty string and a structure of the size it is told.
    let changed = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(changed).map(|_| fd)
}

fn sealed_copy(path: &CStr) -> nix::Result<OwnedFd> {
    let mut source = File::from(open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
    let name = path.to_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let name = CString::new(name).unwrap_or_default();
    let mut copy = File::from(memfd_create(&*name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    io::copy(&mut source, &mut copy).map_err(|error| errno_of(&error))?;
    let seals =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&copy, F_ADD_SEALS(seals))?;
    // A descriptor that could write keeps the file from being executed (ETXTBSY).
    open(
        format!("/proc/self/fd/{}", copy.as_raw_fd()).as_str(),
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}
