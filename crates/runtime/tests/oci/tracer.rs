//! Kills a program at a moment that is counted, not timed: after so many system calls (ptrace(2)).

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Runs the command and kills it where it enters or leaves a system call for the `stops`th time. Whether it had ended
/// by itself before. What it starts is not traced and lives on.
pub fn killed_after(command: &mut Command, stops: usize) -> bool {
    let trace_me = || {
        // SAFETY: neither pointer is looked at.
        match unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    // SAFETY: ptrace may be called between fork and exec.
    let pid = unsafe { command.pre_exec(trace_me) }.spawn().unwrap().id() as i32;
    for _ in 0..stops {
        let Some(signal) = wait_for_stop(pid) else { return true };
        // SAFETY: the process is ours and stopped; the third argument is unused, the fourth a number.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, signal) }, 0);
    }
    if wait_for_stop(pid).is_none() {
        return true;
    }
    // SAFETY: no pointer is passed, and the process is ours and not reaped yet.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    while wait_for_stop(pid).is_some() {}
    false
}

/// The signal to hand on to the process that has stopped; none where it has ended.
fn wait_for_stop(pid: i32) -> Option<i32> {
    let mut status = 0;
    // SAFETY: `status` is an integer to fill.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) }, pid);
    libc::WIFSTOPPED(status).then(|| match libc::WSTOPSIG(status) {
        // That of a system call, or of an execve.
        libc::SIGTRAP => 0,
        signal => signal,
    })
}
