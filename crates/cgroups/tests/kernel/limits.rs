//! Limits that the kernel keeps: written, read back, changed, and run into.

use crate::support::{Shell, create, directory, eventually, read, resources};
use kapsel_cgroups::{Layout, LinuxResources, mounts};

/// The tests that read v1's files run where v1 has the controllers.
fn v1() -> bool {
    mounts().unwrap().0 != Layout::Unified
}

#[test]
fn every_limit_reaches_its_file_and_can_be_changed_up_and_down() {
    if !v1() {
        return;
    }
    let cgroup = create(&resources(
        r#"{"memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432, "swappiness": 10},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 20}}"#,
    ));
    let seen = |hierarchy, file| read(&cgroup, hierarchy, file);
    assert_eq!(seen("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(seen("memory", "memory.memsw.limit_in_bytes"), "134217728");
    assert_eq!(seen("memory", "memory.soft_limit_in_bytes"), "33554432");
    assert_eq!(seen("memory", "memory.swappiness"), "10");
    assert_eq!(seen("cpu", "cpu.shares"), "512");
    assert_eq!(seen("cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(seen("cpuset", "cpuset.cpus"), "0");
    assert_eq!(seen("pids", "pids.max"), "20");
    // Only where the BFQ scheduler has been loaded is there a weight.
    if directory(&cgroup, "blkio").join("blkio.bfq.weight").exists() {
        cgroup.apply(&resources(r#"{"blockIO": {"weight": 200}}"#)).unwrap();
        assert_eq!(seen("blkio", "blkio.bfq.weight"), "200");
    }
    // Up past the old memory + swap, then down below the old memory: each order alone is refused once.
    for (limit, swap) in [(268_435_456, 536_870_912), (16_777_216, 33_554_432), (16_777_216, 16_777_216)] {
        cgroup.apply(&resources(&format!(r#"{{"memory": {{"limit": {limit}, "swap": {swap}}}}}"#))).unwrap();
        assert_eq!(seen("memory", "memory.limit_in_bytes"), limit.to_string());
        assert_eq!(seen("memory", "memory.memsw.limit_in_bytes"), swap.to_string());
    }
    // Memory without a limit takes the limit of memory and swap away, which is below it.
    cgroup.apply(&resources(r#"{"pids": {"limit": -1}, "memory": {"limit": -1}}"#)).unwrap();
    assert_eq!(seen("pids", "pids.max"), "max");
    assert_eq!(seen("memory", "memory.memsw.limit_in_bytes"), seen("memory", "memory.limit_in_bytes"));
    let stats = cgroup.stats().unwrap();
    assert_eq!((stats.memory.unwrap().limit, stats.pids.unwrap().limit), (None, None));
    cgroup.remove().unwrap();
}

/// The quota as `QUOTA PERIOD BURST`, of either version.
fn quota(cgroup: &kapsel_cgroups::Cgroup) -> String {
    if v1() {
        let files = ["cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us"];
        files.map(|file| read(cgroup, "cpu", file)).join(" ")
    } else {
        format!("{} {}", read(cgroup, "", "cpu.max"), read(cgroup, "", "cpu.max.burst"))
    }
}

#[test]
fn quota_period_and_burst_change_in_every_direction_within_a_parents_quota() {
    let parent = create(&resources(r#"{"cpu": {"quota": 50000, "period": 100000}}"#));
    let path = format!("{}/child", parent.path());
    let cpu = |quota: i64, period: u64, burst: u64| {
        resources(&format!(r#"{{"cpu": {{"quota": {quota}, "period": {period}, "burst": {burst}}}}}"#))
    };
    let child = kapsel_cgroups::Cgroup::create(&path, &cpu(50_000, 100_000, 50_000)).unwrap();
    // Neither the quota, the period nor the burst may come first in all of these.
    for (quota_, period, burst) in [(5000, 10_000, 5000), (100_000, 200_000, 20_000), (4000, 8000, 0)] {
        child.apply(&cpu(quota_, period, burst)).unwrap();
        assert_eq!(quota(&child), format!("{quota_} {period} {burst}"));
    }
    child.apply(&resources(r#"{"cpu": {"period": 10000}}"#)).unwrap();
    assert_eq!(quota(&child), "4000 10000 0");
    // More than the parent has: v1 refuses it, v2 takes it and keeps to the parent's.
    if let Err(refused) = child.apply(&cpu(90_000, 100_000, 0)) {
        assert!(v1() && refused.to_string().contains("cpu."), "{refused}");
    }
    child.remove().unwrap();
    parent.remove().unwrap();
}

#[test]
fn an_idle_cgroup_gets_its_weight_back() {
    let cgroup = create(&resources(r#"{"cpu": {"shares": 512, "idle": 1}}"#));
    let (controller, shares) = if v1() { ("cpu", "cpu.shares") } else { ("", "cpu.weight") };
    assert_eq!(read(&cgroup, controller, "cpu.idle"), "1");
    // While it is idle the weight cannot be written.
    cgroup.apply(&resources(r#"{"cpu": {"shares": 1024, "idle": 0}}"#)).unwrap();
    assert_eq!(read(&cgroup, controller, "cpu.idle"), "0");
    assert_eq!(read(&cgroup, controller, shares), if v1() { "1024" } else { "100" });
    cgroup.remove().unwrap();
}

#[test]
fn a_block_device_is_throttled_and_let_go() {
    let devices = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let Some(device) =
        devices.filter_map(|entry| std::fs::read_to_string(entry.path().join("dev")).ok()).next()
    else {
        return;
    };
    let device = device.trim();
    let (major, minor) = device.split_once(':').unwrap();
    let throttle = |rate: u64| {
        let one = format!(r#"[{{"major": {major}, "minor": {minor}, "rate": {rate}}}]"#);
        let kinds = ["ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS"];
        let all: Vec<_> = kinds.iter().map(|kind| format!(r#""throttle{kind}Device": {one}"#)).collect();
        resources(&format!(r#"{{"blockIO": {{{}}}}}"#, all.join(", ")))
    };
    let cgroup = create(&throttle(1_048_576));
    if v1() {
        for kind in ["read_bps", "write_bps", "read_iops", "write_iops"] {
            let file = format!("blkio.throttle.{kind}_device");
            assert_eq!(read(&cgroup, "blkio", &file), format!("{device} 1048576"));
        }
    } else {
        let expected = format!("{device} rbps=1048576 wbps=1048576 riops=1048576 wiops=1048576");
        assert_eq!(read(&cgroup, "", "io.max"), expected);
    }
    cgroup.apply(&throttle(0)).unwrap();
    let (controller, file) = if v1() { ("blkio", "blkio.throttle.read_bps_device") } else { ("", "io.max") };
    assert_eq!(read(&cgroup, controller, file), "");
    cgroup.remove().unwrap();
}

#[test]
fn what_v2_cannot_keep_is_refused_by_name_and_nothing_is_left() {
    if v1() {
        return;
    }
    for (setting, asked) in [
        ("cpu.realtimeRuntime", r#"{"cpu": {"realtimeRuntime": 1000}}"#),
        ("memory.swappiness", r#"{"memory": {"swappiness": 10}}"#),
        ("memory.kernel", r#"{"memory": {"kernel": 10}}"#),
        ("memory.disableOOMKiller", r#"{"memory": {"disableOOMKiller": true}}"#),
        ("blockIO.leafWeight", r#"{"blockIO": {"leafWeight": 10}}"#),
        ("network", r#"{"network": {"classID": 1}}"#),
        ("unified", r#"{"unified": {"../memory.max": "1"}}"#),
    ] {
        let path = crate::support::parent();
        let error = kapsel_cgroups::Cgroup::create(&format!("{path}/a"), &resources(asked)).unwrap_err();
        assert_eq!(error.code(), "CGROUP_LIMIT_UNSUPPORTED", "{error}");
        assert!(error.to_string().starts_with(setting), "{error}");
        assert!(!crate::support::exists(&path));
    }
}

#[test]
fn every_limit_reaches_its_file_on_v2_too() {
    if v1() {
        return;
    }
    let cgroup = create(&resources(
        r#"{"memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 20}, "blockIO": {"weight": 1000}, "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
            "unified": {"memory.high": "62914560"}}"#,
    ));
    let seen = |file| read(&cgroup, "", file);
    assert_eq!(seen("memory.max"), "67108864");
    assert_eq!(seen("memory.swap.max"), "67108864");
    assert_eq!(seen("memory.low"), "33554432");
    assert_eq!(seen("memory.high"), "62914560");
    assert_eq!((seen("cpu.weight"), seen("cpu.max")), ("59".to_owned(), "50000 100000".to_owned()));
    assert_eq!((seen("cpuset.cpus"), seen("pids.max")), ("0".to_owned(), "20".to_owned()));
    assert_eq!(
        (seen("hugetlb.2MB.max"), seen("hugetlb.2MB.rsvd.max")),
        ("4194304".to_owned(), "4194304".to_owned())
    );
    cgroup.apply(&resources(r#"{"cpu": {"period": 200000}, "memory": {"limit": -1, "swap": -1}}"#)).unwrap();
    assert_eq!((seen("cpu.max"), seen("memory.max")), ("50000 200000".to_owned(), "max".to_owned()));
    let shell = Shell::start(&cgroup, "exec sleep 60", true);
    eventually("memory is in use", || cgroup.stats().unwrap().memory.unwrap().usage > 4096);
    let update = r#"{"memory": {"limit": 4096, "checkBeforeUpdate": true}}"#;
    assert_eq!(cgroup.apply(&resources(update)).unwrap_err().code(), "CGROUP_LIMIT_UNSUPPORTED");
    let unknown = cgroup.apply(&resources(r#"{"unified": {"nothing.max": "1"}}"#)).unwrap_err();
    assert_eq!(unknown.code(), "CGROUP_CONTROLLER_MISSING", "{unknown}");
    cgroup.kill_all().unwrap();
    shell.wait();
    cgroup.remove().unwrap();
}

#[test]
fn a_value_that_the_kernel_refuses_names_the_field() {
    let cgroup = create(&LinuxResources::default());
    let error = cgroup.apply(&resources(r#"{"cpu": {"cpus": "4000-4001"}}"#)).unwrap_err();
    assert!(error.to_string().contains("cpu.cpus"), "{error}");
    if v1() {
        let error = cgroup.apply(&resources(r#"{"unified": {"memory.high": "1"}}"#)).unwrap_err();
        assert_eq!(error.code(), "CGROUP_LIMIT_UNSUPPORTED");
    }
    cgroup.remove().unwrap();
}

#[test]
fn running_out_of_memory_is_seen_and_counted() {
    let cgroup = create(&resources(r#"{"memory": {"limit": 8388608, "swap": 8388608}}"#));
    let watch = cgroup.oom_fd().unwrap().expect("memory is accounted");
    assert_eq!(cgroup.oom_kills().unwrap(), 0);
    let shell = Shell::start(&cgroup, "dd if=/dev/zero of=/dev/null bs=64M count=1", true);
    let mut polled =
        libc::pollfd { fd: std::os::fd::AsRawFd::as_raw_fd(&watch), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd.
    assert_eq!(unsafe { libc::poll(&raw mut polled, 1, 10_000) }, 1, "nobody was told");
    shell.wait();
    assert!(cgroup.oom_kills().unwrap() >= 1);
    assert!(cgroup.stats().unwrap().memory.unwrap().oom_kills >= 1);
    eventually("all are gone", || cgroup.processes().unwrap().is_empty());
    cgroup.remove().unwrap();
}

#[test]
fn a_device_outside_the_rules_cannot_be_opened() {
    let cgroup = create(&resources(
        r#"{"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]}"#,
    ));
    let run = |script: &str| Shell::start(&cgroup, script, true).wait();
    assert_eq!(run("echo > /dev/null"), 0);
    assert_ne!(run("head -c 1 /dev/zero > /dev/null"), 0);
    let directory = tempfile::tempdir().unwrap();
    let node = directory.path().join("node");
    assert_ne!(run(&format!("mknod {} c 1 3", node.display())), 0, "a node was made without m");
    cgroup.apply(&resources(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#)).unwrap();
    assert_eq!(run("head -c 1 /dev/zero > /dev/null"), 0);
    cgroup.remove().unwrap();
}

#[test]
fn nobody_notices_that_device_rules_are_written_anew() {
    // The device that is used comes last: for that long it is forbidden.
    let many: String = (0..60)
        .map(|minor| format!(r#"{{"allow": true, "type": "b", "major": 7, "minor": {minor}}}, "#))
        .collect();
    let null = r#"{"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}"#;
    let rules = resources(&format!(r#"{{"devices": [{{"allow": false}}, {many}{null}]}}"#));
    let cgroup = create(&rules);
    let directory = tempfile::tempdir().unwrap();
    let refused = directory.path().join("refused");
    let open = format!("while echo > /dev/null; do :; done; echo >> {}", refused.display());
    let script = format!("for i in 1 2 3 4; do ({open}) 2>&- & done; wait");
    let shell = Shell::start(&cgroup, &script, true);
    eventually("they run", || cgroup.stats().unwrap().cpu.unwrap().usage > 10_000_000);
    for _ in 0..100 {
        cgroup.apply(&rules).unwrap();
    }
    assert!(!cgroup.is_frozen().unwrap());
    cgroup.kill_all().unwrap();
    shell.wait();
    assert!(!refused.exists(), "somebody was refused the device for a moment");
    eventually("all are gone", || cgroup.processes().unwrap().is_empty());
    cgroup.remove().unwrap();
}

#[test]
fn time_memory_and_tasks_are_accounted() {
    let cgroup = create(&resources(r#"{"pids": {"limit": 9}, "cpu": {"quota": 200000, "period": 100000}}"#));
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 60";
    let shell = Shell::start(&cgroup, script, true);
    eventually("time is counted", || cgroup.stats().unwrap().cpu.unwrap().usage > 1_000_000);
    let stats = cgroup.stats().unwrap();
    assert!(stats.memory.unwrap().usage > 0);
    let pids = stats.pids.unwrap();
    assert_eq!((pids.current, pids.limit), (1, Some(9)));
    cgroup.kill_all().unwrap();
    shell.wait();
    cgroup.remove().unwrap();
}
