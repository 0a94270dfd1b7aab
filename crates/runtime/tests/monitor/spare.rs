//! A monitor that has waited for its container.

use serde_json::{Value, json};

use crate::harness::*;

fn spare(script: &str) -> World {
    let mut world = World::new(script);
    world.spare = Some(json!({"runDirectory": world.path("spare"), "cable": null}));
    world
}

#[test]
fn a_container_of_a_spare_is_as_any_other() {
    let script = "cat /sys/class/net/lo/flags; ls /sys/class/net; echo 1 > /proc/self/oom_score_adj; exit 3";
    let (container, event, stdout, _) = spare(script).run();
    assert_eq!((&event["event"], &event["exitCode"]), (&json!("exited"), &json!(3)), "{event}");
    // IFF_UP, IFF_LOOPBACK
    assert_eq!(stdout, "0x9\nlo\n");
    assert_eq!(container.record()["exitCode"], 3);
    assert!(container.cgroups().is_empty());
    let (_, _, plain, _) = World::new(script).run();
    assert_eq!(plain, stdout);
}

#[test]
fn its_network_namespace_is_its_own() {
    let here = std::fs::read_link("/proc/self/ns/net").unwrap();
    let (_, _, stdout, _) = spare("readlink /proc/self/ns/net").run();
    assert!(stdout.starts_with("net:[") && stdout.trim_end() != here.to_str().unwrap(), "{stdout}");
    // Of a user namespace, and of the host, as the config has it.
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let namespaces = |kinds: &str| kinds.split(' ').map(|kind| json!({"type": kind})).collect::<Value>();
    let script =
        "readlink /proc/self/ns/net; echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start && echo set";
    let held = json!(["CAP_NET_ADMIN"]);
    let (_, event, stdout, stderr) = spare(script)
        .set("/config/process/capabilities", json!({"bounding": held, "effective": held, "permitted": held}))
        .set("/config/linux/namespaces", namespaces("pid network ipc uts mount cgroup user"))
        .set("/config/linux/uidMappings", ids.clone())
        .set("/config/linux/gidMappings", ids)
        .set("/config/linux/readonlyPaths", json!([]))
        .run();
    assert!(stdout.ends_with("]\nset\n"), "{event} {stdout} {stderr}");
    let shared = spare("readlink /proc/self/ns/net")
        .set("/config/linux/namespaces", namespaces("pid ipc uts mount cgroup"));
    assert_eq!(shared.run().2.trim_end(), here.display().to_string());
}

#[test]
fn an_ordinary_user_has_spares_too() {
    let mut world = spare("id -u; cat /sys/class/net/lo/flags");
    world.uid = Some(54_321);
    let (_container, event, stdout, stderr) = world.run();
    assert_eq!((event["exitCode"].as_i64(), stdout.as_str()), (Some(0), "0\n0x9\n"), "{event} {stderr}");
}

#[test]
fn without_a_container_it_goes_and_leaves_nothing() {
    let world = spare("").set("", Value::Null);
    std::fs::create_dir(world.path("spare")).unwrap();
    std::fs::write(world.path("spare/lock"), "").unwrap();
    let (mut container, _streams) = world.start();
    container.wait();
    assert_eq!(container.stderr(), "");
    assert!(!container.world.path("spare").exists());
    assert!(container.world.path("run/lock").exists(), "that is another's");
}

#[test]
fn it_is_for_containers_of_its_kind() {
    let (mut container, _streams) = spare("echo never").set("/awaitsNetwork", true).start();
    let event = container.client.end();
    assert_eq!(container.monitor.wait().unwrap().code(), Some(1));
    assert_eq!((&event["event"], &event["code"]), (&json!("failed"), &json!("LAUNCH_INVALID")));
    assert!(container.cgroups().is_empty() && !container.world.path("run/control").exists());
    for unreadable in [json!({}), json!({"runDirectory": "/x", "cable": {}}), json!("x")] {
        let mut world = spare("echo never");
        world.spare = Some(unreadable);
        let (mut container, _streams) = world.start();
        assert_eq!(container.monitor.wait().unwrap().code(), Some(1));
        assert!(container.stderr().contains("LAUNCH_INVALID"));
    }
}
