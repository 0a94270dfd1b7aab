//! A container from `create` to `delete`, and what cannot be done when.

use std::fs;

use serde_json::{Value, json};

use crate::harness::*;

#[test]
fn a_container_is_created_started_killed_and_deleted() {
    let world = World::new("touch /tmp/ran; exec sleep 1000");
    world.ok(&["create", "--pid-file", &world.text("pid"), "c"]);
    let state = world.state();
    assert_eq!(fs::read_to_string(world.path("pid")).unwrap(), state["pid"].to_string());
    let bundle = world.path("bundle").canonicalize().unwrap();
    assert_eq!(
        state,
        json!({
            "ociVersion": "1.3.0",
            "id": "c",
            "pid": state["pid"],
            "status": "created",
            "bundle": bundle,
            "rootfs": bundle.join("rootfs"),
            "created": state["created"],
            "annotations": {"org.example.word": "yes"},
            "owner": "root",
        })
    );
    assert!(!world.inside("tmp/ran").exists(), "the program waits for its start");
    world.ok(&["start", "c"]);
    until("the program", || world.inside("tmp/ran").exists().then_some(()));
    assert_eq!((world.status(), world.pid()), ("running".into(), state["pid"].as_i64().unwrap() as i32));
    world.ok(&["kill", "c", "KILL"]);
    until("the end", || (world.status() == "stopped").then_some(()));
    assert_eq!(world.pid(), 0);
    world.ok(&["delete", "c"]);
    world.nothing_remains();
}

#[test]
fn a_container_that_is_only_created_can_be_killed() {
    let world = World::sleeper();
    world.ok(&["create", "c"]);
    world.stop();
    let complaint = world.fails(1, &["start", "c"]);
    assert!(complaint.contains("stopped"), "{complaint}");
    world.ok(&["delete", "c"]);
    world.nothing_remains();
}

#[test]
fn what_a_container_is_too_far_for_is_refused() {
    let world = World::sleeper().started();
    assert!(world.fails(1, &["start", "c"]).contains("cannot start an already running container"));
    assert!(
        world.fails(1, &["delete", "c"]).contains("cannot delete container c that is not stopped: running")
    );
    assert!(world.fails(1, &["create", "c"]).contains("container with id c exists"));
    assert!(world.fails(1, &["run", "c"]).contains("container with id c exists"));
    assert!(world.fails(1, &["resume", "c"]).contains("not paused"));
    assert_eq!(world.status(), "running");
    world.stop();
    // The words that containerd and podman look for.
    for signal in ["KILL", "TERM"] {
        assert!(world.fails(1, &["kill", "c", signal]).contains("container not running"));
    }
    for verb in [&["pause", "c"][..], &["events", "--stats", "c"], &["update", "--pids-limit", "9", "c"]] {
        assert!(world.fails(1, verb).contains("not running"), "{verb:?}");
    }
    world.fails(255, &["exec", "c", "true"]);
    world.ok(&["kill", "--all", "c", "KILL"]);
    assert_eq!(world.ok(&["ps", "--format", "json", "c"]), "[]\n");
    world.ok(&["delete", "c"]);
    world.nothing_remains();
}

#[test]
fn a_container_that_does_not_exist_is_unknown_to_every_verb() {
    let world = World::sleeper();
    for verb in ["state", "start", "kill", "delete", "pause", "resume", "ps", "events"] {
        assert!(world.fails(1, &[verb, "c"]).contains("does not exist"), "{verb}");
    }
    assert!(world.fails(1, &["update", "--pids-limit", "9", "c"]).contains("does not exist"));
    assert!(world.fails(255, &["exec", "c", "true"]).contains("does not exist"));
    world.ok(&["delete", "--force", "c"]);
    world.nothing_remains();
}

#[test]
fn force_removes_a_container_in_every_state() {
    let world = World::sleeper();
    world.ok(&["create", "c"]);
    world.ok(&["delete", "--force", "c"]);
    world.nothing_remains();
    world.ok(&["run", "-d", "c"]);
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
    world.ok(&["run", "-d", "c"]);
    world.ok(&["pause", "c"]);
    world.ok(&["delete", "--force", "c"]);
    world.nothing_remains();
}

#[test]
fn kill_all_reaches_what_the_first_process_left() {
    let mut world = World::new(
        "trap '' TERM; (trap 'exit' TERM; touch /tmp/second; while :; do sleep 1; done) & wait; exec sleep 1000",
    );
    // Without a PID namespace the others outlive the first process.
    world.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|it| it["type"] != "pid");
    let world = world.started();
    until("the second process", || world.inside("tmp/second").exists().then_some(()));
    let pids = |world: &World| -> Vec<i32> {
        serde_json::from_str(&world.ok(&["ps", "--format", "json", "c"])).unwrap()
    };
    assert!(pids(&world).len() >= 2);
    world.ok(&["kill", "c", "KILL"]);
    until("the end", || (world.status() == "stopped").then_some(()));
    assert!(!pids(&world).is_empty());
    world.ok(&["kill", "--all", "c", "9"]);
    until("the end of all", || pids(&world).is_empty().then_some(()));
    world.ok(&["delete", "c"]);
    world.nothing_remains();
}

#[test]
fn deleting_a_container_ends_what_its_first_process_left() {
    let mut world = World::new("sleep 1000 & exit");
    world.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|it| it["type"] != "pid");
    let world = world.started();
    until("the end", || (world.status() == "stopped").then_some(()));
    assert_eq!(world.processes().len(), 1);
    world.ok(&["delete", "c"]);
    world.nothing_remains();
}

#[test]
fn signals_go_by_name_and_number() {
    let world = World::new("trap 'echo usr1 >> /tmp/got' USR1; trap 'echo hup >> /tmp/got' HUP; touch /tmp/ready; while :; do sleep 0.01; done").started();
    until("the traps", || world.inside("tmp/ready").exists().then_some(()));
    let got = || fs::read_to_string(world.inside("tmp/got")).unwrap_or_default();
    for (signal, expected) in [("USR1", "usr1\n"), ("SIGHUP", "usr1\nhup\n"), ("10", "usr1\nhup\nusr1\n")] {
        world.ok(&["kill", "c", signal]);
        until("the signal", || (got() == expected).then_some(()));
    }
    for signal in ["NONSENSE", "0", "65"] {
        assert!(world.fails(1, &["kill", "c", signal]).contains("unknown signal"));
    }
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn a_paused_container_runs_no_instruction_until_it_is_resumed() {
    let world = World::new("while :; do echo x >> /tmp/count; sleep 0.01; done").started();
    let count = || fs::metadata(world.inside("tmp/count")).map_or(0, |file| file.len());
    until("the program", || (count() > 0).then_some(()));
    world.ok(&["pause", "c"]);
    assert_eq!(world.status(), "paused");
    let before = count();
    assert!(world.fails(1, &["pause", "c"]).contains("paused"));
    assert!(world.fails(1, &["delete", "c"]).contains("that is not stopped: paused"));
    assert!(world.fails(255, &["exec", "c", "true"]).contains("cannot exec in a paused container"));
    assert_eq!(count(), before);
    world.ok(&["resume", "c"]);
    until("more", || (count() > before).then_some(()));
    assert_eq!(world.status(), "running");
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

#[test]
fn a_paused_container_that_is_killed_is_stopped() {
    let world = World::sleeper().started();
    world.ok(&["pause", "c"]);
    world.ok(&["kill", "c", "KILL"]);
    until("the end", || (world.status() == "stopped").then_some(()));
    world.ok(&["delete", "c"]);
    world.nothing_remains();
}

/// The record of a container whose process's number has come to mean another process.
fn with_recycled_pid(world: &World, pid: u32) {
    let path = world.path("root/c/state.json");
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["process"]["pid"] = json!(pid);
    fs::write(path, record.to_string()).unwrap();
}

#[test]
fn a_number_that_has_come_to_mean_another_process_is_never_signalled() {
    let world = World::sleeper().started();
    // Start times are told in ticks of ten milliseconds: in one tick no number is used twice.
    std::thread::sleep(std::time::Duration::from_millis(30));
    let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    world.stop();
    with_recycled_pid(&world, stranger.id());
    assert_eq!(world.status(), "stopped");
    assert!(world.fails(1, &["kill", "c", "KILL"]).contains("container not running"));
    world.fails(255, &["exec", "c", "true"]);
    world.ok(&["delete", "--force", "c"]);
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    world.nothing_remains();
}

#[test]
fn of_two_starts_at_once_one_succeeds() {
    let world = World::new("echo x >> /tmp/count; exec sleep 1000");
    world.ok(&["create", "c"]);
    let mut starts: Vec<_> = (0..4).map(|_| world.command(&["start", "c"]).spawn().unwrap()).collect();
    let successes =
        starts.iter_mut().filter_map(|it| it.wait().ok()).filter(|status| status.success()).count();
    assert_eq!(successes, 1);
    until("the program", || world.inside("tmp/count").exists().then_some(()));
    assert_eq!(fs::read(world.inside("tmp/count")).unwrap(), b"x\n");
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn of_two_containers_of_one_name_at_once_one_is_made() {
    let world = World::sleeper();
    let mut creates: Vec<_> = (0..4).map(|_| world.command(&["create", "c"]).spawn().unwrap()).collect();
    let successes =
        creates.iter_mut().filter_map(|it| it.wait().ok()).filter(|status| status.success()).count();
    assert_eq!((successes, world.status()), (1, "created".into()));
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

#[test]
fn a_container_that_cannot_be_made_leaves_nothing() {
    let program = |args: Value| World::sleeper().set("/process/args", args);
    for (world, words) in [
        (program(json!(["/bin/none"])), "no such file or directory"),
        (program(json!(["none"])), "executable file not found in $PATH"),
        (program(json!(["/etc/passwd"])), "permission denied"),
        (World::sleeper().set("/root/path", "elsewhere"), "elsewhere"),
        (
            World::sleeper().set("/linux/resources", json!({"pids": {"limit": 5}, "unified": {"a/b": "1"}})),
            "unified",
        ),
        (World::sleeper().set("/linux/namespaces/0/path", "/proc/self/ns/net"), "namespace"),
        (World::sleeper().set("/linux/sysctl", json!({"kernel.none": "1"})), "kernel.none"),
    ] {
        for verb in [&["create", "--pid-file", "pid", "c"][..], &["run", "c"], &["run", "--detach", "c"]] {
            let complaint = world.fails(1, verb);
            assert!(complaint.to_lowercase().contains(&words.to_lowercase()), "{verb:?}: {complaint}");
            assert!(!world.path("bundle/pid").exists());
            world.nothing_remains();
        }
    }
}

#[test]
fn a_container_without_a_path_for_its_cgroup_has_one_of_its_name() {
    let mut world = World::sleeper();
    world.config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    // Unlike all others of the machine.
    let id = world.cgroup.trim_start_matches('/').to_owned();
    world.ok(&["run", "-d", &id]);
    assert!(!cgroups(&world.cgroup).is_empty());
    world.ok(&["delete", "-f", &id]);
    world.nothing_remains();
}

#[test]
fn a_relative_path_for_a_cgroup_is_below_the_hierarchys_root() {
    let world = World::sleeper();
    let relative = world.cgroup.trim_start_matches('/').to_owned();
    let world = world.set("/linux/cgroupsPath", relative).started();
    assert!(!cgroups(&world.cgroup).is_empty());
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}
