//! The host's /proc, opened before anything of the container exists: the only way in which labels, kernel parameters
//! and the OOM score are written. A /proc that an image or a volume forged is never asked (CVE-2019-16884,
//! CVE-2019-19921, CVE-2025-52881). "self" in it is whoever uses it, and its sys/net, sys/kernel and sys/fs/mqueue are
//! those of the user's own namespaces.

use std::{ffi::CString, os::fd::OwnedFd};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{stat::Mode, statfs::PROC_SUPER_MAGIC},
    unistd::write,
};

use crate::{
    Error,
    error::{At, Stage},
    resolve::is_on,
    sys::open::openat2,
};

/// A handle of the host's /proc.
pub(crate) struct Proc(OwnedFd);

impl Proc {
    /// Opens it.
    pub(crate) fn open() -> Result<Self, Error> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let proc = open("/proc", flags, Mode::empty()).at(Stage::Kernel, || "cannot open /proc")?;
        if !is_on(&proc, PROC_SUPER_MAGIC) {
            return Err(Error::new(Stage::Kernel, libc::ENODEV, "/proc of the host is no proc file system"));
        }
        Ok(Self(proc))
    }

    /// Reads a file of one line.
    pub(crate) fn read(&self, path: &str) -> nix::Result<String> {
        let mut buffer = [0u8; 256];
        let length = nix::unistd::read(self.open_file(path, libc::O_RDONLY)?, &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Nothing mounted over a part of /proc and no magic link is passed.
    fn open_file(&self, path: &str, flags: i32) -> nix::Result<OwnedFd> {
        const RULES: u64 = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_XDEV;
        openat2(&self.0, &CString::new(path).map_err(|_| Errno::EINVAL)?, flags, 0, RULES)
    }

    /// Writes a file in one go.
    pub(crate) fn write(&self, path: &str, value: &str) -> nix::Result<()> {
        let file = self.open_file(path, libc::O_WRONLY)?;
        match write(&file, value.as_bytes())? {
            length if length == value.len() => Ok(()),
            _ => Err(Errno::EIO),
        }
    }
}
