//! What a caller asks for: complete descriptions that decide nothing themselves.

use std::{os::fd::BorrowedFd, path::PathBuf};

use crate::{Gate, Listener, spec};

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
    /// Who answers the filter, where it asks (SCMP_ACT_NOTIFY).
    pub listener: Option<&'a Listener>,
    /// The cgroup to be born in.
    pub cgroup: Option<&'a kapsel_cgroups::Entry>,
    /// Standard streams.
    pub stdio: Stdio<'a>,
    /// Where everything is made ready and the program waits for its start; none: it starts at once.
    pub gate: Option<&'a Gate>,
    /// Whether it waits, when everything else is ready, for [`crate::Launched::let_go`]: so long its caller makes the rest.
    pub held: bool,
    /// Who the container is, for the state that hooks read.
    pub container: Option<&'a Container>,
    /// What is not as usual.
    pub manner: Manner,
    /// Whether the root may be entered without pivot_root(2) where that is refused, as it is with an initramfs as the
    /// host's root. Weaker: the host's root directory stays below the container's.
    pub no_pivot: bool,
}

/// How a process comes to be and what it keeps of its maker's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Whether the process goes on when its maker ends. It never outlives one that dies before everything is ready.
    pub detached: bool,
    /// How many descriptors from 3 on it inherits; the caller has checked that they are open.
    pub preserve_fds: u32,
    /// Whether it stays in its maker's session keyring.
    pub keep_keyring: bool,
}

/// A container as its hooks know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its bundle's absolute path.
    pub bundle: PathBuf,
}

/// A process to start in a running container.
#[derive(Clone, Copy, Debug)]
pub struct Join<'a> {
    /// Pidfd of the container's PID 1.
    pub target: BorrowedFd<'a>,
    /// The program.
    pub process: &'a spec::Process,
    /// The container's, whose personality and memory policy are every process's.
    pub linux: Option<&'a spec::Linux>,
    /// As [`Plan::user`].
    pub user: &'a str,
    /// As [`Plan::group_add`].
    pub group_add: &'a [String],
    /// As [`Plan::seccomp`].
    pub seccomp: Option<&'a kapsel_seccomp::Program>,
    /// As [`Plan::listener`].
    pub listener: Option<&'a Listener>,
    /// As [`Plan::cgroup`].
    pub cgroup: Option<&'a kapsel_cgroups::Entry>,
    /// Standard streams.
    pub stdio: Stdio<'a>,
    /// As [`Plan::manner`].
    pub manner: Manner,
}
