//! setrlimit(2).

use nix::errno::Errno;

use crate::{Error, error::Stage, spec::Rlimit};

/// Name and number (the generic ones, which x86-64 and aarch64 share).
const RLIMITS: [(&str, libc::__rlimit_resource_t); 16] = [
    ("CPU", libc::RLIMIT_CPU),
    ("FSIZE", libc::RLIMIT_FSIZE),
    ("DATA", libc::RLIMIT_DATA),
    ("STACK", libc::RLIMIT_STACK),
    ("CORE", libc::RLIMIT_CORE),
    ("RSS", libc::RLIMIT_RSS),
    ("NPROC", libc::RLIMIT_NPROC),
    ("NOFILE", libc::RLIMIT_NOFILE),
    ("MEMLOCK", libc::RLIMIT_MEMLOCK),
    ("AS", libc::RLIMIT_AS),
    ("LOCKS", libc::RLIMIT_LOCKS),
    ("SIGPENDING", libc::RLIMIT_SIGPENDING),
    ("MSGQUEUE", libc::RLIMIT_MSGQUEUE),
    ("NICE", libc::RLIMIT_NICE),
    ("RTPRIO", libc::RLIMIT_RTPRIO),
    ("RTTIME", libc::RLIMIT_RTTIME),
];

/// One limit.
pub(super) struct Limit {
    kind: String,
    resource: libc::__rlimit_resource_t,
    value: libc::rlimit,
}

/// Reads the limits, one a resource.
pub(super) fn read(limits: &[Rlimit]) -> Result<Vec<Limit>, Error> {
    let mut read = Vec::<Limit>::with_capacity(limits.len());
    for Rlimit { kind, soft, hard } in limits {
        let short = kind.strip_prefix("RLIMIT_").unwrap_or(kind);
        let (_, resource) = RLIMITS
            .into_iter()
            .find(|(name, _)| *name == short)
            .ok_or_else(|| Error::config(format!("unknown resource limit {kind:?}")))?;
        if soft > hard {
            return Err(Error::config(format!(
                "process.rlimits: the soft limit of {kind} ({soft}) is beyond its hard one ({hard})"
            )));
        }
        if read.iter().any(|limit| limit.resource == resource) {
            return Err(Error::config(format!("process.rlimits names {kind} twice")));
        }
        let value = libc::rlimit { rlim_cur: *soft, rlim_max: *hard };
        read.push(Limit { kind: kind.clone(), resource, value });
    }
    Ok(read)
}

impl Limit {
    pub(super) fn apply(&self) -> Result<(), Error> {
        // SAFETY: `value` is an rlimit.
        let Err(errno) = Errno::result(unsafe { libc::setrlimit(self.resource, &raw const self.value) })
        else {
            return Ok(());
        };
        let libc::rlimit { rlim_cur: soft, rlim_max: hard } = self.value;
        let mut what = format!("error setting rlimit {} to {soft}:{hard}", self.kind);
        if errno == Errno::EPERM {
            let mut own = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: `own` is an rlimit for the kernel to fill.
            unsafe { libc::getrlimit(self.resource, &raw mut own) };
            let own = own.rlim_max;
            what = format!("{what} (the caller's own limit is {own}, raising it needs CAP_SYS_RESOURCE)");
        }
        Err(Error::system(Stage::Limit, errno, what))
    }
}
