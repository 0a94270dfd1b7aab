//! SCMP_ACT_NOTIFY: a supervisor outside answers the container's system calls, whichever they are.

mod common;
mod supervisor;

use std::{os::unix::net::UnixListener, thread::spawn};

use common::{Outcome, Sandbox, process};
use serde_json::{Value, json};
use supervisor::{answer, next, supervise};

const MKDIRS: [&str; 2] = ["mkdir", "mkdirat"];

/// The sandbox with a filter that asks at `socket` about these calls.
fn asking(sandbox: Sandbox, names: &[&str]) -> Sandbox {
    let socket = sandbox.path("supervisor");
    sandbox
        .with(|document| {
            document["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": socket,
                "listenerMetadata": "words of its own",
                "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
            });
            document["bundle"] = json!("/the/bundle");
        })
        .config(|config| config["annotations"] = json!({"of": "x".repeat(100_000)}))
}

#[test]
fn a_supervisor_answers_a_call_and_knows_whose_it_is() {
    for no_new_privileges in [true, false] {
        let sandbox = asking(Sandbox::new("mkdir /x; echo $?; echo done"), &MKDIRS)
            .config(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges));
        let supervisor = supervise(&sandbox.path("supervisor"), 1, Some(libc::EMULTIHOP));
        let outcome = sandbox.run();
        let seen = supervisor.join().unwrap();
        assert_eq!(outcome.out, "1\ndone\n", "{outcome:?}");
        assert!(outcome.err.contains("Multihop"), "{outcome:?}");
        assert_eq!(seen.calls.len(), 1);
        let state = &seen.states[0];
        assert_eq!(state["ociVersion"], "1.3.0");
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["metadata"], "words of its own");
        assert_eq!(state["state"]["status"], "creating");
        assert_eq!(state["state"]["bundle"], "/the/bundle");
        assert_eq!(state["state"]["annotations"]["of"].as_str().map(str::len), Some(100_000));
        assert!(state["pid"].as_i64() > Some(1) && state["pid"] == state["state"]["pid"], "{}", state["pid"]);
    }
}

/// runc refuses write(2) here and crun waits for ever for sendmsg(2): whatever the program's start needs, the supervisor
/// has the listener before it is asked.
#[test]
fn every_single_call_may_be_asked_about() {
    for (no_new_privileges, gate, init) in [(true, false, false), (true, true, false), (false, false, true)] {
        let sandbox = asking(Sandbox::new("echo ran"), &[]).with(|document| {
            document["seccomp"]["defaultAction"] = json!("SCMP_ACT_NOTIFY");
            document["seccomp"]["syscalls"] = json!([]);
            document["seccomp"]["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
            document["config"]["process"]["noNewPrivileges"] = json!(no_new_privileges);
            document["init"] = json!(init);
        });
        let sandbox = if gate {
            let directory = sandbox.path("gate");
            std::fs::create_dir(&directory).unwrap();
            sandbox.with(|document| document["gate"] = json!(directory))
        } else {
            sandbox
        };
        let supervisor = supervise(&sandbox.path("supervisor"), 1, None);
        let outcome = sandbox.run();
        let seen = supervisor.join().unwrap();
        assert_eq!((outcome.status, outcome.out.as_str()), (0, "ran\n"), "{outcome:?}");
        assert!(seen.calls.contains(&(libc::SYS_execve as i32)) || init, "{:?}", seen.calls);
    }
}

#[test]
fn what_joins_a_container_has_a_listener_of_its_own() {
    let sandbox = asking(Sandbox::new("while :; do sleep 1; done"), &MKDIRS).with(|document| {
        document["exec"] = json!([{"process": process("mkdir /x || echo refused")}]);
    });
    let path = sandbox.path("supervisor");
    let socket = UnixListener::bind(path).unwrap();
    let supervisor = spawn(move || {
        // Both at once: the first process lives as long as the second.
        let both = [0, 1].map(|_| {
            let (state, listener) = next(&socket);
            (state, spawn(move || answer(&listener, &mut Vec::new(), |_| Some(libc::EMULTIHOP))))
        });
        both.map(|(state, answering)| {
            answering.join().unwrap();
            state["pid"].as_i64().unwrap()
        })
    });
    let outcome = sandbox.run();
    assert!(outcome.out.ends_with("refused\n"), "{outcome:?}");
    let [first, second] = supervisor.join().unwrap();
    assert_ne!(first, second);
}

#[test]
fn without_somebody_who_answers_nothing_starts() {
    let nobody = |change: fn(&mut Value)| -> Outcome {
        asking(Sandbox::new("echo ran"), &MKDIRS).with(|document| change(&mut document["seccomp"])).run()
    };
    let unnamed = nobody(|seccomp| {
        seccomp.as_object_mut().unwrap().retain(|name, _| !name.starts_with("listener"));
    });
    assert!(unnamed.err.contains("CONFIG_INVALID") && unnamed.err.contains("listenerPath"), "{unnamed:?}");
    let absent = nobody(|_| ());
    assert!(absent.err.contains("/supervisor: no such file"), "{absent:?}");
    let file = nobody(|seccomp| seccomp["listenerPath"] = json!("/etc/passwd"));
    assert!(file.err.contains("/etc/passwd: connection refused"), "{file:?}");
    for outcome in [unnamed, absent, file] {
        assert_eq!((outcome.status, outcome.out.as_str()), (125, ""), "{outcome:?}");
    }
}
