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
    cgroup.apply(&resources(r#"{"pids": {"limit": -1}, "memory": {"limit": -1, "swap": -1}}"#)).unwrap();
    assert_eq!(seen("pids", "pids.max"), "max");
    let stats = cgroup.stats().unwrap();
    assert_eq!((stats.memory.unwrap().limit, stats.pids.unwrap().limit), (None, None));
    cgroup.remove().unwrap();
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
