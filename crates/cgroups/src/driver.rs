//! Who makes a container's cgroup.

use serde::{Deserialize, Serialize};

use crate::{Cgroup, Error, LinuxResources, mounts, systemd::Scope, tree};

/// Who makes a container's cgroup, and has the last word on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// We do, in the file system.
    #[default]
    Cgroupfs,
    /// systemd does: the container is a transient scope of the system's manager, or of the user's who is not root.
    Systemd,
}

impl Driver {
    /// The `cgroupsPath` of a container whose configuration has none: `/ID`, or `:kapsel:ID` in the manager's default
    /// slice (system.slice, a user's user.slice).
    pub fn default_path(self, id: &str) -> String {
        match self {
            Self::Cgroupfs => format!("/{id}"),
            Self::Systemd => format!(":kapsel:{id}"),
        }
    }

    /// Makes a cgroup with its limits. `path` is the OCI `cgroupsPath`: for cgroupfs see [`Cgroup::create`]; for
    /// systemd it is `SLICE:PREFIX:NAME`, a scope `PREFIX-NAME.scope`.
    ///
    /// systemd makes a scope around a process that exists: its cgroup is there, and can be opened, once
    /// [`crate::Entry::admit`] has returned. Of one that fails there [`Cgroup::remove`] leaves nothing.
    pub fn create(self, path: &str, resources: &LinuxResources) -> Result<Cgroup, Error> {
        match self {
            Self::Cgroupfs => Cgroup::create(path, resources),
            Self::Systemd => {
                let scope = Scope::locate(path)?;
                scope.check(mounts()?.0)?;
                Ok(Cgroup::of_scope(scope, Vec::new(), Some(resources.clone())))
            }
        }
    }

    /// Removes what may be left of a cgroup that its maker had no time to say was its own, wherever no process is in it:
    /// [`Driver::create`] would replace that, too. One that is in use is another's, and is left alone.
    pub fn discard(self, path: &str) -> Result<(), Error> {
        match self {
            Self::Cgroupfs => tree::discard(path),
            Self::Systemd => tree::discard(Scope::locate(path)?.path()),
        }
    }

    /// Opens an existing cgroup, by the `cgroupsPath` or by [`Cgroup::path`] (sooner: a user's systemd need not be asked
    /// where its own cgroup is). For cgroupfs `Error::NotFound` where no hierarchy has it; systemd may still know the
    /// name of a scope without a cgroup, and [`Cgroup::remove`] makes it forget.
    pub fn open(self, path: &str) -> Result<Cgroup, Error> {
        match self {
            Self::Cgroupfs => Cgroup::open(path),
            Self::Systemd => {
                let scope = Scope::locate(path)?;
                let directories = Cgroup::directories_of(scope.path())?;
                Ok(Cgroup::of_scope(scope, directories, None))
            }
        }
    }
}
