//! `kill`: a signal for a container's first process, or for all of them.

use std::ffi::OsString;

use kapsel_sandbox::spec::Status;

use super::arguments::{Arguments, Flag, switch, usage};
use super::container::{Container, not_running};
use super::{Context, removal};
use crate::ExitCode;
use crate::error::Result;

/// The flags.
pub const FLAGS: &[Flag] = &[switch("all").short('a')];

/// Names without `SIG` and their numbers, which x86-64 and aarch64 share.
const NAMES: [(&str, i32); 34] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// `kill [--all] ID [SIGNAL]`.
pub fn kill(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let (id, words) = arguments.id_and_words()?;
    let signal = signal(words)?;
    let container = Container::open(&context.store, id)?;
    if arguments.has("all") {
        kill_all(&container, signal)?;
        return Ok(ExitCode::SUCCESS);
    }
    let status = container.status();
    if status == Status::Stopped {
        return Err(not_running());
    }
    removal::kill(&container.process()?, signal)?;
    if status == Status::Paused && signal == libc::SIGKILL {
        // On cgroup v1 a frozen process does not die before it is thawed, and it does nothing else then.
        container.own_cgroup("resume")?.thaw()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every process of its cgroup. One that has stopped may have left some; where nothing is left nothing is to be done.
fn kill_all(container: &Container, signal: i32) -> Result<()> {
    match container.cgroup()? {
        Some(cgroup) if signal == libc::SIGKILL => Ok(cgroup.kill_all()?),
        Some(cgroup) => Ok(cgroup.signal_all(signal)?),
        None => match container.process() {
            Ok(process) => removal::kill(&process, signal),
            Err(_) => Ok(()),
        },
    }
}

/// SIGTERM, a number, or a name with or without `SIG`.
fn signal(words: &[OsString]) -> Result<i32> {
    let word = match words {
        [] => return Ok(libc::SIGTERM),
        [word] => word.to_str().unwrap_or_default(),
        [_, more, ..] => return Err(usage(format!("{:?} is one word too many", more.display()))),
    };
    if let Ok(number) = word.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(unknown(word)) };
    }
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    known.or_else(|| real_time(name)).ok_or_else(|| unknown(word))
}

/// `RTMIN+1`, `RTMAX-2` and the like.
fn real_time(name: &str) -> Option<i32> {
    let offset = |text: &str, sign: char| {
        if text.is_empty() { Some(0) } else { text.strip_prefix(sign)?.parse::<i32>().ok() }
    };
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => first.checked_add(offset(rest, '+')?)?,
        (None, Some(rest)) => last.checked_sub(offset(rest, '-')?)?,
        (None, None) => return None,
    };
    (first..=last).contains(&number).then_some(number)
}

fn unknown(word: &str) -> crate::error::Error {
    usage(format!("unknown signal {word:?}: it is a number from 1 to 64 or a name such as TERM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_numbers_and_names() {
        let of = |word: &str| signal(&[word.into()]).ok();
        assert_eq!(signal(&[]).ok(), Some(15));
        for (word, number) in
            [("9", 9), ("KILL", 9), ("SIGkill", 9), ("usr1", 10), ("RTMIN+1", 35), ("SIGRTMAX", 64)]
        {
            assert_eq!(of(word), Some(number), "{word}");
        }
        for word in ["0", "65", "-1", "SIG", "NONSENSE", "RTMIN+99", "RTMIN-1", ""] {
            assert_eq!(of(word), None, "{word}");
        }
    }
}
