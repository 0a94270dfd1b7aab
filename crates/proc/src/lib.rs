//! A /proc of one's own: the only way in which labels, kernel parameters and the OOM score are written. "self" in it is
//! whoever uses it, and its sys/net, sys/kernel and sys/fs/mqueue are those of the user's own namespaces.
//!
//! A /proc that an image, a volume or the host's administrator has put something over is never asked (CVE-2019-16884,
//! CVE-2019-19921, CVE-2025-52881). And what the kernel remembers of the many namespaces that are looked at by one instance
//! makes every look by it longer: with five hundred containers by a third of a millisecond (Linux 6.18, `proc_sys_compare`).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd;

/// A handle of a /proc.
#[derive(Debug)]
pub struct Proc(OwnedFd);

impl Proc {
    /// An instance of one's own, not attached anywhere (every one has been another since Linux 5.8); whoever may not have
    /// one, as an ordinary user, gets the host's. `ENODEV`: that is no proc file system.
    pub fn open() -> nix::Result<Self> {
        instance().or_else(|_| host()).map(Self)
    }

    /// Reads a file of one line; what is beyond its first 256 bytes is left out.
    pub fn read(&self, path: &str) -> nix::Result<String> {
        let mut buffer = [0u8; 256];
        let length = unistd::read(self.open_file(path, libc::O_RDONLY)?, &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Writes a file in one go.
    pub fn write(&self, path: &str, value: &str) -> nix::Result<()> {
        let file = self.open_file(path, libc::O_WRONLY)?;
        match unistd::write(&file, value.as_bytes())? {
            length if length == value.len() => Ok(()),
            _ => Err(Errno::EIO),
        }
    }

    /// Nothing mounted over a part of /proc and no magic link is passed.
    fn open_file(&self, path: &str, flags: i32) -> nix::Result<OwnedFd> {
        const RULES: u64 = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_XDEV;
        let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
        // struct open_how: flags, mode, resolve.
        let how = [(flags | libc::O_CLOEXEC) as u64, 0, RULES];
        let at = self.0.as_fd().as_raw_fd();
        // SAFETY: `how` has the layout and the size of struct open_how, and `path` is a C string.
        owned(unsafe { libc::syscall(libc::SYS_openat2, at, path.as_ptr(), how.as_ptr(), size_of_val(&how)) })
    }
}

fn instance() -> nix::Result<OwnedFd> {
    let kind: &CStr = c"proc";
    // SAFETY: `kind` is a C string that outlives the call.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC) })?;
    let (fd, none) = (context.as_raw_fd(), ptr::null::<libc::c_char>());
    // SAFETY: this command takes no key and no value.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_fsconfig, fd, libc::FSCONFIG_CMD_CREATE, none, none, 0)
    })?;
    // SAFETY: no pointer is passed.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fd, libc::FSMOUNT_CLOEXEC, 0) })
}

fn host() -> nix::Result<OwnedFd> {
    let proc = open("/proc", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let is_proc = fstatfs(&proc).is_ok_and(|fs| fs.filesystem_type() == PROC_SUPER_MAGIC);
    if is_proc { Ok(proc) } else { Err(Errno::ENODEV) }
}

fn owned(result: libc::c_long) -> nix::Result<OwnedFd> {
    // SAFETY: the kernel has just given this descriptor to us and nobody else knows its number.
    Errno::result(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_and_written_by_whoever_has_it() {
        let proc = Proc::open().unwrap();
        assert_eq!(proc.read("self/comm").unwrap(), std::fs::read_to_string("/proc/self/comm").unwrap());
        let score = proc.read("self/oom_score_adj").unwrap();
        proc.write("self/oom_score_adj", score.trim()).unwrap();
        assert_eq!(proc.read("self/missing").unwrap_err(), Errno::ENOENT);
    }

    #[test]
    fn no_way_leads_out_of_it() {
        let proc = Proc::open().unwrap();
        for path in ["self/root/etc/passwd", "../etc/passwd", "/etc/passwd", "self/exe"] {
            assert!(matches!(proc.read(path), Err(Errno::EXDEV | Errno::ELOOP)), "{path}");
        }
    }

    /// Runs a test of this file again where a command has been carried out.
    fn after(command: &str, test: &str) {
        if !unistd::geteuid().is_root() {
            return;
        }
        let script = format!("{command} && exec \"$0\" --exact tests::{test} --ignored");
        let mut again = std::process::Command::new("unshare");
        again.args(["--mount", "sh", "-c", &script]).arg(std::env::current_exe().unwrap());
        let output = again.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
    }

    #[test]
    fn what_is_mounted_over_the_hosts_is_not_seen() {
        after("mount -t tmpfs none /proc", "covered");
        after("mount --bind /etc/passwd /proc/version", "covered_in_part");
    }

    #[test]
    #[ignore = "run by the test above, without a /proc"]
    fn covered() {
        assert!(Proc::open().unwrap().read("version").unwrap().starts_with("Linux"));
        assert_eq!(host().unwrap_err(), Errno::ENODEV);
    }

    #[test]
    #[ignore = "run by the test above, where something lies over /proc/version"]
    fn covered_in_part() {
        assert!(Proc::open().unwrap().read("version").unwrap().starts_with("Linux"));
        // Who has no instance of his own asks nobody instead.
        assert_eq!(Proc(host().unwrap()).read("version").unwrap_err(), Errno::EXDEV);
    }
}
