//! A created container waits for its start.

mod common;

use common::Sandbox;
use kapsel_sandbox::Gate;
use serde_json::json;

fn gated(script: &str) -> Sandbox {
    let sandbox = Sandbox::new(script);
    let directory = sandbox.path("");
    sandbox.with(|document| document["gate"] = json!(directory))
}

#[test]
fn the_program_runs_once_the_gate_is_open() {
    assert_eq!(gated("echo now").output(), "now");
}

#[test]
fn what_fails_after_the_gate_is_told_to_whoever_opened_it() {
    let sandbox = gated("").config(|config| config["process"]["args"] = json!(["/missing"]));
    let outcome = sandbox.run();
    assert_eq!(outcome.status, 127, "{outcome:?}");
    assert!(outcome.err.contains("/missing"), "{outcome:?}");
}

#[test]
fn a_program_that_may_not_gain_privileges_is_held_as_well() {
    let held = gated("grep -c . /proc/self/status >/dev/null; ls /proc/self/fd | wc -l");
    let out = held.config(|config| config["process"]["noNewPrivileges"] = json!(true)).output();
    // 0, 1, 2 and the directory that ls reads: neither fifo is left.
    assert_eq!(out, "4");
}

#[test]
fn a_filter_that_allows_only_reading_and_writing_lets_it_through_the_gate() {
    let names = [
        "read",
        "write",
        "execve",
        "exit_group",
        "exit",
        "brk",
        "arch_prctl",
        "mmap",
        "munmap",
        "mprotect",
        "getuid",
        "prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlink",
        "getrandom",
        "setuid",
        "setgid",
        "capset",
        "capget",
        "setgroups",
        "setresuid",
        "setresgid",
        "rt_sigaction",
        "rt_sigprocmask",
        "umask",
        "geteuid",
        "getgid",
        "getegid",
        "poll",
        "stat",
        "newfstatat",
        "getpid",
        "getppid",
        "rt_sigreturn",
        "fstat",
        "ioctl",
        "fcntl",
        "dup2",
        "sigaltstack",
    ];
    let filter = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": names.to_vec(), "action": "SCMP_ACT_ALLOW"}],
    });
    assert_eq!(gated("echo now").with(|document| document["seccomp"] = filter).output(), "now");
}

#[test]
fn nobody_waits_where_no_gate_was_made_or_its_process_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    assert!(!Gate::is_waiting(directory.path()));
    assert_eq!(Gate::open(directory.path()).unwrap_err().errno, libc::ENXIO);
    let gate = Gate::make(directory.path()).unwrap();
    assert!(Gate::is_waiting(directory.path()));
    drop(gate);
    assert!(!Gate::is_waiting(directory.path()));
    assert_eq!(Gate::open(directory.path()).unwrap_err().errno, libc::ENXIO);
}
