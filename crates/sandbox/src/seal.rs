//! The runtime's executable cannot be changed from inside a container (CVE-2019-5736).
//!
//! A container reaches it as /proc/PID/exe: by running `/proc/self/exe` or a script with that interpreter, or by looking
//! at the init. That it is busy is no defence: modes and owners of busy files can be changed, and Linux 6.11 lets them be
//! written. So it is executed through a read-only mount that belongs to no namespace and vanishes with its descriptor:
//! nobody can make that one writable again. No copy, no memory.

use std::{
    ffi::CString,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::PathBuf,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open, readlink},
    sys::{
        stat::{Mode, fstat, stat},
        statvfs::{FsFlags, statvfs},
    },
};

use crate::{
    Error,
    error::{At, Stage},
    program::pointers,
    resolve::c_path,
    sys::mount::{Attributes, clone_tree, set_attributes},
};

const SELF: &str = "/proc/self/exe";

/// Sees to it that this process's executable is sealed, executing it again if it is not. To be called early in `main`,
/// with CAP_SYS_ADMIN (for a user who is not root: after [`crate::userns::enter`]). Who starts the process through such
/// a mount saves the second execution.
pub fn seal() -> Result<(), Error> {
    if is_sealed() {
        return Ok(());
    }
    let sealed = executable()?;
    let words: Vec<CString> =
        std::env::args_os().filter_map(|word| CString::new(word.into_vec()).ok()).collect();
    let words = pointers(&words);
    // SAFETY: the path is an empty C string, the words are C strings and end in null, and the environment is libc's own,
    // which this process, having one thread, does not change meanwhile.
    unsafe {
        let (file, path) = (sealed.as_raw_fd(), c"".as_ptr());
        libc::syscall(libc::SYS_execveat, file, path, words.as_ptr(), environ, libc::AT_EMPTY_PATH);
    }
    Err(Error::system(Stage::Init, Errno::last(), "cannot execute the runtime through a read-only mount"))
}

unsafe extern "C" {
    static environ: *const *const libc::c_char;
}

/// This process's executable, as a file that nobody can change through it.
pub(crate) fn executable() -> Result<OwnedFd, Error> {
    let what = || "cannot open the runtime's own executable";
    if is_sealed() {
        return open(SELF, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).at(Stage::Init, what);
    }
    // By its path: the file is open through the mount of the namespace in which the process was started, and only what
    // is mounted in the present one can be copied. So it must be shown to be the same.
    let path = c_path(&readlink(SELF).map(PathBuf::from).at(Stage::Init, what)?).at(Stage::Init, what)?;
    let tree = clone_tree(None, &path, false).at(Stage::Init, what)?;
    let (own, other) = (stat(SELF).at(Stage::Init, what)?, fstat(&tree).at(Stage::Init, what)?);
    if (own.st_dev, own.st_ino) != (other.st_dev, other.st_ino) {
        return Err(Error::system(
            Stage::Init,
            Errno::ESTALE,
            "the runtime's own executable was replaced meanwhile",
        ));
    }
    let set = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    set_attributes(&tree, false, Attributes { set, ..Attributes::default() }).at(Stage::Init, what)?;
    Ok(tree)
}

fn is_sealed() -> bool {
    statvfs(SELF).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY)) || is_sealed_copy()
}

/// Whether it is a sealed copy in memory (memfd_create(2)), which is what a caller can make who may not clone mounts.
fn is_sealed_copy() -> bool {
    let Ok(file) = open(SELF, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) else { return false };
    fcntl(&file, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SealFlag::F_SEAL_WRITE))
}
