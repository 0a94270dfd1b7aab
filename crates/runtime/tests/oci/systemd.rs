//! `--systemd-cgroup`: the verbs on a container whose cgroup is a scope of systemd's. The driver has its own tests.

#[path = "../../../cgroups/src/systemd/tests/booted.rs"]
mod booted;

use std::path::Path;
use std::process::Command;
use std::{env, fs, process};

use serde_json::json;

use crate::harness::*;

/// A property of a unit, as systemd knows it.
fn property(unit: &str, name: &str) -> String {
    let shown =
        Command::new("systemctl").args(["show", "--value", "--property", name, unit]).output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    String::from_utf8(shown.stdout).unwrap().trim().to_owned()
}

/// Runs what must succeed, with systemd's driver.
#[track_caller]
fn ok(world: &World, arguments: &[&str]) {
    let mut command = world.command(&[&["--systemd-cgroup"], arguments].concat());
    let bus = "DBUS_SYSTEM_BUS_ADDRESS";
    command.envs(env::var_os(bus).map(|address| (bus, address)));
    let said = Said::by(&mut command);
    assert_eq!((said.status, &*said.stderr), (0, ""), "{arguments:?}");
}

/// Where systemd is the first process: on the machine, or in the container of the next test.
#[test]
fn a_container_is_a_scope_where_systemd_has_booted() {
    if !Path::new("/run/systemd/system").is_dir() {
        return;
    }
    let slice = format!("kapselocitest{}.slice", process::id());
    let mut world = World::sleeper()
        .set("/linux/cgroupsPath", format!("{slice}:kapsel:c"))
        .set("/linux/resources", json!({"pids": {"limit": 40}}));
    world.cgroup = format!("/{slice}/kapsel-c.scope");
    let pids = || setting(&world, "pids.max", "pids.max");

    ok(&world, &["create", "c"]);
    assert_eq!(property("kapsel-c.scope", "ControlGroup"), world.cgroup);
    assert_eq!((property("kapsel-c.scope", "TasksMax"), pids()), ("40".into(), "40".into()));
    ok(&world, &["start", "c"]);
    ok(&world, &["exec", "--detach", "--pid-file", &world.text("pid"), "c", "sleep", "1000"]);
    let second = fs::read_to_string(world.path("pid")).unwrap();
    for pid in [world.pid().to_string(), second] {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let outside = text.lines().find(|line| !line.ends_with(&world.cgroup));
        assert_eq!(outside, None, "{pid}");
    }
    ok(&world, &["update", "--pids-limit", "41", "c"]);
    assert_eq!((property("kapsel-c.scope", "TasksMax"), pids()), ("41".into(), "41".into()));
    ok(&world, &["delete", "--force", "c"]);
    assert_eq!(property("kapsel-c.scope", "LoadState"), "not-found");
    world.nothing_remains();
    // Of hierarchies that systemd does not know the slice stays.
    cgroups(&format!("/{slice}")).iter().for_each(|path| drop(fs::remove_dir(path)));
}

#[test]
#[expect(clippy::print_stderr, reason = "it is told that nothing was tested")]
fn a_container_is_a_scope_of_a_systemd_in_a_container() {
    match booted::run("systemd::a_container_is_a_scope_where_systemd_has_booted") {
        None => eprintln!("skipped: there is no systemd here"),
        Some(result) => result.unwrap_or_else(|told| panic!("{told}")),
    }
}
