//! What clients ask for while the container runs.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::*;

fn sleeper() -> Container {
    let (mut container, _streams) =
        World::new("trap 'exit 3' TERM; echo up; while true; do sleep 0.05; done").start();
    container.client.started();
    until("the trap", || container.log().0.contains("up").then_some(()));
    container
}

#[test]
fn a_later_client_is_told_at_once_and_gets_what_comes_from_then_on() {
    let (mut container, mut first) = World::new("read a; echo $a").set("/stdin", true).start();
    let pid = container.client.started();
    let mut second = container.connect();
    assert_eq!(second.started(), pid);
    let streams = second.attach();
    second.until("reply", "ok");
    first.stdin.write_all(b"both\n").unwrap();
    assert_eq!(second.end()["exitCode"], 0);
    assert_eq!(container.client.end()["exitCode"], 0);
    assert_eq!(
        (first.stdout.join().unwrap(), streams.stdout.join().unwrap()),
        (b"both\n".to_vec(), b"both\n".to_vec())
    );
    container.wait();
}

#[test]
fn exec_runs_a_program_in_the_container_and_tells_only_its_own_client() {
    let mut container = sleeper();
    let mut client = container.connect();
    client.started();
    let mut streams =
        client.exec("read line; echo \"$line from $$\"; echo err >&2; ls /proc/1/root/bin/sh; exit 6");
    let started = client.until("event", "started");
    assert_eq!(started["exec"], true);
    streams.stdin.write_all(b"hi\n").unwrap();
    let event = client.end();
    assert_eq!((&event["exitCode"], &event["exec"]), (&json!(6), &json!(true)));
    let stdout = String::from_utf8(streams.stdout.join().unwrap()).unwrap();
    assert!(stdout.starts_with("hi from ") && stdout.ends_with("/bin/sh\n"), "{stdout}");
    assert_eq!(streams.stderr.join().unwrap(), b"err\n");
    container.client.asks(&json!({"request": "stop", "signal": 15, "timeout": 10}));
    assert_eq!(container.client.end()["exitCode"], 3);
    container.wait();
    // An exec's output is not the container's.
    assert_eq!(container.log().0, "up\n");
}

#[test]
fn exec_has_a_terminal_of_its_own_size() {
    let container = sleeper();
    let mut client = container.connect();
    let mut process =
        shell("stty size; trap 'stty size; exit 0' WINCH; echo > /ready; while true; do sleep 0.05; done");
    process["terminal"] = true.into();
    process["consoleSize"] = json!({"height": 11, "width": 22});
    client.started();
    let streams = client.with_streams(json!({"request": "exec", "process": process}));
    client.started();
    // The program says in the container's own file system when it is ready.
    let ready = container.world.path("container/upper/ready");
    until("the trap", || ready.exists().then_some(()));
    client.asks(&json!({"request": "resize", "columns": 33, "rows": 44}));
    assert_eq!(client.end()["exitCode"], 0);
    assert_eq!(String::from_utf8(streams.stdout.join().unwrap()).unwrap(), "11 22\r\n44 33\r\n");
    container.kill();
}

#[test]
fn exec_takes_an_environment_of_half_a_megabyte() {
    let container = sleeper();
    let mut client = container.connect();
    client.started();
    let mut process = shell("echo ${#BIG_9}");
    let value = "x".repeat(50_000);
    process["env"] = (0..10).map(|number| format!("BIG_{number}={value}")).collect();
    let streams = client.with_streams(json!({"request": "exec", "process": process}));
    assert_eq!(client.end()["exitCode"], 0);
    assert_eq!(streams.stdout.join().unwrap(), b"50000\n");
    container.kill();
}

#[test]
fn exec_failures_are_told_apart() {
    let container = sleeper();
    for (program, exit_code) in [("/bin/nothing", 127), ("/etc/passwd", 126)] {
        let mut client = container.connect();
        let mut process = shell("");
        process["args"] = json!([program]);
        let streams = client.with_streams(json!({"request": "exec", "process": process}));
        let event = client.end();
        assert_eq!(
            (&event["event"], &event["exitCode"], &event["exec"]),
            (&json!("failed"), &json!(exit_code), &json!(true))
        );
        assert!(streams.stdout.join().unwrap().is_empty());
    }
    container.kill();
}

#[test]
fn a_detached_exec_goes_on_without_its_client() {
    let container = sleeper();
    let mut client = container.connect();
    client.started();
    client.send(
        &json!({"request": "exec", "process": shell("sleep 0.2; echo x > /left"), "detach": true}),
        &[],
    );
    client.until("event", "started");
    drop(client);
    let left = container.world.path("container/upper/left");
    until("the file", || std::fs::read(&left).is_ok_and(|text| text == b"x\n").then_some(()));
    container.kill();
}

#[test]
fn the_end_of_the_container_ends_its_execs() {
    let mut container = sleeper();
    let mut client = container.connect();
    client.started();
    let streams = client.exec("sleep 100");
    let pid = client.started();
    container.client.asks(&json!({"request": "signal", "signal": 9}));
    let event = client.end();
    assert_eq!((&event["exitCode"], &event["signal"]), (&json!(137), &json!(9)));
    container.client.end();
    drop(streams);
    container.wait();
    assert!(!exists(pid));
}

#[test]
fn requests_on_an_execs_connection_are_about_the_exec() {
    let mut container = sleeper();
    let mut client = container.connect();
    client.started();
    let _streams = client.exec("sleep 100");
    client.started();
    client.asks(&json!({"request": "signal", "signal": 9}));
    assert_eq!(client.end()["exitCode"], 137);
    // The container itself has not noticed.
    assert_eq!(container.client.ask(&json!({"request": "attach"}))["code"], "ALREADY_ATTACHED");
    container.kill();
}

#[test]
fn a_process_that_outlives_its_exec_is_reaped() {
    let world = World::new("trap 'exit 3' TERM; echo up; while true; do sleep 0.05; done");
    // Orphans of the host's PID namespace come to the monitor.
    let namespaces =
        json!([{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}, {"type": "cgroup"}]);
    let (mut container, _streams) = world.set("/config/linux/namespaces", namespaces).start();
    container.client.started();
    let mut client = container.connect();
    client.started();
    let streams = client.exec("sleep 0.3 > /dev/null 2>&1 & echo $!");
    assert_eq!(client.end()["exitCode"], 0);
    let pid: i32 = String::from_utf8(streams.stdout.join().unwrap()).unwrap().trim().parse().unwrap();
    assert!(exists(pid));
    until("the orphan's end", || (!exists(pid)).then_some(()));
    container.kill();
}

#[test]
fn stop_kills_when_patience_runs_out() {
    let (mut container, _streams) =
        World::new("trap '' TERM; echo up; while true; do sleep 0.05; done").start();
    container.client.started();
    until("the trap", || container.log().0.contains("up").then_some(()));
    let begun = Instant::now();
    container.client.asks(&json!({"request": "stop", "signal": 15, "timeout": 0.3}));
    let event = container.client.end();
    assert_eq!((&event["exitCode"], &event["signal"]), (&json!(137), &json!(9)));
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(5));
    container.wait();
}

#[test]
fn a_signal_to_the_monitor_is_for_the_container() {
    let mut container = sleeper();
    // SAFETY: no pointer is passed; the process is our child and has not been waited for.
    unsafe { libc::kill(container.monitor.id() as i32, libc::SIGTERM) };
    assert_eq!(container.client.end()["exitCode"], 3);
    container.wait();
}

#[test]
fn pause_freezes_and_resume_thaws() {
    let (mut container, _streams) = World::new("while true; do echo x; sleep 0.02; done").start();
    container.client.started();
    let size = |container: &Container| container.log().0.len();
    container.client.asks(&json!({"request": "pause"}));
    std::thread::sleep(Duration::from_millis(50));
    let before = size(&container);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(size(&container), before);
    let mut client = container.connect();
    client.started();
    client.send(&json!({"request": "exec", "process": shell("true")}), &[]);
    assert_eq!(client.end()["code"], "CONTAINER_PAUSED");
    container.client.asks(&json!({"request": "resume"}));
    until("more output", || (size(&container) > before).then_some(()));
    // A frozen container can be killed.
    container.client.asks(&json!({"request": "pause"}));
    container.kill();
}

#[test]
fn update_changes_the_limits() {
    let mut container = sleeper();
    container.client.asks(&json!({"request": "update", "resources": {"pids": {"limit": 17}}}));
    let limit =
        container.cgroups().into_iter().find_map(|path| std::fs::read_to_string(path.join("pids.max")).ok());
    assert_eq!(limit.as_deref(), Some("17\n"));
    let reply = container.client.ask(&json!({"request": "update", "resources": {"cpu": {"cpus": "4096"}}}));
    assert_eq!(reply["reply"], "error");
    container.kill();
}

#[test]
fn what_makes_no_sense_is_refused_and_harms_nothing() {
    let mut container = sleeper();
    for (request, code) in [
        (json!({"request": "signal", "signal": 0}), "SIGNAL_INVALID"),
        (json!({"request": "signal", "signal": 65}), "SIGNAL_INVALID"),
        (json!({"request": "reboot"}), "REQUEST_INVALID"),
        (json!({"request": "update", "resources": 5}), "REQUEST_INVALID"),
        (json!([1, 2]), "REQUEST_INVALID"),
    ] {
        assert_eq!(container.client.ask(&request)["code"], code, "{request}");
    }
    let mut client = container.connect();
    assert_eq!(client.ask(&json!({"request": "attach", "stdout": true}))["code"], "DESCRIPTOR_MISSING");
    // A directory, and a pipe's wrong end.
    let directory = std::fs::File::open("/").unwrap();
    let (reading, _writing) = pipe();
    for fd in [directory.as_raw_fd(), reading.as_raw_fd()] {
        let mut client = container.connect();
        client.send(&json!({"request": "attach", "stdout": true}), &[fd]);
        assert_eq!(client.until("reply", "error")["code"], "SYSTEM");
    }
    container.kill();
}

#[test]
fn before_there_is_a_container_only_attaching_and_resizing_make_sense() {
    let mut container = World::new("true").start_with(|client| {
        client.send(&json!({"request": "signal", "signal": 9}), &[]);
        client.send(&json!({"request": "pause"}), &[]);
        client.send(&json!({"request": "stop"}), &[]);
    });
    for _ in 0..3 {
        assert_eq!(container.client.until("reply", "error")["code"], "CONTAINER_NOT_RUNNING");
    }
    assert_eq!(container.client.end()["exitCode"], 0);
    container.wait();
}
