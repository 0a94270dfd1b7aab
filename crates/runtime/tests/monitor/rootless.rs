//! The same, started by an ordinary user.

use serde_json::json;

use crate::harness::*;

/// Nobody's id: it has no subordinate ids either.
const USER: u32 = 54_321;

fn rootless(script: &str) -> World {
    let mut world = World::new(script);
    world.uid = Some(USER);
    world
}

#[test]
fn an_ordinary_user_runs_a_container() {
    let script = "id -u; cat /proc/self/uid_map; echo x > /file; exit 3";
    let (container, event, stdout, _) = rootless(script).run();
    assert_eq!((&event["event"], &event["exitCode"]), (&json!("exited"), &json!(3)), "{event}");
    let words: Vec<&str> = stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "54321", "1"]);
    let file = std::fs::metadata(container.world.path("container/upper/file")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&file), USER);
    assert_eq!(container.record()["exitCode"], 3);
}

#[test]
fn what_an_ordinary_user_cannot_have_is_an_error_when_asked_for() {
    let limit = json!({"memory": {"limit": 64 << 20}});
    let (_container, event, ..) = rootless("true").set("/config/linux/resources", limit).run();
    assert_eq!((&event["event"], &event["code"]), (&json!("failed"), &json!("CGROUP_PERMISSION_DENIED")));
}

#[test]
fn exec_works_for_an_ordinary_user() {
    let (mut container, _streams) = rootless("sleep 100").start();
    container.client.started();
    let mut client = container.connect();
    client.started();
    let streams = client.exec("id -u; exit 4");
    let event = client.end();
    assert_eq!((&event["event"], &event["exitCode"]), (&json!("exited"), &json!(4)), "{event}");
    assert_eq!(streams.stdout.join().unwrap(), b"0\n");
    container.kill();
}

#[test]
fn rm_and_reap_work_for_an_ordinary_user() {
    let world = rootless("mkdir -p /a/b; echo x > /a/b/c");
    let trees = json!([world.path("container"), world.path("run")]);
    let (container, event, ..) = world.set("/removeOnExit", trees).run();
    assert_eq!(event["exitCode"], 0);
    assert!(!container.world.path("container").exists() && !container.world.path("run").exists());
}
