//! Hooks: each at its moment, in its namespaces, with the state on stdin.

mod common;

use std::fs;

use common::Sandbox;
use serde_json::{Value, json};

/// A hook that appends what `script` prints to a file of the test's.
fn hook(sandbox: &Sandbox, script: &str) -> Value {
    let log = sandbox.path("log");
    json!({"path": "/bin/sh", "args": ["sh", "-c", format!("({script}) >> {}", log.display())], "env": ["PATH=/bin:/usr/bin"]})
}

fn with_hooks(sandbox: Sandbox, hooks: Value) -> Sandbox {
    let bundle = sandbox.path("");
    sandbox
        .on_directory()
        .with(|document| document["bundle"] = json!(bundle))
        .config(|config| config["hooks"] = hooks)
}

#[test]
fn each_runs_at_its_moment_in_its_namespaces() {
    let sandbox = Sandbox::new("cat /tmp/made; echo program");
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    let image = sandbox.path("image").display().to_string();
    let where_am_i = "readlink /proc/self/ns/mnt";
    let hooks = json!({
        "prestart": [hook(&sandbox, "echo prestart")],
        "createRuntime": [hook(&sandbox, &format!("echo createRuntime; {where_am_i}"))],
        // The container's mounts are there, where the bundle has its root.
        "createContainer": [hook(&sandbox, &format!("echo createContainer; {where_am_i}; stat -f -c %T {image}/proc; hostname; echo made > {image}/tmp/made"))],
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/state; echo start >> /tmp/made; id -u >> /tmp/made"]}],
    });
    let sandbox =
        with_hooks(sandbox, hooks).config(|config| config["process"]["user"] = json!({"uid": 0, "gid": 0}));
    assert_eq!(sandbox.output(), "made\nstart\n0\nprogram");
    let log = fs::read_to_string(sandbox.path("log")).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    let own = own.to_str().unwrap();
    assert_eq!(lines[..3], ["prestart", "createRuntime", own], "{log}");
    assert_eq!((lines[3], lines[5], lines[6]), ("createContainer", "proc", "sandbox"), "{log}");
    assert_ne!(lines[4], own, "{log}");
    let state: Value = serde_json::from_slice(&fs::read(sandbox.path("image/tmp/state")).unwrap()).unwrap();
    assert_eq!((&state["status"], &state["id"]), (&json!("created"), &json!("c")));
    assert_eq!(state["bundle"], json!(sandbox.path("")));
    assert_eq!(state["pid"], json!(1), "{state}");
}

#[test]
fn one_that_fails_ends_the_container_before_the_next() {
    for point in ["prestart", "createRuntime", "createContainer"] {
        let sandbox = Sandbox::new("echo program");
        let failing =
            json!({"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; echo such luck >&2; exit 3"]});
        let next = hook(&sandbox, "echo next");
        let mut hooks = json!({});
        hooks[point] = json!([failing, next]);
        let sandbox = with_hooks(sandbox, hooks);
        let refusal = sandbox.refusal();
        let expected = format!("hooks.{point}[0] (/bin/sh) failed with exit status 3: no such luck");
        assert!(refusal.contains(&expected), "{refusal}");
        assert!(!sandbox.path("log").exists());
    }
}

#[test]
fn one_that_does_not_end_is_killed() {
    let sandbox = Sandbox::new("echo program");
    let slow = json!({"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1});
    let refusal = with_hooks(sandbox, json!({"createRuntime": [slow]})).refusal();
    assert!(refusal.contains("timeout"), "{refusal}");
}

#[test]
fn one_that_does_not_read_or_leaves_a_child_behind_holds_nobody_up() {
    let sandbox = Sandbox::new("echo program");
    let large: String = "x".repeat(200_000);
    let daemon = json!({"path": "/bin/sh", "args": ["sh", "-c", "sleep 3 & exit 0"]});
    let sandbox =
        with_hooks(sandbox, json!({"prestart": [daemon], "createRuntime": [{"path": "/bin/true"}]}))
            .config(|config| config["annotations"] = json!({"large": large}));
    assert_eq!(sandbox.output(), "program");
}

#[test]
fn a_missing_hook_and_a_relative_one_are_named() {
    for (path, word) in [("/missing", "no such file"), ("sh", "absolute")] {
        let sandbox = with_hooks(Sandbox::new(""), json!({"startContainer": [{"path": path}]}));
        let refusal = sandbox.refusal();
        assert!(
            refusal.contains(&format!("hooks.startContainer[0] ({path})")) && refusal.contains(word),
            "{refusal}"
        );
    }
}
