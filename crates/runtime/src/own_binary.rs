//! The executable's own file, kept from the containers it starts (CVE-2019-5736).
//!
//! A program in a container may be `/proc/self/exe`, or begin with `#!/proc/self/exe`: then this executable runs in
//! there, and another process of the container can open `/proc/PID/exe` for writing, which is the host's file. So
//! we run from a clone of the file's mount that is read-only, is in no mount namespace and so cannot be changed by
//! anybody: opening it for writing is EROFS. The engine starts us that way; started otherwise, we execute ourselves again,
//! once. It costs one execve, where a sealed copy in memory would cost the size of the executable for each container.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use crate::error::{Error, Result};

/// argv[0] of the second execution: it is not tried a third time.
const PROTECTED: &str = "kapsel-runtime (read-only)";

/// Returns if nobody can write our file through /proc/PID/exe; executes us again from a read-only mount otherwise.
pub fn protect() -> Result<()> {
    let failed = |error: io::Error| Error {
        code: "EXECUTABLE_UNPROTECTED".to_owned(),
        ..Error::io("cannot run from a read-only mount of the own executable (Linux 5.12 is needed)", &error)
    };
    if is_protected() {
        return Ok(());
    }
    if std::env::args_os().next().is_some_and(|name| name == PROTECTED) {
        return Err(failed(io::Error::from_raw_os_error(libc::EROFS)));
    }
    Err(failed(execute_again(&read_only_clone().map_err(failed)?)))
}

/// Whether our file cannot be written through /proc/PID/exe: it is on a read-only mount (EROFS), belongs to nobody that
/// a container of ours can be (EACCES: an ordinary user, a file of root's), or is a sealed copy in memory.
fn is_protected() -> bool {
    let path = c"/proc/self/exe".as_ptr();
    // SAFETY: the path ends with a NUL byte.
    let result =
        unsafe { libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path, libc::W_OK, libc::AT_EACCESS) };
    if result < 0 {
        return matches!(io::Error::last_os_error().raw_os_error(), Some(libc::EROFS | libc::EACCES));
    }
    File::open("/proc/self/exe").is_ok_and(|executable| {
        // SAFETY: no pointer is passed.
        let seals = unsafe { libc::fcntl(executable.as_raw_fd(), libc::F_GET_SEALS) };
        seals >= 0 && seals & libc::F_SEAL_WRITE != 0
    })
}

/// Our file as a mount of its own, attached nowhere.
fn read_only_clone() -> io::Result<OwnedFd> {
    const OPEN_TREE_CLONE: u32 = 1;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC as u32;
    // SAFETY: the path ends with a NUL byte.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, c"/proc/self/exe".as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and nobody else has it.
    let mount = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path ends with a NUL byte; `attributes` is as large as the kernel is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(mount) }
}

/// execve of an open file with our arguments and environment; returns only if it fails.
fn execute_again(file: &OwnedFd) -> io::Error {
    let text = |text: OsString| CString::new(text.into_vec()).unwrap_or_default();
    let arguments: Vec<CString> =
        std::iter::once(OsString::from(PROTECTED)).chain(std::env::args_os().skip(1)).map(text).collect();
    let environment: Vec<CString> = std::env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            text(name)
        })
        .collect();
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&arguments), pointers(&environment));
    // SAFETY: the path and all strings end with NUL bytes, both arrays with a null pointer, and all outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}
