//! Resource limits, scheduling, priorities, personality: what the kernel may spend on the program.

use nix::errno::Errno;

use crate::{
    Error,
    error::{At, Stage},
    spec::{IoPriority, Personality, Process, Rlimit, Scheduler},
    sys::process::{set_io_priority, set_scheduler},
};

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

/// Applies all of it. While the process is still privileged: a limit may be raised.
pub(crate) fn apply(process: &Process, personality: Option<&Personality>) -> Result<(), Error> {
    for limit in &process.rlimits {
        set_rlimit(limit)?;
    }
    if let Some(scheduler) = &process.scheduler {
        schedule(scheduler)?;
    }
    if let Some(priority) = &process.io_priority {
        prioritise(priority)?;
    }
    if let Some(affinity) = &process.exec_cpu_affinity {
        confine_to(&affinity.last)?;
    }
    if let Some(personality) = personality {
        assume(personality)?;
    }
    Ok(())
}

/// The processors on which the way into the container itself runs: before its cgroup is entered.
pub(crate) fn confine_entry(process: &Process) -> Result<(), Error> {
    process.exec_cpu_affinity.as_ref().map_or(Ok(()), |affinity| confine_to(&affinity.initial))
}

fn set_rlimit(limit: &Rlimit) -> Result<(), Error> {
    let short = limit.kind.strip_prefix("RLIMIT_").unwrap_or(&limit.kind);
    let (_, resource) = RLIMITS
        .into_iter()
        .find(|(name, _)| *name == short)
        .ok_or_else(|| Error::config(format!("unknown resource limit {:?}", limit.kind)))?;
    let value = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: `value` is an rlimit.
    match Errno::result(unsafe { libc::setrlimit(resource, &raw const value) }) {
        Ok(_) => Ok(()),
        Err(errno) => {
            let mut what = format!("error setting rlimit {} to {}:{}", limit.kind, limit.soft, limit.hard);
            if errno == Errno::EPERM {
                let mut own = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                // SAFETY: `own` is an rlimit for the kernel to fill.
                unsafe { libc::getrlimit(resource, &raw mut own) };
                what = format!(
                    "{what} (the caller's own limit is {}, raising it needs CAP_SYS_RESOURCE)",
                    own.rlim_max
                );
            }
            Err(Error::system(Stage::Limit, errno, what))
        }
    }
}

fn schedule(scheduler: &Scheduler) -> Result<(), Error> {
    const FLAGS: [(&str, u64); 7] = [
        ("SCHED_FLAG_RESET_ON_FORK", 0x01),
        ("SCHED_FLAG_RECLAIM", 0x02),
        ("SCHED_FLAG_DL_OVERRUN", 0x04),
        ("SCHED_FLAG_KEEP_POLICY", 0x08),
        ("SCHED_FLAG_KEEP_PARAMS", 0x10),
        ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
        ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
    ];
    const POLICIES: [(&str, u32); 6] = [
        ("SCHED_OTHER", 0),
        ("SCHED_FIFO", 1),
        ("SCHED_RR", 2),
        ("SCHED_BATCH", 3),
        ("SCHED_IDLE", 5),
        ("SCHED_DEADLINE", 6),
    ];
    // SAFETY: all fields are integers, for which zero is valid.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = size_of::<libc::sched_attr>() as u32;
    attributes.sched_policy = number(&POLICIES, &scheduler.policy, "scheduling policy")?;
    for flag in &scheduler.flags {
        attributes.sched_flags |= number(&FLAGS, flag, "scheduling flag")?;
    }
    attributes.sched_nice = scheduler.nice;
    attributes.sched_priority = scheduler.priority;
    attributes.sched_runtime = scheduler.runtime;
    attributes.sched_deadline = scheduler.deadline;
    attributes.sched_period = scheduler.period;
    set_scheduler(&attributes)
        .at(Stage::Limit, || format!("cannot set the scheduling policy {}", scheduler.policy))
}

fn prioritise(priority: &IoPriority) -> Result<(), Error> {
    const CLASSES: [(&str, i32); 3] =
        [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
    let class = number(&CLASSES, &priority.class, "I/O priority class")?;
    if priority.priority > 7 {
        return Err(Error::config(format!("I/O priority {} is not between 0 and 7", priority.priority)));
    }
    set_io_priority(class << 13 | priority.priority as i32).at(Stage::Limit, || "cannot set the I/O priority")
}

fn assume(personality: &Personality) -> Result<(), Error> {
    let domain = number(&[("LINUX", 0), ("LINUX32", 8)], &personality.domain, "personality")?;
    // SAFETY: integers only.
    Errno::result(unsafe { libc::personality(domain) }).at(Stage::Limit, || "cannot set the personality")?;
    Ok(())
}

fn number<T: Copy>(table: &[(&str, T)], name: &str, what: &str) -> Result<T, Error> {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| *number).ok_or_else(|| Error::config(format!("unknown {what} {name:?}")))
}

fn confine_to(list: &str) -> Result<(), Error> {
    if list.is_empty() {
        return Ok(());
    }
    // SAFETY: all-zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let most = 8 * size_of::<libc::cpu_set_t>();
    let malformed = || {
        Error::config(format!("execCPUAffinity {list:?} is not a list such as 0-3,7 of numbers below {most}"))
    };
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number =
            |word: &str| word.trim().parse::<usize>().ok().filter(|n| *n < most).ok_or_else(malformed);
        for cpu in number(first)?..=number(last)? {
            // SAFETY: `cpu` is below the number of bits of the set.
            unsafe { libc::CPU_SET(cpu, &mut set) };
        }
    }
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: `set` is a cpu_set_t of the size that is passed.
    Errno::result(unsafe { libc::sched_setaffinity(0, size, &raw const set) })
        .at(Stage::Limit, || format!("cannot run on the processors {list}"))?;
    Ok(())
}
