//! SIGKILL to the monitor: its container dies with it, and one `reap` removes what is left.

use std::fs;
use std::os::fd::AsRawFd;
use std::time::Duration;

use serde_json::json;

use crate::harness::*;

#[test]
fn a_killed_monitor_takes_its_container_along_and_reap_removes_the_rest() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let (mut container, _streams) = World::new("sleep 1000 & sleep 1000").start();
    let pid = container.client.started();
    let mut client = container.connect();
    client.started();
    let _exec = client.exec("sleep 1000");
    let exec = client.started();
    container.monitor.kill().unwrap();
    container.monitor.wait().unwrap();
    until("the container's end", || (!exists(pid) && !exists(exec)).then_some(()));
    assert!(!container.world.path("run/exit.json").exists());
    let trees = [container.world.path("container"), container.world.path("run")];
    container.reap(&trees);
    assert!(container.cgroups().is_empty() && trees.iter().all(|tree| !tree.exists()));
    // Again, and with nothing there.
    container.reap(&trees);
    assert_eq!(mounts, fs::read_to_string("/proc/self/mountinfo").unwrap());
}

#[test]
fn a_frozen_container_of_a_killed_monitor_is_reaped() {
    let (mut container, _streams) = World::new("sleep 1000").start();
    let pid = container.client.started();
    container.client.asks(&json!({"request": "pause"}));
    container.monitor.kill().unwrap();
    container.monitor.wait().unwrap();
    container.reap(&[]);
    until("the container's end", || (!exists(pid)).then_some(()));
    assert!(container.cgroups().is_empty());
}

#[test]
fn killed_at_any_moment_it_leaves_what_one_reap_removes() {
    // From before the Launch is read until after the container's end.
    for step in 0..40 {
        let (mut container, _streams) = World::new("echo x").start();
        // Finely at first, where the most happens; 40 ms at last.
        std::thread::sleep(Duration::from_micros(step * step * 25));
        container.monitor.kill().unwrap();
        container.monitor.wait().unwrap();
        let trees = [container.world.path("container"), container.world.path("run")];
        let record = container.world.path("run/exit.json");
        if let Ok(text) = fs::read_to_string(record) {
            assert!(
                serde_json::from_str::<serde_json::Value>(&text).unwrap()["exitCode"].is_number(),
                "{text}"
            );
        }
        container.reap(&trees);
        assert!(container.cgroups().is_empty() && trees.iter().all(|tree| !tree.exists()), "step {step}");
    }
}

#[test]
fn a_container_can_be_started_again_in_the_run_directory_of_a_killed_one() {
    let (mut container, _streams) = World::new("sleep 1000").start();
    container.client.started();
    container.monitor.kill().unwrap();
    container.monitor.wait().unwrap();
    container.reap(&[]);
    assert!(container.world.path("run/control").exists());
    let world = std::mem::replace(&mut container.world, World::new(""));
    let (again, event, ..) = world.set("/config/process/args", json!(["/bin/true"])).run();
    assert_eq!(event["exitCode"], 0);
    assert_eq!(again.record()["exitCode"], 0);
}

#[test]
fn reap_says_what_is_wrong_with_its_document() {
    use std::process::{Command, Stdio};
    for (document, code) in [("{", "REAP_INVALID"), ("{\"remove\":[\"relative\"]}", "REAP_INVALID")] {
        let document = memfd(document.as_bytes());
        let mut command = Command::new(executable());
        command.arg("reap").stdin(Stdio::null()).stderr(Stdio::piped());
        let output = spawn(&mut command, &[document.as_raw_fd()]).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["code"], code);
    }
}
