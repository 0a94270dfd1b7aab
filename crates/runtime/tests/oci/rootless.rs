//! The same, by an ordinary user.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::*;

/// Nobody's id: it has no subordinate ids either.
const USER: u32 = 54_321;

/// A world that belongs to the user.
fn world(script: &str) -> World {
    let mut world = World::new(script);
    world.config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    for name in ["", "bundle", "bundle/rootfs", "bundle/rootfs/tmp"] {
        chown(world.path(name), Some(USER), Some(USER)).unwrap();
    }
    world
}

fn command(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.command(arguments);
    command.uid(USER).gid(USER);
    command
}

fn call(world: &World, arguments: &[&str]) -> Said {
    Said::by(&mut command(world, arguments))
}

#[test]
fn an_ordinary_user_runs_a_container() {
    let world = world("id -u; cat /proc/self/uid_map; exit 3");
    let said = call(&world, &["run", "c"]);
    let words: Vec<&str> = said.stdout.split_whitespace().collect();
    assert_eq!((said.status, &words[..]), (3, &["0", "0", "54321", "1"][..]), "{}", said.stderr);
    world.nothing_remains();
}

#[test]
fn a_container_lives_through_all_verbs_without_a_cgroup() {
    let world = world("trap 'exit 4' TERM; while :; do sleep 0.01; done");
    let ok = |arguments: &[&str]| {
        let said = call(&world, arguments);
        assert_eq!(said.status, 0, "{arguments:?}: {}", said.stderr);
        said.stdout
    };
    ok(&["create", "c"]);
    assert!(ok(&["state", "c"]).contains("\"created\""));
    ok(&["start", "c"]);
    assert_eq!(ok(&["exec", "c", "id", "-u"]), "0\n");
    assert!(call(&world, &["pause", "c"]).stderr.contains("no cgroup"));
    assert!(ok(&["ps", "-f", "json", "c"]).starts_with('['));
    ok(&["kill", "c", "KILL"]);
    until("the end", || ok(&["state", "c"]).contains("\"stopped\"").then_some(()));
    ok(&["delete", "c"]);
    world.nothing_remains();
}

#[test]
fn a_program_that_joins_is_where_the_container_is_and_may_do_what_it_may() {
    let world = world("trap 'exit 0' TERM; touch /tmp/ready; while :; do sleep 1000 & wait $!; done");
    assert_eq!(call(&world, &["run", "--detach", "c"]).status, 0);
    until("the container", || world.inside("tmp/ready").exists().then_some(()));
    // Each of the first process's, which it may look at because it has the same capabilities.
    let look = "for n in user mnt pid uts ipc net cgroup; do readlink /proc/self/ns/$n; readlink /proc/1/ns/$n; done; \
                grep -h -E 'Cap(Prm|Inh|Bnd)|NoNewPrivs' /proc/1/status; echo; \
                grep -h -E 'Cap(Prm|Inh|Bnd)|NoNewPrivs' /proc/self/status; echo $A; pwd; ls /proc/self/fd; exit 7";
    let said = call(&world, &["exec", "--env", "A=b", "--cwd", "/tmp", "c", "sh", "-c", look]);
    assert_eq!(said.status, 7, "{said:?}");
    let lines: Vec<&str> = said.stdout.lines().collect();
    for pair in lines[..14].chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
    assert_eq!(lines[14..18], lines[19..23], "{said:?}");
    assert_eq!(lines[23..], ["b", "/tmp", "0", "1", "2", "3"], "{said:?}");
    // There is one id, and the caller's directory is not left in reach.
    for flags in [
        &["--user", "1000"][..],
        &["--cwd", "/proc/self/fd/3"],
        &["--cwd", "/missing"],
        &["--additional-gids", "5"],
    ] {
        let said = call(&world, &[&["exec"], flags, &["c", "true"]].concat());
        assert_eq!((said.status, said.stderr.lines().count()), (255, 1), "{flags:?}: {said:?}");
    }
    let pid_file = world.text("bundle/rootfs/tmp/pid");
    let said = call(&world, &["exec", "--detach", "--pid-file", &pid_file, "c", "sleep", "1000"]);
    assert_eq!(said.status, 0, "{said:?}");
    let pid = fs::read_to_string(&pid_file).unwrap();
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_ne!(of(&pid), of("self"));
    assert_eq!(call(&world, &["delete", "--force", "c"]).status, 0);
    world.nothing_remains();
}

#[test]
fn limits_that_an_ordinary_user_cannot_have_are_an_error() {
    let world = world("true").set("/linux/resources", json!({"pids": {"limit": 9}}));
    let said = call(&world, &["run", "c"]);
    assert_eq!((said.status, said.stderr.lines().count()), (1, 1), "{}", said.stderr);
    assert!(said.stderr.contains("cgroup"), "{}", said.stderr);
    world.nothing_remains();
}

#[test]
fn a_cgroup_that_was_asked_for_and_cannot_be_had_is_an_error() {
    let world = world("true");
    // Nothing but the path: where that is missing, too, the container runs without.
    let path = world.cgroup.clone();
    let world = world.set("/linux/cgroupsPath", path);
    let said = call(&world, &["run", "c"]);
    assert_eq!((said.status, said.stderr.lines().count()), (1, 1), "{}", said.stderr);
    assert!(said.stderr.contains("cgroup"), "{}", said.stderr);
    world.nothing_remains();
}

#[test]
fn whether_a_container_may_be_without_a_cgroup_can_be_said() {
    let world = world("exit 3");
    let status = |word: &str| call(&world, &[&format!("--rootless={word}"), "run", "c"]);
    for word in ["true", "auto"] {
        assert_eq!(status(word).status, 3, "{word}");
    }
    for (word, words) in [("false", "cgroup"), ("perhaps", "--rootless=perhaps")] {
        let said = status(word);
        assert!(said.status == 1 && said.stderr.contains(words), "{word}: {said:?}");
    }
    world.nothing_remains();
}

#[test]
fn the_document_to_begin_with_is_one_that_the_user_can_run() {
    let mut world = world("");
    fs::create_dir(world.path("new")).unwrap();
    chown(world.path("new"), Some(USER), Some(USER)).unwrap();
    assert_eq!(call(&world, &["spec", "--rootless", "--bundle", &world.text("new")]).status, 0);
    let mut config: Value =
        serde_json::from_slice(&fs::read(world.path("new/config.json")).unwrap()).unwrap();
    // The host's ids, as every runtime's `spec` writes them.
    let own = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    assert_eq!((&config["linux"]["uidMappings"], &config["linux"]["gidMappings"]), (&own, &own));
    config["process"]["env"] = world.config["process"]["env"].clone();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", "id -u; readlink /proc/self/ns/user; exit 6"]);
    world.config = config;
    let said = call(&world, &["run", "c"]);
    assert!(said.status == 6 && said.stdout.starts_with("0\nuser:"), "{said:?}");
    world.nothing_remains();
}

#[test]
fn a_creator_killed_at_any_moment_leaves_no_process_that_nobody_finds() {
    let world = world("exec sleep 1000");
    // Without a cgroup only the record, or the gate, knows the process.
    for (verb, stride) in [(&["create", "c"][..], 9), (&["run", "-d", "c"], 11)] {
        for moment in (1..).step_by(stride) {
            let lived = crate::tracer::killed_after(&mut command(&world, verb), moment);
            assert_eq!(call(&world, &["delete", "--force", "c"]).status, 0);
            world.nothing_remains();
            if lived {
                assert!(moment > 90, "{moment}");
                break;
            }
        }
    }
}

#[test]
fn containers_are_kept_in_the_users_run_directory() {
    let world = world("exec sleep 1000");
    let run = world.path("run");
    std::fs::create_dir(&run).unwrap();
    chown(&run, Some(USER), Some(USER)).unwrap();
    // An empty --root is none.
    let call = |arguments: &[&str]| {
        let mut command = command(&world, &[&["--root", ""], arguments].concat());
        Said::by(command.env("XDG_RUNTIME_DIR", &run))
    };
    let said = call(&["create", "c"]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    assert!(run.join("kapsel-runtime/c/state.json").exists());
    assert_eq!(call(&["delete", "-f", "c"]).status, 0);
    world.nothing_remains();
}
