//! Whoever makes, starts or removes a container may be killed at any moment: what is left can always be removed.

use serde_json::json;

use crate::harness::*;
use crate::tracer::killed_after;

/// Kills `command` after its first system call, its second, … until it has lived to its end, and looks each time.
fn at_every_moment(world: &World, arguments: &[&str], stride: usize, mut look: impl FnMut(usize)) {
    let mut moments = 0;
    for moment in (1..).step_by(stride) {
        let lived = killed_after(&mut world.command(arguments), moment);
        look(moment);
        if lived {
            break;
        }
        moments += 1;
    }
    assert!(moments > 10, "{moments} moments are too few: was it killed at all?");
}

#[test]
fn a_creator_killed_at_any_moment_leaves_what_can_be_deleted() {
    let world = World::sleeper();
    at_every_moment(&world, &["create", "--pid-file", &world.text("pid"), "c"], 3, |_| {
        // Whatever there is, nothing claims to be running, and a caller who looks gets an answer.
        let said = world.call(&["state", "c"]);
        assert!(said.status == 0 || said.stderr.lines().count() == 1, "{said:?}");
        assert!(!said.stdout.contains("running"), "{said:?}");
        assert_eq!(world.call(&["list"]).status, 0);
        world.ok(&["delete", "--force", "c"]);
        world.nothing_remains();
    });
}

/// In a hook nothing of the child's asks for the creator: only the kernel ends it with that.
#[test]
fn a_creator_killed_during_a_hook_of_the_containers_takes_it_along() {
    let world = World::sleeper();
    let script = format!("echo > {}; exec sleep 1000", world.text("begun"));
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    let world = world.set("/hooks", json!({"createContainer": hook}));
    let mut create = world.command(&["create", "c"]).spawn().unwrap();
    until("the hook", || world.path("begun").exists().then_some(()));
    assert!(world.processes().len() >= 2, "the creator and its child");
    create.kill().unwrap();
    create.wait().unwrap();
    until("the end of all", || world.processes().is_empty().then_some(()));
    world.ok(&["delete", "--force", "c"]);
    world.nothing_remains();
}

#[test]
fn a_runner_killed_at_any_moment_leaves_what_can_be_deleted() {
    let world = World::sleeper();
    at_every_moment(&world, &["run", "--detach", "c"], 7, |_| {
        world.ok(&["delete", "--force", "c"]);
        world.nothing_remains();
    });
}

#[test]
fn a_creator_killed_at_any_moment_leaves_another_containers_cgroup_alone() {
    // The other one has the name that ours asks for: it is no less the other's when nobody is left to say so.
    let world = World::sleeper();
    let mut other = world.other();
    let directories = make_cgroups(&world.cgroup, other.id());
    for verb in [&["create", "c"][..], &["run", "--detach", "c"]] {
        at_every_moment(&world, verb, 3, |moment| {
            world.ok(&["delete", "--force", "c"]);
            assert!(other.try_wait().unwrap().is_none(), "{verb:?}: killed after {moment} system calls");
            assert!(directories.iter().all(|directory| directory.exists()), "{verb:?}: {moment}");
        });
    }
    other.kill().unwrap();
    other.wait().unwrap();
    // What is of no use to anybody goes with the half-made one.
    assert!(!killed_after(&mut world.command(&["create", "c"]), 150));
    world.ok(&["delete", "--force", "c"]);
    for directory in directories {
        let _ = std::fs::remove_dir(directory);
    }
    world.nothing_remains();
}

#[test]
fn a_remover_killed_at_any_moment_leaves_what_can_be_deleted() {
    let world = World::sleeper();
    at_every_moment(&world, &["delete", "--force", "c"], 5, |_| {
        world.ok(&["delete", "--force", "c"]);
        world.nothing_remains();
        world.ok(&["run", "--detach", "c"]);
    });
    world.ok(&["delete", "--force", "c"]);
    world.nothing_remains();
}

#[test]
fn a_container_can_be_made_again_where_its_maker_was_killed_and_it_was_deleted() {
    let world = World::sleeper();
    assert!(!killed_after(&mut world.command(&["create", "c"]), 150));
    world.ok(&["delete", "--force", "c"]);
    world.ok(&["create", "c"]);
    world.ok(&["start", "c"]);
    assert_eq!(world.status(), "running");
    world.ok(&["delete", "--force", "c"]);
    world.nothing_remains();
}

#[test]
fn a_damaged_record_is_told_of_and_can_be_removed() {
    let world = World::sleeper();
    std::fs::create_dir_all(world.path("root/c")).unwrap();
    std::fs::write(world.path("root/c/state.json"), "{\"id\":").unwrap();
    assert!(world.fails(1, &["state", "c"]).contains("damaged"));
    world.ok(&["delete", "--force", "c"]);
    world.nothing_remains();
}
