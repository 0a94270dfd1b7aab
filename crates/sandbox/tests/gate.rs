//! A created container waits for its start, and a held one for its caller.

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

#[test]
fn a_held_program_runs_when_its_caller_lets_it_go() {
    let held = |sandbox: Sandbox| sandbox.with(|document| document["held"] = json!(true));
    assert_eq!(held(Sandbox::new("echo now")).output(), "let go\nnow");
    let unprivileged = held(Sandbox::new("echo now"))
        .config(|config| config["process"]["noNewPrivileges"] = json!(true))
        .with(|document| document["init"] = json!(true));
    assert_eq!(unprivileged.output(), "let go\nnow");
    let failed =
        held(Sandbox::new("")).config(|config| config["process"]["args"] = json!(["/missing"])).run();
    assert_eq!((failed.status, failed.out.as_str()), (127, "let go\n"), "{failed:?}");
    let nobody = held(Sandbox::new("")).with(|document| document["user"] = json!("nobody-there"));
    assert!(nobody.refusal().contains("nobody-there"));
}
