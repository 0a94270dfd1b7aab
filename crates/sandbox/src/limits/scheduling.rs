//! On which processors the program runs, when, and how soon its I/O is done.

use nix::errno::Errno;

use super::{list, number};
use crate::{
    Error,
    error::{At, Stage},
    spec::{CpuAffinity, IoPriority, Scheduler},
    sys::process::{set_io_priority, set_scheduler},
};

const DEADLINE: u32 = 6;
const POLICIES: [(&str, u32); 6] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", DEADLINE),
];
const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// sched_setattr(2).
pub(super) struct Schedule {
    policy: String,
    attributes: libc::sched_attr,
}

impl Schedule {
    pub(super) fn read(scheduler: &Scheduler) -> Result<Self, Error> {
        let Scheduler { policy, nice, priority, flags, runtime, deadline, period } = scheduler;
        let number_of_policy = number(&POLICIES, policy, "scheduling policy")?;
        // The kernel would take the nearest.
        if !(-20..=19).contains(nice) {
            return Err(Error::config(format!("process.scheduler: nice {nice} is not between -20 and 19")));
        }
        if *priority != 0 && !matches!(policy.as_str(), "SCHED_FIFO" | "SCHED_RR") {
            return Err(Error::config(format!("process.scheduler: {policy} has no priority; it has nice")));
        }
        if number_of_policy != DEADLINE && (*runtime, *deadline, *period) != (0, 0, 0) {
            return Err(Error::config(
                "process.scheduler: runtime, deadline and period are SCHED_DEADLINE's",
            ));
        }
        // SAFETY: all fields are integers, for which zero is valid.
        let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
        attributes.size = size_of::<libc::sched_attr>() as u32;
        attributes.sched_policy = number_of_policy;
        for flag in flags {
            attributes.sched_flags |= number(&FLAGS, flag, "scheduling flag")?;
        }
        attributes.sched_nice = *nice;
        attributes.sched_priority = *priority;
        attributes.sched_runtime = *runtime;
        attributes.sched_deadline = *deadline;
        attributes.sched_period = *period;
        Ok(Self { policy: policy.clone(), attributes })
    }

    pub(super) fn apply(&self) -> Result<(), Error> {
        set_scheduler(&self.attributes)
            .at(Stage::Limit, || format!("cannot set the scheduling policy {}", self.policy))
    }
}

/// The value of ioprio_set(2).
pub(super) fn io_priority(asked: &IoPriority) -> Result<i32, Error> {
    const CLASSES: [(&str, i32); 3] =
        [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
    let class = number(&CLASSES, &asked.class, "I/O priority class")?;
    if asked.priority > 7 {
        return Err(Error::config(format!("I/O priority {} is not between 0 and 7", asked.priority)));
    }
    Ok(class << 13 | asked.priority as i32)
}

pub(super) fn prioritise(value: i32) -> Result<(), Error> {
    set_io_priority(value).at(Stage::Limit, || "cannot set the I/O priority")
}

/// sched_setaffinity(2).
pub(crate) struct Processors {
    list: String,
    set: libc::cpu_set_t,
}

/// Where the way into a container runs, if not where its caller does, and where the program does: if nothing is said, on
/// every processor of its cgroup.
pub(super) fn affinity(asked: &CpuAffinity) -> Result<(Option<Processors>, Processors), Error> {
    const MOST: usize = 8 * size_of::<libc::cpu_set_t>();
    let read = |text: &str| match text {
        "" => Ok(None),
        text => list("execCPUAffinity", text, MOST).map(|cpus| Some(Processors::new(text, cpus))),
    };
    let (entry, program) = (read(&asked.initial)?, read(&asked.last)?);
    Ok((entry, program.unwrap_or_else(|| Processors::new("of the cgroup", (0..MOST).collect()))))
}

impl Processors {
    fn new(list: &str, cpus: Vec<usize>) -> Self {
        // SAFETY: all-zero is the empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for cpu in cpus {
            // SAFETY: `cpu` is below the number of bits of the set.
            unsafe { libc::CPU_SET(cpu, &mut set) };
        }
        Self { list: list.to_owned(), set }
    }

    /// Those of the calling process.
    pub(super) fn own() -> Result<Self, Error> {
        // SAFETY: all-zero is the empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is a cpu_set_t of the size that is passed.
        Errno::result(unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) })
            .at(Stage::Limit, || "cannot read on which processors this process runs")?;
        Ok(Self { list: "of before".to_owned(), set })
    }

    pub(crate) fn confine(&self) -> Result<(), Error> {
        // SAFETY: `set` is a cpu_set_t of the size that is passed.
        Errno::result(unsafe {
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const self.set)
        })
        .at(Stage::Limit, || format!("cannot run on the processors {}", self.list))?;
        Ok(())
    }
}
