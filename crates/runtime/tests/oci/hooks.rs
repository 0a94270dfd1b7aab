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
fn one_that_fails_at_the_start_or_after_it_undoes_the_container() {
    for point in ["startContainer", "poststart"] {
        for verbs in [&[&["create", "c"][..], &["start", "c"]][..], &[&["run", "-d", "c"]]] {
            let world = World::sleeper();
            // The first of them has the container's root: nobody else's files are there.
            let mut hooks = json!({(point): [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]});
            hooks["poststop"] = hook(&world, "poststop", "");
            let world = world.set("/hooks", hooks);
            let (last, before) = verbs.split_last().unwrap();
            before.iter().for_each(|verb| drop(world.ok(verb)));
            let complaint = world.fails(1, last);
            assert!(complaint.contains(point) && complaint.contains("exit status 3"), "{complaint}");
            assert_eq!(names(&world), ["poststop"]);
            world.nothing_remains();
        }
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

/// Where one never ends: what `last`, and nothing before it, makes of that.
fn endless(point: &str, before: &[&[&str]], last: &[&str]) -> Said {
    let world = World::sleeper();
    let long = format!("echo $$ > {}; sleep 1000; true", world.text("group"));
    let mut hooks = json!({(point): [{"path": "/bin/sh", "args": ["sh", "-c", long], "timeout": 1}]});
    if point == "startContainer" {
        // It cannot write to the host.
        hooks[point][0]["args"][2] = json!("sleep 1000; true");
        hooks[point][0]["env"] = json!(["PATH=/bin"]);
    }
    let world = world.set("/hooks", hooks);
    before.iter().for_each(|verb| drop(world.ok(verb)));
    let said = world.call(last);
    // With what it has started. In the container's namespace of processes it ended with that.
    if ["createRuntime", "poststart", "poststop"].contains(&point) {
        let group: i32 = fs::read_to_string(world.path("group")).unwrap().trim().parse().unwrap();
        // Whoever was killed waits a moment for the machine's first process.
        // SAFETY: no pointer is passed.
        until("the end of its group", || (unsafe { libc::kill(-group, 0) } == -1).then_some(()));
    }
    world.nothing_remains();
    said
}

#[test]
fn one_that_never_ends_is_killed_when_its_time_is_over() {
    let (create, start) = (&["create", "c"][..], &["start", "c"][..]);
    let table = [
        ("prestart", &[][..], create, 1),
        ("createRuntime", &[], create, 1),
        ("createContainer", &[], create, 1),
        ("startContainer", &[create], start, 1),
        ("poststart", &[create], start, 1),
        ("poststop", &[create], &["delete", "--force", "c"], 0),
    ];
    // At the same time: each takes its second.
    std::thread::scope(|scope| {
        for (point, before, last, status) in table {
            scope.spawn(move || {
                let said = endless(point, before, last);
                assert_eq!(said.status, status, "{point}: {said:?}");
                assert!(said.stderr.contains(point) && said.stderr.contains("timeout"), "{said:?}");
            });
        }
    });
}

#[test]
fn its_environment_is_the_documents_and_nothing_else() {
    for (env, expected) in [(json!(["A=b=c", "EMPTY="]), "A=b=c\0EMPTY=\0"), (json!([]), "")] {
        let world = World::sleeper();
        let points =
            ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
        let mut hooks = json!({});
        for point in points {
            let file = if point == "startContainer" { "/tmp/told".to_owned() } else { world.text(point) };
            // Not by a shell, which adds its own.
            let args = ["dd".to_owned(), "if=/proc/self/environ".to_owned(), format!("of={file}")];
            hooks[point] = json!([{"path": "/bin/dd", "args": args, "env": env}]);
        }
        let world = world.set("/hooks", hooks).started();
        world.ok(&["delete", "--force", "c"]);
        for point in points {
            let inside = point == "startContainer";
            let file = if inside { world.inside("tmp/told") } else { world.path(point) };
            assert_eq!(fs::read_to_string(file).unwrap(), expected, "{point}");
        }
        world.nothing_remains();
    }
}

#[test]
fn who_asks_while_it_runs_sees_a_container_that_is_being_created() {
    let world = World::sleeper();
    let state =
        format!("{} --root {} state c > {}", executable().display(), world.text("root"), world.text("state"));
    let hooks = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", state]}]});
    let world = world.set("/hooks", hooks);
    world.ok(&["create", "c"]);
    let seen: Value = serde_json::from_slice(&fs::read(world.path("state")).unwrap()).unwrap();
    assert_eq!((&seen["status"], &seen["id"]), (&json!("creating"), &json!("c")));
    assert_eq!(world.status(), "created");
    world.ok(&["delete", "--force", "c"]);
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
