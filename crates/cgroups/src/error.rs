//! What can go wrong with a cgroup: said once, here, with a stable code for each.

use std::{fmt, io};

/// Why a cgroup could not be made, changed, read or removed.
#[derive(Debug)]
pub enum Error {
    /// The kernel refuses this user (EACCES, EPERM, EROFS): rootless without delegation, or a read-only mount.
    /// A caller may forgive it where no limit was asked for.
    PermissionDenied {
        /// What was being done, with its path.
        doing: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A limit was asked for whose controller this machine has not, or does not hand down to this cgroup.
    MissingController {
        /// The controller, in the kernel's spelling.
        controller: String,
        /// The setting, in the OCI specification's spelling.
        setting: String,
    },
    /// A limit that this kernel or cgroup version cannot honour, or a value that makes no sense.
    Unsupported {
        /// The setting, in the OCI specification's spelling.
        setting: String,
        /// Why, and what would help.
        why: String,
    },
    /// A cgroups path that is not absolute or that walks upwards.
    InvalidPath {
        /// The path as given.
        path: String,
    },
    /// A cgroups path that is none of systemd's.
    InvalidScope {
        /// The path as given.
        path: String,
    },
    /// systemd could not be reached, or refused.
    Systemd {
        /// What was being done, with the unit's name.
        doing: String,
        /// What systemd, or the kernel, said.
        why: String,
    },
    /// No cgroup file system is mounted on /sys/fs/cgroup.
    NotMounted,
    /// The cgroup does not exist.
    NotFound {
        /// Its path.
        path: String,
    },
    /// Anything else the kernel said.
    Io {
        /// What was being done, with its path.
        doing: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Error {
    /// The stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PermissionDenied { .. } => "CGROUP_PERMISSION_DENIED",
            Self::MissingController { .. } => "CGROUP_CONTROLLER_MISSING",
            Self::Unsupported { .. } => "CGROUP_LIMIT_UNSUPPORTED",
            Self::InvalidPath { .. } => "CGROUP_PATH_INVALID",
            Self::InvalidScope { .. } => "CGROUP_PATH_INVALID",
            Self::Systemd { .. } => "CGROUP_SYSTEMD_FAILED",
            Self::NotMounted => "CGROUP_NOT_MOUNTED",
            Self::NotFound { .. } => "CGROUP_NOT_FOUND",
            Self::Io { .. } => "CGROUP_FAILED",
        }
    }

    /// The kernel's error number, where there was one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::PermissionDenied { source, .. } | Self::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Sorts the kernel's answer by what a caller can do about it.
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        let doing = doing.into();
        match source.raw_os_error() {
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => Self::PermissionDenied { doing, source },
            _ => Self::Io { doing, source },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PermissionDenied { doing, source } => write!(
                f,
                "cannot {doing}: {source}; run as root, or have a cgroup v2 subtree delegated to this user"
            ),
            Self::MissingController { controller, setting } => write!(
                f,
                "{setting} was asked for, but the {controller} cgroup controller is not to be had here; leave the limit out, or enable it (v2: in cgroup.subtree_control of every parent)"
            ),
            Self::Unsupported { setting, why } => write!(f, "{setting}: {why}"),
            Self::InvalidPath { path } => {
                write!(
                    f,
                    "cgroups path {path:?} must be absolute and without '.' or '..', as in \"/kapsel/ID\""
                )
            }
            Self::InvalidScope { path } => write!(
                f,
                "cgroups path {path:?} must have the form \"slice:prefix:name\" for systemd, as in \"system.slice:kapsel:ID\""
            ),
            Self::Systemd { doing, why } => write!(f, "cannot {doing}: {why}"),
            Self::NotMounted => write!(f, "no cgroup file system on /sys/fs/cgroup; mount cgroup2 there"),
            Self::NotFound { path } => write!(f, "cgroup {path} does not exist"),
            Self::Io { doing, source } => write!(f, "cannot {doing}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::PermissionDenied { source, .. } | Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
