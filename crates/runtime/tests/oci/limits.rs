//! The container's cgroup: its limits, their change, and what it uses.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::*;

fn memory(world: &World) -> String {
    setting(world, "memory.limit_in_bytes", "memory.max")
}

fn pids(world: &World) -> String {
    setting(world, "pids.max", "pids.max")
}

#[test]
fn limits_are_set_and_changed_by_flags_a_file_and_stdin() {
    let resources = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 40}});
    let world = World::sleeper().set("/linux/resources", resources).started();
    assert_eq!((memory(&world), pids(&world)), ((64 << 20).to_string(), "40".into()));
    world.ok(&["update", "--memory", "96m", "c"]);
    // What is not named stays.
    assert_eq!((memory(&world), pids(&world)), ((96 << 20).to_string(), "40".into()));
    world.ok(&["update", "--pids-limit=41", "--cpu-share", "512", "c"]);
    assert_eq!((memory(&world), pids(&world)), ((96 << 20).to_string(), "41".into()));
    fs::write(world.path("resources"), r#"{"pids": {"limit": 42}}"#).unwrap();
    world.ok(&["update", "--resources", &world.text("resources"), "c"]);
    assert_eq!(pids(&world), "42");
    let mut update = world.command(&["update", "--resources=-", "c"]).stdin(Stdio::piped()).spawn().unwrap();
    update
        .stdin
        .take()
        .unwrap()
        .write_all(br#"{"pids": {"limit": 43}, "memory": {"limit": 134217728}}"#)
        .unwrap();
    assert!(update.wait().unwrap().success());
    assert_eq!((memory(&world), pids(&world)), ((128 << 20).to_string(), "43".into()));
    for arguments in [
        &["update", "c"][..],
        &["update", "--memory", "much", "c"],
        &["update", "--resources", "/none", "c"],
        &["update", "--cpuset-cpus", "9999", "c"],
    ] {
        world.fails(1, arguments);
    }
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

/// Flags of `update`, and the files that may have their value: the first that exists counts.
type Row = (&'static [&'static str], &'static [(&'static str, &'static str)]);

const FLAGS: &[Row] = &[
    (&["--cpu-share=512"], &[("cpu.shares", "512"), ("cpu.weight", "59")]),
    (&["--cpu-period=50000"], &[("cpu.cfs_period_us", "50000"), ("cpu.max", "max 50000")]),
    (&["--cpu-quota=20000"], &[("cpu.cfs_quota_us", "20000"), ("cpu.max", "20000 50000")]),
    (&["--cpu-burst=10000"], &[("cpu.cfs_burst_us", "10000"), ("cpu.max.burst", "10000")]),
    (&["--cpu-rt-period=900000"], &[("cpu.rt_period_us", "900000")]),
    (&["--cpu-rt-runtime=1000"], &[("cpu.rt_runtime_us", "1000")]),
    (&["--cpu-idle=1"], &[("cpu.idle", "1")]),
    (&["--cpuset-cpus=0"], &[("cpuset.cpus", "0")]),
    (&["--cpuset-mems=0"], &[("cpuset.mems", "0")]),
    // Linux 5.16 and later take it and do nothing (Documentation/admin-guide/cgroup-v1/memory.rst).
    (&["--kernel-memory=64m"], &[("memory.kmem.limit_in_bytes", "67108864|9223372036854771712")]),
    (&["--kernel-memory-tcp=32m"], &[("memory.kmem.tcp.limit_in_bytes", "33554432")]),
    (
        &["--memory-reservation=48m"],
        &[("memory.soft_limit_in_bytes", "50331648"), ("memory.low", "50331648")],
    ),
    (
        &["--memory=64m", "--memory-swap=96m"],
        &[("memory.memsw.limit_in_bytes", "100663296"), ("memory.swap.max", "33554432")],
    ),
    (
        &["--blkio-weight=300"],
        &[
            ("blkio.weight", "300"),
            ("blkio.bfq.weight", "300"),
            ("io.bfq.weight", "default 300"),
            ("io.weight", "default 2930"),
        ],
    ),
];

#[test]
#[expect(clippy::print_stderr, reason = "it is told what was not tested")]
fn every_flag_of_update_is_a_limit_that_the_kernel_then_has() {
    let world = World::sleeper().set("/linux/resources", json!({"memory": {"limit": 128 << 20}})).started();
    for (flags, files) in FLAGS {
        let said = world.call(&[&["update"], *flags, &["c"]].concat());
        let Some((is, should)) = files.iter().find_map(|(name, value)| Some((file(&world, name)?, value)))
        else {
            // Nothing is silently left out.
            assert!(said.status == 1 && said.stderr.contains("leave "), "{flags:?}: {said:?}");
            eprintln!("skipped: this kernel has no file for {flags:?}");
            continue;
        };
        assert_eq!((said.status, &*said.stderr), (0, ""), "{flags:?}");
        assert!(should.split('|').any(|should| is == should), "{flags:?}: {is}");
    }
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

/// Makes a cgroup in every hierarchy that it sees, and says in how many it may and may not.
const MAKER: &str = "made=0 refused=0; for d in /sys/fs/cgroup /sys/fs/cgroup/*; do [ -e $d/cgroup.procs ] || continue; \
    if mkdir $d/inside 2>/dev/null; then made=$((made + 1)); busybox rmdir $d/inside; else refused=$((refused + 1)); fi; \
    done; [ $made -gt 0 ] && echo made; [ $refused -gt 0 ] && echo refused; exit 0";

#[test]
fn a_cgroup_mount_is_writable_where_that_was_asked_for_and_it_is_the_containers_own() {
    let made = |options: Value, with_namespace: bool| {
        let mut world = World::new(MAKER);
        if !with_namespace {
            world.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|it| it["type"] != "cgroup");
        }
        let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
        world.config["mounts"].as_array_mut().unwrap().push(mount);
        let output = world.ok(&["run", "c"]);
        world.nothing_remains();
        output
    };
    assert_eq!(made(json!(["nosuid", "noexec", "nodev", "rw"]), true), "made\n");
    assert_eq!(made(json!(["nosuid", "noexec", "nodev", "ro"]), true), "refused\n");
    // Without a namespace of its own it would be the host's.
    assert_eq!(made(json!(["nosuid", "noexec", "nodev", "rw"]), false), "refused\n");
}

#[test]
fn only_the_devices_that_every_container_has_can_be_opened_unless_more_are_allowed() {
    let open = "for d in null zero full random urandom tty ptmx; do true < /dev/$d || echo no $d; done 2>/dev/null; \
                true > /dev/kmsg && echo kmsg; exit 0";
    let kmsg = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]);
    let deny = json!([{"allow": false, "access": "rwm"}]);
    // Where nothing is said, too, nothing else is allowed.
    for resources in [json!({"devices": deny}), json!({"devices": []}), json!({})] {
        let world =
            World::new(open).set("/linux/devices", kmsg.clone()).set("/linux/resources", resources.clone());
        let said = world.call(&["run", "c"]);
        // Without a terminal there is none behind /dev/tty.
        assert_eq!((said.status, said.stdout.trim()), (0, "no tty"), "{resources}: {}", said.stderr);
    }
    let allow = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}]);
    let world =
        World::new(open).set("/linux/devices", kmsg).set("/linux/resources", json!({"devices": allow}));
    let said = world.call(&["run", "c"]);
    assert_eq!((said.status, said.stdout.trim()), (0, "no tty\nkmsg"), "{}", said.stderr);
}

#[test]
fn statistics_are_one_line_with_runcs_members() {
    let world = World::sleeper().set("/linux/resources", json!({"pids": {"limit": 40}})).started();
    let text = world.ok(&["events", "--stats", "c"]);
    assert_eq!(text.lines().count(), 1);
    let event: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!("c")));
    for pointer in ["cpu/usage/total", "memory/usage/usage", "memory/raw/pgfault", "pids/current"] {
        let value = event["data"].pointer(&format!("/{pointer}")).and_then(Value::as_u64);
        assert!(value.is_some_and(|value| value > 0), "{pointer}: {event}");
    }
    assert_eq!(event["data"]["pids"]["limit"], 40);
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn events_come_again_and_again_until_the_container_ends() {
    let world = World::sleeper().started();
    let mut events = world.command(&["events", "--interval", "20ms", "c"]).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(event["type"], "stats");
    }
    // Meanwhile other commands have their way.
    world.stop();
    // Who does not read holds it up.
    assert!(lines.all(|line| line.is_ok()));
    assert!(events.wait().unwrap().success());
    world.ok(&["delete", "c"]);
    world.nothing_remains();
}

#[test]
fn events_that_it_was_too_slow_for_are_not_made_up_for() {
    let world = World::sleeper().started();
    let mut events = world.command(&["events", "--interval", "20ms", "c"]).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("stats"));
    let pid = Pid::from_raw(events.id().try_into().unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    thread::sleep(Duration::from_secs(2));
    kill(pid, Signal::SIGCONT).unwrap();
    let continued = Instant::now();
    for _ in 0..10 {
        lines.next().unwrap().unwrap();
    }
    // A hundred would come at once.
    assert!(continued.elapsed() > Duration::from_millis(100), "{:?}", continued.elapsed());
    world.stop();
    assert!(lines.all(|line| line.is_ok()));
    assert!(events.wait().unwrap().success());
    world.ok(&["delete", "c"]);
    world.nothing_remains();
}

#[test]
fn memory_that_has_run_out_is_an_event() {
    let script = "read x; sh -c 'x=x; while :; do x=$x$x; done'; exec sleep 1000";
    let resources = json!({"memory": {"limit": 32 << 20, "swap": 32 << 20}});
    let world = World::new(script).set("/linux/resources", resources);
    let mut run = world.command(&["run", "c"]).stdin(Stdio::piped()).spawn().unwrap();
    until("the container", || world.call(&["state", "c"]).stdout.contains("running").then_some(()));
    let mut events = world.command(&["events", "--interval", "20ms", "c"]).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    // It listens by now.
    assert!(lines.next().unwrap().unwrap().contains("stats"));
    run.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let oom = lines.find(|line| line.as_ref().unwrap().contains("oom\"")).unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&oom).unwrap(), json!({"type": "oom", "id": "c"}));
    world.ok(&["delete", "-f", "c"]);
    assert!(lines.all(|line| line.is_ok()));
    events.wait().unwrap();
    run.wait().unwrap();
    world.nothing_remains();
}

#[test]
fn a_cgroup_that_another_container_is_in_is_left_alone() {
    let world = World::sleeper().started();
    let complaint = world.fails(1, &["run", "--detach", "other"]);
    assert!(complaint.to_lowercase().contains("busy"), "{complaint}");
    assert_eq!(world.status(), "running");
    world.fails(1, &["state", "other"]);
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}
