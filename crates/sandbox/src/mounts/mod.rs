//! The container's mounts as a list of small operations: built first, by the parent; carried out in one loop, by the
//! child.
//!
//! Three moments. *Build*, outside: every bind source becomes a detached tree, so that no path of the host is looked up
//! later. *Create*, in the child's namespaces while the host is still visible (a /proc or /sys in a user namespace may
//! only be made where a whole one is seen): every file system becomes a detached mount. *Attach*, after pivot_root: each
//! tree is put on a place that the kernel resolved inside the container, with nothing of the host left to be reached.

mod build;
mod cgroup;
mod options;

use std::{
    ffi::CString,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{errno::Errno, sys::statfs::PROC_SUPER_MAGIC};

pub(crate) use build::{Builder, clean};
pub(crate) use options::Options;
pub use options::mount_options;

use crate::{
    Error,
    copy_up::copy_up,
    error::{At, Stage},
    namespaces::in_first_user_namespace,
    resolve::{Kind, Root, is_on, kind_of},
    sys::mount::{Attributes, Context, attach, clone_tree, set_attributes},
};

/// One mount.
pub(crate) struct Operation {
    /// Where, an absolute path in the container without "." and "..".
    destination: PathBuf,
    what: What,
    /// Whether a symbolic link on the way is an attack and not a convenience: /proc, /sys, /dev and the cgroups, on
    /// whose being what they seem the rest relies (CVE-2019-19921, CVE-2023-27561, CVE-2026-41579).
    plain: bool,
    /// What the mount alone still needs after it was made.
    own: Attributes,
    /// Whether it begins with what the image has there.
    copy_up: bool,
}

/// What is mounted.
enum What {
    /// A detached tree.
    Tree(OwnedFd),
    /// A file system to be made in the container's namespaces.
    Filesystem(Filesystem),
    /// The cgroup hierarchies that this machine has.
    Cgroups(cgroup::Cgroups),
    /// What is there already.
    Remount {
        /// What changes of the mounts below it too.
        below: Attributes,
    },
    /// What neither the container nor the host has.
    Nothing,
}

/// A file system to be made.
struct Filesystem {
    kind: CString,
    /// `key=value` or `key`.
    settings: Vec<(CString, Option<CString>)>,
    /// `MOUNT_ATTR_*`.
    attributes: u64,
}

impl Filesystem {
    /// Without some attributes.
    fn without(self, attributes: u64) -> Self {
        Self { attributes: self.attributes & !attributes, ..self }
    }

    /// Makes it. `complaint`: what the file system itself has to say of a failure, in brackets.
    fn create(&self, complaint: &mut String) -> nix::Result<OwnedFd> {
        let context = Context::open(&self.kind)?;
        let set = |(key, value): &(CString, Option<CString>)| match value {
            Some(value) => context.set(key, value),
            None => context.flag(key),
        };
        let made = self.settings.iter().try_for_each(set).and_then(|()| context.mount(self.attributes));
        if made.is_err() {
            *complaint = context.complaint().map_or_else(String::new, |words| format!(" ({words})"));
        }
        made
    }

    /// A user namespace may only mount the /proc, /sys and message queues of a PID, network and IPC namespace that belongs
    /// to it. With somebody else's, the host's own mount stands in; where the host has none, there is none.
    fn borrow_from_host(&self) -> nix::Result<What> {
        let host = match self.kind.to_bytes() {
            _ if in_first_user_namespace() => return Err(Errno::EPERM),
            b"proc" => c"/proc",
            b"sysfs" => c"/sys",
            b"mqueue" => c"/dev/mqueue",
            _ => return Err(Errno::EPERM),
        };
        let tree = match clone_tree(None, host, true) {
            Err(Errno::ENOENT) => return Ok(What::Nothing),
            other => other?,
        };
        let attributes = Attributes { set: self.attributes, clear: 0, propagation: libc::MS_PRIVATE };
        set_attributes(&tree, true, attributes)?;
        Ok(What::Tree(tree))
    }

    /// Where few ids are mapped there is no terminal group, and a devpts that names it is refused: terminals belong to
    /// their user's group then.
    fn forget_group(&mut self) -> bool {
        let before = self.settings.len();
        if self.kind.as_c_str() == c"devpts" && !in_first_user_namespace() {
            self.settings.retain(|(key, _)| key.as_c_str() != c"gid");
        }
        self.settings.len() < before
    }
}

impl Operation {
    /// Makes the file system, not attached anywhere.
    pub(crate) fn create(&mut self) -> Result<(), Error> {
        match &mut self.what {
            What::Tree(_) | What::Remount { .. } | What::Nothing => {}
            What::Cgroups(cgroups) => cgroups.create()?,
            What::Filesystem(filesystem) => {
                let mut complaint = String::new();
                let made = match filesystem.create(&mut complaint) {
                    Err(Errno::EINVAL) if filesystem.forget_group() => {
                        filesystem.create(&mut complaint).map(What::Tree)
                    }
                    Err(Errno::EPERM) => filesystem.borrow_from_host(),
                    other => other.map(What::Tree),
                };
                self.what = made.at(Stage::Mount, || {
                    let kind = filesystem.kind.to_string_lossy();
                    format!("cannot mount a {kind} on {}{complaint}", self.destination.display())
                })?;
            }
        }
        Ok(())
    }

    /// Puts the mount on its place. The tree stays with the caller: a terminal is opened in the one of /dev/pts.
    pub(crate) fn attach(&self, root: &Root) -> Result<(), Error> {
        let what = || format!("cannot mount on {}", self.destination.display());
        let tree = match &self.what {
            What::Tree(tree) => tree,
            What::Cgroups(cgroups) => return cgroups.attach(root, &self.destination),
            What::Remount { below } => return self.remount(root, *below),
            What::Nothing => return Ok(()),
            What::Filesystem(_) => unreachable!("create comes before attach"),
        };
        let kind = kind_of(tree).at(Stage::Mount, what)?;
        let place = if self.plain {
            root.make_plain(&self.destination, kind).map_err(|errno| self.not_plain(errno))?
        } else {
            root.make(&self.destination, kind).at(Stage::Mount, what)?
        };
        self.refuse_kernel_files(&place, tree)?;
        if self.copy_up && kind == Kind::Directory {
            copy_up(&place, tree).at(Stage::Mount, || {
                format!("cannot copy the image's {} into its volume", self.destination.display())
            })?;
        }
        attach(tree, &place).at(Stage::Mount, what)?;
        if !self.own.is_empty() {
            set_attributes(tree, false, self.own).at(Stage::Mount, what)?;
        }
        Ok(())
    }

    fn remount(&self, root: &Root, below: Attributes) -> Result<(), Error> {
        let what = || {
            let place = self.destination.display();
            format!("cannot remount {place}; something must be mounted there, earlier in the list")
        };
        let place = root.open(&self.destination, libc::O_PATH).at(Stage::Mount, what)?;
        if !below.is_empty() {
            set_attributes(&place, true, below).at(Stage::Mount, what)?;
        }
        set_attributes(&place, false, self.own).at(Stage::Mount, what)
    }

    fn not_plain(&self, errno: Errno) -> Error {
        let place = self.destination.display();
        match errno {
            Errno::ELOOP => Error::new(
                Stage::Mount,
                errno as i32,
                format!(
                    "{place} in the image is or goes through a symbolic link; it must be an ordinary directory"
                ),
            ),
            _ => Error::system(Stage::Mount, errno, format!("cannot mount on {place}")),
        }
    }

    /// A mount over a file of /proc would make the kernel's words a forgery (CVE-2019-16884, CVE-2025-52881), also if an
    /// image's link led there. One of the kernel's own over another is no forgery.
    fn refuse_kernel_files(&self, place: &OwnedFd, tree: &OwnedFd) -> Result<(), Error> {
        let known = PROC_FILES.iter().any(|file| self.destination == Path::new(file));
        if known || !is_on(place, PROC_SUPER_MAGIC) || is_on(tree, PROC_SUPER_MAGIC) {
            return Ok(());
        }
        let place = self.destination.display();
        Err(Error::new(
            Stage::Mount,
            libc::EPERM,
            format!("cannot mount on {place}: it lies in the kernel's /proc"),
        ))
    }
}

/// Files of /proc that LXCFS and its like may replace, as in runc.
const PROC_FILES: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];
