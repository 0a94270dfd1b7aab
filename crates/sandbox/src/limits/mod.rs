//! Resource limits, scheduling, priorities, personality, memory policy: what the kernel may spend on the program.
//!
//! Read and checked before there is a process; applied by it while it is still privileged.

mod memory;
mod resource;
mod scheduling;

use nix::errno::Errno;

use crate::{
    Error,
    error::{At, Stage},
    spec::{Linux, Personality, Process},
};
use memory::Policy;
use resource::Limit;
pub(crate) use scheduling::Processors;
use scheduling::Schedule;

/// All of it.
pub(crate) struct Limits {
    resources: Vec<Limit>,
    schedule: Option<Schedule>,
    io_priority: Option<i32>,
    /// Where the way into a container runs, and where the program does.
    processors: Option<(Option<Processors>, Processors)>,
    personality: Option<libc::c_ulong>,
    memory: Option<Policy>,
}

impl Limits {
    /// Reads the document.
    pub(crate) fn read(process: &Process, linux: Option<&Linux>) -> Result<Self, Error> {
        if let Some(score) = process.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
            return Err(Error::config(format!("process.oomScoreAdj {score} is not between -1000 and 1000")));
        }
        let personality = linux.and_then(|linux| linux.personality.as_ref());
        let memory = linux.and_then(|linux| linux.memory_policy.as_ref());
        Ok(Self {
            resources: resource::read(&process.rlimits)?,
            schedule: process.scheduler.as_ref().map(Schedule::read).transpose()?,
            io_priority: process.io_priority.as_ref().map(scheduling::io_priority).transpose()?,
            processors: process.exec_cpu_affinity.as_ref().map(scheduling::affinity).transpose()?,
            personality: personality.map(domain).transpose()?,
            memory: memory.map(Policy::read).transpose()?,
        })
    }

    /// Takes on the processors of the way into a container, for a child to inherit; gives the caller's own.
    pub(crate) fn lend_processors(&self) -> Result<Option<Processors>, Error> {
        let Some((Some(entry), _)) = &self.processors else { return Ok(None) };
        let own = Processors::own()?;
        entry.confine()?;
        Ok(Some(own))
    }

    /// Takes on the program's processors, in its cgroup.
    pub(crate) fn confine(&self) -> Result<(), Error> {
        self.processors.as_ref().map_or(Ok(()), |(_, program)| program.confine())
    }

    /// Applies all else. While the process is still privileged: a limit may be raised.
    pub(crate) fn apply(&self) -> Result<(), Error> {
        self.resources.iter().try_for_each(Limit::apply)?;
        self.schedule.as_ref().map_or(Ok(()), Schedule::apply)?;
        self.io_priority.map_or(Ok(()), scheduling::prioritise)?;
        self.memory.as_ref().map_or(Ok(()), Policy::apply)?;
        let Some(domain) = self.personality else { return Ok(()) };
        // SAFETY: integers only.
        Errno::result(unsafe { libc::personality(domain) })
            .at(Stage::Limit, || "cannot set the personality")?;
        Ok(())
    }
}

fn domain(personality: &Personality) -> Result<libc::c_ulong, Error> {
    if !personality.flags.is_empty() {
        return Err(Error::config("linux.personality.flags: the specification has none yet; remove them"));
    }
    number(&[("LINUX", 0), ("LINUX32", 8)], &personality.domain, "personality")
}

/// The number of a name.
fn number<T: Copy>(table: &[(&str, T)], name: &str, what: &str) -> Result<T, Error> {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, number)| *number).ok_or_else(|| Error::config(format!("unknown {what} {name:?}")))
}

/// The numbers of a list such as `0-3,7`, each below `most`.
fn list(what: &str, text: &str, most: usize) -> Result<Vec<usize>, Error> {
    let malformed =
        || Error::config(format!("{what} {text:?} is not a list such as 0-3,7 of numbers below {most}"));
    let number =
        |word: &str| word.trim().parse::<usize>().ok().filter(|number| *number < most).ok_or_else(malformed);
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || numbers.len() > most {
            return Err(malformed());
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_numbers_and_ranges_and_never_longer_than_there_are_numbers() {
        assert_eq!(list("x", "0-2,7, 5", 8).unwrap(), [0, 1, 2, 7, 5]);
        for text in
            ["", ",", "1-", "-1", "3-1", "8", "0x1", "1--2", "99999999999999999999", &"0-7,".repeat(9)]
        {
            assert!(list("x", text, 8).is_err(), "{text}");
        }
    }

    fn refusal(process: serde_json::Value, linux: serde_json::Value) -> String {
        let (process, linux) =
            (serde_json::from_value(process).unwrap(), serde_json::from_value(linux).unwrap());
        let error = Limits::read(&process, Some(&linux)).err().unwrap_or_else(|| panic!("accepted"));
        assert_eq!(error.stage, Stage::Config);
        error.message
    }

    #[test]
    fn what_contradicts_itself_or_is_unknown_is_refused_before_there_is_a_process() {
        use serde_json::json;
        let limit = |kind: &str, soft: u64, hard: u64| json!({"type": kind, "soft": soft, "hard": hard});
        let nothing = json!({});
        for (process, words) in [
            (json!({"rlimits": [limit("RLIMIT_MOON", 1, 1)]}), "RLIMIT_MOON"),
            (json!({"rlimits": [limit("RLIMIT_CORE", 2, 1)]}), "soft limit"),
            (json!({"rlimits": [limit("RLIMIT_CORE", 1, 1), limit("RLIMIT_CORE", 2, 2)]}), "twice"),
            (json!({"oomScoreAdj": -1001}), "oomScoreAdj"),
            (json!({"oomScoreAdj": 1001}), "oomScoreAdj"),
            (json!({"scheduler": {"policy": "SCHED_MOON"}}), "SCHED_MOON"),
            (json!({"scheduler": {"policy": "SCHED_RR", "flags": ["SCHED_FLAG_MOON"]}}), "SCHED_FLAG_MOON"),
            (json!({"scheduler": {"policy": "SCHED_OTHER", "nice": 20}}), "nice"),
            (json!({"scheduler": {"policy": "SCHED_OTHER", "priority": 1}}), "priority"),
            (json!({"scheduler": {"policy": "SCHED_FIFO", "runtime": 1}}), "SCHED_DEADLINE"),
            (json!({"ioPriority": {"class": "IOPRIO_CLASS_MOON"}}), "IOPRIO_CLASS_MOON"),
            (json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}), "between 0 and 7"),
            (json!({"execCPUAffinity": {"initial": "0-"}}), "execCPUAffinity"),
            (json!({"execCPUAffinity": {"final": "99999"}}), "execCPUAffinity"),
        ] {
            let refusal = refusal(process, nothing.clone());
            assert!(refusal.contains(words), "{words}: {refusal}");
        }
        for (linux, words) in [
            (json!({"personality": {"domain": "MOON"}}), "MOON"),
            (json!({"personality": {"domain": "LINUX", "flags": ["x"]}}), "flags"),
            (json!({"memoryPolicy": {"mode": "MPOL_MOON"}}), "MPOL_MOON"),
            (
                json!({"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_MOON"]}}),
                "MPOL_F_MOON",
            ),
            (json!({"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-"}}), "memoryPolicy.nodes"),
            (json!({"memoryPolicy": {"mode": "MPOL_BIND"}}), "needs nodes"),
            (json!({"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}}), "takes no nodes"),
        ] {
            let refusal = refusal(nothing.clone(), linux);
            assert!(refusal.contains(words), "{words}: {refusal}");
        }
    }
}
