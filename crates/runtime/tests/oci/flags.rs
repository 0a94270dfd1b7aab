//! Flags of `create`, `run` and `exec` that are about how a program is started, each with what is different without it.

use std::fs;

use crate::common::{forbid_pivot, session_key};
use crate::harness::*;

#[test]
fn without_pivot_root_a_container_is_only_made_when_that_is_asked_for() {
    let call = |world: &World, arguments: &[&str]| {
        let mut command = world.command(arguments);
        forbid_pivot(&mut command);
        Said::by(&mut command)
    };
    let world = World::new("ls -d /bin /usr; exit 3");
    for verb in ["run", "create"] {
        let said = call(&world, &[verb, "c"]);
        assert!(said.status == 1 && said.stderr.contains("pivot_root"), "{verb}: {said:?}");
        world.nothing_remains();
    }
    // The filter is the container's too, so its own program is no different.
    let said = call(&world, &["run", "--no-pivot", "c"]);
    assert_eq!((said.status, &*said.stdout), (3, "/bin\n"), "{said:?}");
    let said = call(&world, &["create", "--no-pivot", "c"]);
    assert_eq!(said.status, 0, "{said:?}");
    world.ok(&["delete", "--force", "c"]);
    world.nothing_remains();
}

#[test]
fn the_callers_keyring_is_the_containers_only_with_no_new_keyring() {
    let key = session_key();
    let world = World::new("cat /proc/keys");
    let has_key = |arguments: &[&str]| world.ok(arguments).contains(key);
    assert!(!has_key(&["run", "c"]));
    assert!(has_key(&["run", "--no-new-keyring", "c"]));
    world.nothing_remains();
}

/// Whoever waits for a program makes no subreaper of itself: there is nothing that the flag could change.
#[test]
fn orphans_of_the_program_are_never_those_of_who_waits_for_it() {
    let mut world = World::new("sleep 1000 & echo $! > /tmp/pid; exit 5");
    world.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|it| it["type"] != "pid");
    for flags in [&[][..], &["--no-subreaper"]] {
        assert_eq!(world.call(&[&["run"], flags, &["c"]].concat()).status, 5);
        world.nothing_remains();
    }
    let world = World::sleeper().started();
    for flags in [&[][..], &["--no-subreaper"]] {
        assert_eq!(world.call(&[&["exec"], flags, &["c", "sh", "-c", "exit 6"]].concat()).status, 6);
    }
    world.ok(&["delete", "--force", "c"]);
    world.nothing_remains();
}

#[test]
fn a_label_for_what_is_executed_is_refused_where_there_is_no_selinux() {
    if fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default().contains("selinux") {
        return;
    }
    let world = World::sleeper().started();
    let complaint = world.fails(255, &["exec", "--process-label", "a:b:c:s0", "c", "true"]);
    assert!(complaint.contains("SELinux"), "{complaint}");
    world.ok(&["delete", "--force", "c"]);
    world.nothing_remains();
}

#[test]
fn run_writes_the_first_processes_number() {
    let world = World::sleeper();
    world.ok(&["run", "--detach", "--pid-file", &world.text("pid"), "c"]);
    assert_eq!(fs::read_to_string(world.path("pid")).unwrap(), world.pid().to_string());
    world.ok(&["delete", "--force", "c"]);
    world.nothing_remains();
}
