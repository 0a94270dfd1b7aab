//! Capabilities: five sets, from names to the kernel (capabilities(7)).

use crate::{
    Error,
    error::{At, Stage},
    spec,
    sys::process::{capget_permitted, capset, prctl},
};

/// Names in the order of their numbers (include/uapi/linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Every capability that has a name.
const ALL: u64 = (1 << NAMES.len()) - 1;

/// The five sets as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
}

impl Sets {
    /// Reads the names; a document without capabilities means none.
    pub(crate) fn parse(capabilities: Option<&spec::Capabilities>) -> Result<Self, Error> {
        let Some(capabilities) = capabilities else { return Ok(Self::default()) };
        Ok(Self {
            bounding: bits(&capabilities.bounding)?,
            effective: bits(&capabilities.effective)?,
            permitted: bits(&capabilities.permitted)?,
            inheritable: bits(&capabilities.inheritable)?,
            ambient: bits(&capabilities.ambient)?,
        })
    }

    /// What a caller without some capability can give of "all of them" (--privileged) is all that it has. A single one
    /// that was asked for and is not there is an error.
    pub(crate) fn within_own(self) -> Result<Self, Error> {
        let own = capget_permitted().at(Stage::Privilege, || "cannot read the capabilities")?;
        let limit =
            |set: u64| if set == ALL { Ok(set & own) } else { missing(set & !own).map_or(Ok(set), Err) };
        Ok(Self {
            bounding: self.bounding,
            effective: limit(self.effective)?,
            permitted: limit(self.permitted)?,
            inheritable: limit(self.inheritable)?,
            ambient: limit(self.ambient)?,
        })
    }

    /// Takes from the bounding set what is not in it: no program file can give it back. Needs CAP_SETPCAP, so it comes
    /// before the ids change.
    pub(crate) fn limit_bounding(&self) -> Result<(), Error> {
        // One more than is known, until the kernel says that there are no more: it may be newer than this table.
        for number in 0..64 {
            if self.bounding & (1 << number) != 0 {
                continue;
            }
            match prctl(libc::PR_CAPBSET_DROP, number, 0) {
                Err(nix::errno::Errno::EINVAL) => break,
                other => other.at(Stage::Privilege, || "cannot limit the capabilities")?,
            };
        }
        Ok(())
    }

    /// Sets all others, after the ids have changed.
    pub(crate) fn apply(&self) -> Result<(), Error> {
        let what = || "cannot set the capabilities";
        capset(self.effective, self.permitted, self.inheritable).at(Stage::Privilege, what)?;
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).at(Stage::Privilege, what)?;
        for number in (0..64).filter(|number| self.ambient & (1 << number) != 0) {
            prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, number).at(
                Stage::Privilege,
                || {
                    format!(
                        "cannot make {} ambient; it must be permitted and inheritable too",
                        name(number as usize)
                    )
                },
            )?;
        }
        Ok(())
    }
}

/// Their names, sorted.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = (0..NAMES.len()).map(name).collect();
    names.sort_unstable();
    names
}

/// Takes out what cannot be granted, as config.md ("Linux Process", capabilities) wants of a runtime, and gives the names
/// to warn of: those that are unknown, and those that the caller itself does not have. What is ambient must be permitted
/// and inheritable as well; without a warning, because every bundle of `runc spec` has it otherwise.
pub fn relax(capabilities: &mut spec::Capabilities) -> Result<Vec<String>, Error> {
    let own = capget_permitted().at(Stage::Privilege, || "cannot read the capabilities")?;
    let mut refused = std::collections::BTreeSet::new();
    let spec::Capabilities { bounding, effective, inheritable, permitted, ambient } = capabilities;
    for (set, limit) in [
        // A name in the bounding set gives nothing: it is what programs may get later.
        (&mut *bounding, ALL),
        (&mut *effective, own),
        (&mut *inheritable, own),
        (&mut *permitted, own),
        (&mut *ambient, own),
    ] {
        set.retain(|name| {
            let granted = bits(std::slice::from_ref(name)).is_ok_and(|bit| bit & limit != 0);
            if !granted {
                refused.insert(name.clone());
            }
            granted
        });
    }
    ambient.retain(|name| permitted.contains(name) && inheritable.contains(name));
    Ok(refused.into_iter().collect())
}

fn bits(names: &[String]) -> Result<u64, Error> {
    names.iter().try_fold(0, |set, name| {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        let number = NAMES.iter().position(|known| *known == short);
        number
            .map(|number| set | 1 << number)
            .ok_or_else(|| Error::config(format!("unknown capability {name:?}")))
    })
}

fn name(number: usize) -> String {
    format!("CAP_{}", NAMES.get(number).unwrap_or(&"?"))
}

fn missing(set: u64) -> Option<Error> {
    let first = (set != 0).then(|| set.trailing_zeros() as usize)?;
    let message = format!("{} cannot be given: the caller does not have it", name(first));
    Some(Error::new(Stage::Privilege, libc::EPERM, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels_numbers() {
        assert_eq!(bits(&["CAP_CHOWN".into()]).unwrap(), 1);
        assert_eq!(bits(&["CAP_SYS_ADMIN".into()]).unwrap(), 1 << 21);
        assert_eq!(bits(&["CAP_CHECKPOINT_RESTORE".into()]).unwrap(), 1 << 40);
        assert!(bits(&["CAP_NONSENSE".into()]).is_err());
    }

    #[test]
    fn what_cannot_be_granted_is_taken_out_and_told() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut capabilities = spec::Capabilities {
            bounding: names(&["CAP_CHOWN", "CAP_NONSENSE"]),
            permitted: names(&["CAP_CHOWN", "CAP_KILL"]),
            inheritable: names(&["CAP_KILL"]),
            ambient: names(&["CAP_CHOWN", "CAP_KILL"]),
            ..spec::Capabilities::default()
        };
        let refused = relax(&mut capabilities).unwrap();
        assert!(refused.contains(&"CAP_NONSENSE".to_owned()), "{refused:?}");
        assert_eq!(capabilities.bounding, names(&["CAP_CHOWN"]));
        // Whoever runs this test may have neither.
        let own = capget_permitted().unwrap() & 1 << 5 != 0;
        assert_eq!(capabilities.ambient, names(if own { &["CAP_KILL"] } else { &[] }));
        assert_eq!(refused.contains(&"CAP_KILL".to_owned()), !own);
    }
}
