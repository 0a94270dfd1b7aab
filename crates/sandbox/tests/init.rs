//! The built-in init.

mod common;

use common::Sandbox;
use serde_json::json;

fn with_init(script: &str) -> Sandbox {
    Sandbox::new(script).with(|document| document["init"] = json!(true))
}

#[test]
fn it_is_pid_1_and_the_program_its_child() {
    assert_eq!(
        with_init("echo $$ $PPID; tr '\\0' ' ' < /proc/1/cmdline | cut -d' ' -f1").output(),
        "2 1\nkapsel-init"
    );
}

#[test]
fn it_ends_with_the_programs_status() {
    assert_eq!(with_init("exit 7").run().status, 7);
    assert_eq!(with_init("kill -TERM $$").run().status, 143);
}

#[test]
fn it_reaps_orphans() {
    let script =
        "for i in 1 2 3 4 5; do (sleep 0 &) ; done; sleep 0.3; grep -l 'State.*Z' /proc/[0-9]*/status; true";
    assert_eq!(with_init(script).output(), "");
}

#[test]
fn it_forwards_signals() {
    let script = "trap 'echo got it; exit 5' USR1; kill -USR1 1; sleep 5 & wait";
    let outcome = with_init(script).run();
    assert_eq!((outcome.status, outcome.out.as_str()), (5, "got it\n"), "{outcome:?}");
}

#[test]
fn a_missing_program_is_reported_as_without_it() {
    let sandbox = with_init("").config(|config| config["process"]["args"] = json!(["nosuch"]));
    let outcome = sandbox.run();
    assert_eq!(outcome.status, 127);
    assert!(outcome.err.contains("executable file not found in $PATH"), "{outcome:?}");
}

#[test]
fn the_terminal_is_the_programs() {
    let sandbox = with_init("tty; stty -a | head -1 | cut -c1-15; echo x > /dev/tty").with(|document| {
        document["terminal"] = json!(true);
    });
    assert_eq!(sandbox.output().replace('\r', ""), "/dev/pts/0\nspeed 38400 bau\nx");
}

#[test]
fn it_has_the_users_rights_and_filter() {
    let outcome = with_init("grep -E 'Uid|CapEff|NoNewPrivs' /proc/1/status")
        .with(|document| document["user"] = json!("ann"))
        .config(|config| config["process"]["noNewPrivileges"] = json!(true))
        .run();
    assert_eq!(
        outcome.out, "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n",
        "{outcome:?}"
    );
}
