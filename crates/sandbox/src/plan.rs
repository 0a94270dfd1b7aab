//! What a caller asks for: complete descriptions that decide nothing themselves.

use std::{os::fd::BorrowedFd, path::PathBuf};

use crate::spec;

/// The container's root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rootfs {
    /// A directory of the host, used as it is.
    Directory(PathBuf),
    /// Layers below one writable directory, mounted in the container's mount namespace and nowhere else.
    Overlay {
        /// Read-only layers, topmost first.
        lowers: Vec<PathBuf>,
        /// Where writes go.
        upper: PathBuf,
        /// An empty directory on the file system of `upper`.
        work: PathBuf,
        /// Whether overlay's marks are `user.*` attributes (a mount by a user who is not root).
        userxattr: bool,
    },
}

/// The program's standard streams.
#[derive(Clone, Copy, Debug)]
pub enum Stdio<'a> {
    /// These descriptors of the caller.
    Fds {
        /// Descriptor 0.
        stdin: BorrowedFd<'a>,
        /// Descriptor 1.
        stdout: BorrowedFd<'a>,
        /// Descriptor 2.
        stderr: BorrowedFd<'a>,
    },
    /// A pseudoterminal of the container; its other end is [`crate::Launched::console`].
    Terminal {
        /// Initial width in characters.
        columns: u16,
        /// Initial height in characters.
        rows: u16,
    },
}

/// A container to start.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The OCI document. Its root.path, process.user's ids, seccomp and resources are not looked at: they are below.
    pub config: &'a spec::Config,
    /// The root file system.
    pub rootfs: &'a Rootfs,
    /// `name|uid[:group|gid]` in the container's own /etc/passwd and /etc/group; empty: 0.
    pub user: &'a str,
    /// Supplementary groups, names or numbers, beside those of /etc/group and of process.user.additionalGids.
    pub group_add: &'a [String],
    /// Mount destinations whose source, if empty, first gets what the image has there.
    pub copy_up: &'a [String],
    /// Whether PID 1 is kapsel's own init and the program its child (see [`crate::init`]).
    pub init: bool,
    /// The compiled filter.
    pub seccomp: Option<&'a kapsel_seccomp::Program>,
    /// The cgroup to be born in.
    pub cgroup: Option<&'a kapsel_cgroups::Entry>,
    /// Standard streams.
    pub stdio: Stdio<'a>,
    /// Whether everything is made ready and the program waits for [`crate::Launched::release`].
    pub hold: bool,
}

/// A process to start in a running container.
#[derive(Clone, Copy, Debug)]
pub struct Join<'a> {
    /// Pidfd of the container's PID 1.
    pub target: BorrowedFd<'a>,
    /// The program.
    pub process: &'a spec::Process,
    /// As [`Plan::user`].
    pub user: &'a str,
    /// As [`Plan::group_add`].
    pub group_add: &'a [String],
    /// As [`Plan::seccomp`].
    pub seccomp: Option<&'a kapsel_seccomp::Program>,
    /// As [`Plan::cgroup`].
    pub cgroup: Option<&'a kapsel_cgroups::Entry>,
    /// Standard streams.
    pub stdio: Stdio<'a>,
}
