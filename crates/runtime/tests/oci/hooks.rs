//! Hooks (config.md, "POSIX-platform Hooks"): when they run, where, with which state, and what comes of their failure.

use std::fs;

use serde_json::{Value, json};

use crate::harness::*;

/// A hook that appends its name and the state on its stdin to a file, and then does `more`.
fn hook(world: &World, name: &str, more: &str) -> Value {
    let script = format!("{{ printf '%s ' {name}; cat; echo; }} >> {}; {more}", world.text("told"));
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
}

/// What the hooks have told: names and states.
fn told(world: &World) -> Vec<(String, Value)> {
    let text = fs::read_to_string(world.path("told")).unwrap_or_default();
    let entry = |line: &str| {
        let (name, state) = line.split_once(' ').unwrap();
        (name.to_owned(), serde_json::from_str(state).unwrap())
    };
    text.lines().map(entry).collect()
}

fn names(world: &World) -> Vec<String> {
    told(world).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn each_runs_at_its_time_with_the_state_of_that_time() {
    let world = World::sleeper();
    let mut hooks = json!({});
    for name in ["prestart", "createRuntime", "poststart", "poststop"] {
        hooks[name] = hook(&world, name, "");
    }
    // These two run in the container's namespaces; createContainer still sees the runtime's files.
    hooks["createContainer"] = hook(&world, "createContainer", "");
    hooks["startContainer"] =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/start"], "env": ["PATH=/bin"]}]);
    let world = world.set("/hooks", hooks);
    world.ok(&["create", "c"]);
    assert_eq!(names(&world), ["prestart", "createRuntime", "createContainer"]);
    assert!(!world.inside("tmp/start").exists());
    let pid = world.pid();
    world.ok(&["start", "c"]);
    let started: Value = serde_json::from_slice(&fs::read(world.inside("tmp/start")).unwrap()).unwrap();
    assert_eq!(started["status"], "created");
    assert_eq!(names(&world)[3..], ["poststart"]);
    world.stop();
    assert_eq!(names(&world).len(), 4);
    world.ok(&["delete", "c"]);
    let all = told(&world);
    assert_eq!(all.len(), 5);
    let expected = [
        ("prestart", "created"),
        ("createRuntime", "created"),
        ("createContainer", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ];
    for ((name, state), (hook, status)) in all.iter().zip(expected) {
        assert_eq!((&**name, state["status"].as_str()), (hook, Some(status)));
        assert_eq!((&state["id"], &state["annotations"]["org.example.word"]), (&json!("c"), &json!("yes")));
        assert_eq!(state["bundle"], json!(world.path("bundle").canonicalize().unwrap()));
        if status != "stopped" && hook != "createContainer" {
            assert_eq!(state["pid"], pid, "{hook}");
        }
    }
    world.nothing_remains();
}

#[test]
fn one_that_fails_before_the_start_undoes_the_container() {
    for point in ["prestart", "createRuntime", "createContainer"] {
        let world = World::sleeper();
        let mut hooks = json!({});
        hooks[point] = hook(&world, point, "exit 3");
        hooks["poststop"] = hook(&world, "poststop", "");
        let world = world.set("/hooks", hooks);
        let complaint = world.fails(1, &["create", "c"]);
        assert!(complaint.contains(point), "{complaint}");
        assert_eq!(names(&world), [point, "poststop"]);
        world.nothing_remains();
    }
}

#[test]
fn one_that_fails_after_the_start_undoes_the_container() {
    for verbs in [&[&["create", "c"][..], &["start", "c"]][..], &[&["run", "-d", "c"]]] {
        let world = World::sleeper();
        let mut hooks = json!({});
        hooks["poststart"] = hook(&world, "poststart", "exit 3");
        hooks["poststop"] = hook(&world, "poststop", "");
        let world = world.set("/hooks", hooks);
        let (last, before) = verbs.split_last().unwrap();
        before.iter().for_each(|verb| drop(world.ok(verb)));
        assert!(world.fails(1, last).contains("poststart"));
        assert_eq!(names(&world), ["poststart", "poststop"]);
        world.nothing_remains();
    }
}

#[test]
fn one_that_fails_after_the_end_is_told_of_and_changes_nothing() {
    let world = World::sleeper();
    let first = hook(&world, "first", "exit 3");
    let second = hook(&world, "second", "");
    let both = json!([first[0], second[0]]);
    let world = world.set("/hooks", json!({"poststop": both})).started();
    world.stop();
    let said = world.call(&["delete", "c"]);
    assert_eq!(said.status, 0);
    assert!(said.stderr.contains("level=warning") && said.stderr.contains("poststop"), "{}", said.stderr);
    assert_eq!(names(&world), ["first", "second"]);
    world.nothing_remains();
}

#[test]
fn one_that_never_ends_is_killed_when_its_time_is_over() {
    let world = World::sleeper();
    let long = format!("echo $$ > {}; sleep 1000; true", world.text("group"));
    let mut hooks = json!({"createRuntime": hook(&world, "createRuntime", &long)});
    hooks["createRuntime"][0]["timeout"] = json!(1);
    let world = world.set("/hooks", hooks);
    let complaint = world.fails(1, &["create", "c"]);
    assert!(complaint.contains("createRuntime"), "{complaint}");
    // With what it has started. Whoever was killed waits a moment for the machine's first process.
    let group: i32 = fs::read_to_string(world.path("group")).unwrap().trim().parse().unwrap();
    // SAFETY: no pointer is passed.
    until("the end of its group", || (unsafe { libc::kill(-group, 0) } == -1).then_some(()));
    world.nothing_remains();
}

#[test]
fn a_container_run_in_the_foreground_has_its_poststop_hook_run() {
    let world = World::new("exit 4");
    let hooks = json!({"poststop": hook(&world, "poststop", "")});
    let world = world.set("/hooks", hooks);
    assert_eq!(world.call(&["run", "c"]).status, 4);
    assert_eq!(names(&world), ["poststop"]);
    world.nothing_remains();
}
