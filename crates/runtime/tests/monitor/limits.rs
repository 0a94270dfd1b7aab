//! Memory, and the log.

use std::fs;

use serde_json::json;

use crate::harness::*;

#[test]
fn a_container_out_of_memory_is_killed_and_says_so() {
    let limit = 32 << 20;
    let script = "dd if=/dev/zero of=/dev/null bs=200M count=1";
    let (container, event, ..) = World::new(script)
        .set("/config/process/args", json!(["/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]))
        .set("/config/linux/resources", json!({"memory": {"limit": limit, "swap": limit}}))
        .run();
    assert_eq!((&event["exitCode"], &event["oomKilled"]), (&json!(137), &json!(true)));
    assert_eq!(container.record()["oomKilled"], true);
    assert!(container.cgroups().is_empty());
}

#[test]
fn the_log_is_rotated() {
    let world = World::new("seq 1 2000");
    let path = world.path("container/log");
    let (container, ..) = world.set("/log", json!({"path": path, "maxSize": 20_000, "maxFiles": 2})).run();
    let old = container.world.path("container/log.1");
    assert!(fs::metadata(&path).unwrap().len() <= 20_000 && fs::metadata(old).unwrap().len() <= 20_000);
    assert!(!container.world.path("container/log.2").exists());
    assert!(container.log().0.ends_with("\n2000\n"));
}

#[test]
fn a_container_needs_no_log() {
    let (container, _, stdout, _) = World::new("echo x").set("/log", json!(null)).run();
    assert_eq!(stdout, "x\n");
    assert!(!container.world.path("container/log").exists());
}

#[test]
fn a_log_on_a_full_disk_stops_nothing_and_is_in_the_record() {
    let (container, event, stdout, _) = World::new("seq 1 10000").set("/log/path", "/dev/full").run();
    assert_eq!(event["exitCode"], 0);
    assert!(stdout.ends_with("\n10000\n"));
    assert!(container.record()["error"].as_str().unwrap().contains("log is incomplete"));
}
