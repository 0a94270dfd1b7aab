//! The one error of this crate: at which stage, with which errno, in words a person can act on.
//!
//! A stage is one byte, because the child tells its parent through a socket where the trouble was.

use std::fmt;

/// What was being done when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Reading the description: it contradicts itself or asks for what cannot be.
    Config = 1,
    /// clone3(2), setns(2), unshare(2), the maps of a user namespace.
    Namespace,
    /// Entering the cgroup.
    Cgroup,
    /// The root file system, pivot_root(2).
    Root,
    /// One of the mounts.
    Mount,
    /// A device, or /dev itself.
    Device,
    /// A masked or read-only path.
    Mask,
    /// Host name, loopback, kernel parameters.
    Kernel,
    /// The pseudoterminal.
    Terminal,
    /// Resource limits, priorities.
    Limit,
    /// Who the process is: user, groups, labels, keyring.
    Identity,
    /// Capabilities, no_new_privs, seccomp.
    Privilege,
    /// The working directory.
    Directory,
    /// The built-in init.
    Init,
    /// Finding and executing the program.
    Exec,
    /// Talking to the child.
    Channel,
    /// A hook.
    Hook,
}

impl Stage {
    /// The stable word for programs.
    fn code(self, errno: i32) -> &'static str {
        match self {
            Stage::Config => "CONFIG_INVALID",
            Stage::Namespace => "NAMESPACE_FAILED",
            Stage::Cgroup => "CGROUP_FAILED",
            Stage::Root => "ROOTFS_FAILED",
            Stage::Mount => "MOUNT_FAILED",
            Stage::Device => "DEVICE_FAILED",
            Stage::Mask => "MASK_FAILED",
            Stage::Kernel => "KERNEL_SETTING_FAILED",
            Stage::Terminal => "TERMINAL_FAILED",
            Stage::Limit => "LIMIT_FAILED",
            Stage::Identity => "USER_FAILED",
            Stage::Privilege => "PRIVILEGE_FAILED",
            Stage::Directory => "WORKING_DIRECTORY_FAILED",
            Stage::Init => "INIT_FAILED",
            Stage::Exec if matches!(errno, libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => "PROGRAM_NOT_FOUND",
            Stage::Exec => "PROGRAM_NOT_EXECUTABLE",
            Stage::Channel => "CHILD_DIED",
            Stage::Hook => "HOOK_FAILED",
        }
    }

    /// The stage that a child named on the wire.
    pub(crate) fn from_byte(byte: u8) -> Self {
        use Stage::*;
        const ALL: [Stage; 17] = [
            Config, Namespace, Cgroup, Root, Mount, Device, Mask, Kernel, Terminal, Limit, Identity,
            Privilege, Directory, Init, Exec, Channel, Hook,
        ];
        ALL.into_iter().find(|stage| *stage as u8 == byte).unwrap_or(Channel)
    }
}

/// Why a container or a process in it did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was being done.
    pub stage: Stage,
    /// A stable word for programs, such as `PROGRAM_NOT_FOUND`.
    pub code: &'static str,
    /// The kernel's answer; 0 where the kernel was not asked.
    pub errno: i32,
    /// One line for people: what, which, and how to mend it.
    pub message: String,
}

impl Error {
    /// Docker's exit status: 127 for a program that is not there, 126 for one that cannot be executed, 125 for all else.
    pub fn exit_code(&self) -> u8 {
        match self.code {
            "PROGRAM_NOT_FOUND" => 127,
            "PROGRAM_NOT_EXECUTABLE" => 126,
            _ => 125,
        }
    }

    pub(crate) fn new(stage: Stage, errno: i32, message: impl Into<String>) -> Self {
        Self { stage, code: stage.code(errno), errno, message: message.into() }
    }

    /// A description that cannot be carried out; nobody asked the kernel.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(Stage::Config, 0, message)
    }

    /// `what: strerror`.
    pub(crate) fn system(stage: Stage, errno: nix::errno::Errno, what: impl fmt::Display) -> Self {
        Self::new(stage, errno as i32, format!("{what}: {}", errno.desc().to_lowercase()))
    }
}

impl From<kapsel_cgroups::Error> for Error {
    fn from(error: kapsel_cgroups::Error) -> Self {
        Self::new(Stage::Cgroup, error.errno().unwrap_or(0), error.to_string())
    }
}

impl From<kapsel_network::error::Error> for Error {
    fn from(error: kapsel_network::error::Error) -> Self {
        Self::new(Stage::Kernel, error.errno, error.message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Turns an errno into an [`Error`] where the knowledge of what was done is.
pub(crate) trait At<T> {
    /// Names the stage and what was being done; the words are made only on failure.
    fn at<D: fmt::Display>(self, stage: Stage, what: impl FnOnce() -> D) -> Result<T, Error>;
}

impl<T> At<T> for nix::Result<T> {
    fn at<D: fmt::Display>(self, stage: Stage, what: impl FnOnce() -> D) -> Result<T, Error> {
        self.map_err(|errno| Error::system(stage, errno, what()))
    }
}

impl<T> At<T> for std::io::Result<T> {
    fn at<D: fmt::Display>(self, stage: Stage, what: impl FnOnce() -> D) -> Result<T, Error> {
        self.map_err(|error| {
            let errno = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
            Error::system(stage, errno, what())
        })
    }
}
