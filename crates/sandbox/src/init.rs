//! The built-in init: PID 1 that reaps, forwards signals and ends with the program's status, as tini does.
//!
//! It is the same executable run again, sealed (see [`crate::seal`]), because /proc/1/exe is a file of the host.

use std::{
    ffi::OsString,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, SigmaskHow, sigprocmask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};

use crate::{
    Error,
    channel::Child,
    error::{At, Stage},
    namespaces::hide,
    process::fail,
    program::{INIT, Program},
    signals,
    sys::process::prctl,
};

/// Becomes the init of a container if that is what this process was executed for, and then never returns.
/// The first line of the `main` of every program that calls [`crate::launch()`] with [`crate::Plan::init`], which must be
/// linked statically: the container has no libraries for it.
pub fn run_if_asked() {
    let mut words = std::env::args_os();
    if words.next().is_none_or(|name| name.as_encoded_bytes() != INIT.to_bytes()) {
        return;
    }
    let Some(channel) = words.next().and_then(channel) else { return };
    let status = run(channel, words.map(|word| word.to_string_lossy().into_owned()).collect());
    // SAFETY: ends the process; there is nothing to clean up.
    unsafe { libc::_exit(status) }
}

/// The socket that the sandbox left open, if it is one: a person who types the init's name has none.
fn channel(word: OsString) -> Option<Child> {
    let number: RawFd = word.to_str()?.parse().ok()?;
    // SAFETY: fcntl only looks; a number that is no descriptor is an error.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return None;
    }
    // SAFETY: it is open, and the sandbox left it to us.
    Some(Child::from(unsafe { OwnedFd::from_raw_fd(number) }))
}

fn run(channel: Child, words: Vec<String>) -> i32 {
    // execve has made the process visible again.
    let started = hide().and_then(|()| start(&channel, words));
    match started {
        Err(error) => fail(&channel, &error),
        Ok(program) => {
            // Closed here and by the program's execve: the end that the monitor waits for.
            drop(channel);
            tend(program)
        }
    }
}

fn start(channel: &Child, words: Vec<String>) -> Result<Pid, Error> {
    let program = Program::from_words(words)?;
    // Kept pending for `tend`: none is lost between here and there.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)
        .at(Stage::Init, || "cannot block the signals")?;
    // fork, not clone3: the container's filter is in force, and Docker's default answers clone3 with ENOSYS.
    // SAFETY: an executable that has just started has one thread.
    match unsafe { fork() }.at(Stage::Init, || "cannot make the program's process")? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            lead_terminal();
            signals::reset();
            let _ = prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0);
            fail(channel, &program.execute())
        }
    }
}

/// The program gets what is typed at the terminal, Ctrl-C included, not the init. Without a terminal nothing happens.
fn lead_terminal() {
    // SAFETY: integers only; SIGTTOU, which a change of the foreground group would send, is still blocked.
    unsafe {
        libc::setpgid(0, 0);
        libc::tcsetpgrp(0, libc::getpid());
    }
}

/// Reaps whoever ends and forwards every other signal, until the program has ended; gives its status as a shell would.
fn tend(program: Pid) -> i32 {
    let all = SigSet::all();
    loop {
        let mut signal = 0;
        // SAFETY: the set and the number are local values; nix has no names for the real-time signals.
        if unsafe { libc::sigwait(all.as_ref(), &raw mut signal) } != 0 {
            continue;
        }
        if signal != libc::SIGCHLD {
            // SAFETY: integers only. The program is our child and not reaped: the number cannot mean another process.
            unsafe { libc::kill(program.as_raw(), signal) };
        } else if let Some(status) = reap(program) {
            return status;
        }
    }
}

fn reap(program: Pid) -> Option<i32> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == program => return Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => return Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            Ok(_) | Err(_) => {}
        }
    }
}
