//! What the kernel has counted, and how much it waits.

use crate::support::{Shell, create, eventually, has, resources};
use kapsel_cgroups::{LinuxResources, mounts};

#[test]
fn everything_that_is_accounted_is_in_the_metrics() {
    let limits =
        r#"{"pids": {"limit": 9}, "memory": {"limit": 67108864}, "cpu": {"quota": 20000, "period": 100000}}"#;
    let cgroup = create(&resources(limits));
    let shell = Shell::start(&cgroup, "while [ ! -e /nothing ]; do :; done", true);
    eventually("it is held back", || {
        let cpu = cgroup.metrics().unwrap().cpu;
        cpu.throttling.throttled_time > 0 && cpu.usage.user > 0 && cpu.usage.total > 10_000_000
    });
    let metrics = cgroup.metrics().unwrap();
    let usage = &metrics.cpu.usage;
    assert!(metrics.cpu.throttling.periods >= metrics.cpu.throttling.throttled_periods);
    if has("cpuacct") {
        let total: u64 = usage.percpu.iter().sum();
        assert!(total >= usage.total && usage.percpu_user.iter().sum::<u64>() > 0, "{usage:?}");
        assert_eq!(
            (usage.percpu_kernel.len(), usage.percpu_user.len()),
            (usage.percpu.len(), usage.percpu.len())
        );
    }
    if has("cpuset") {
        assert!(metrics.cpuset.cpus.contains(&0) && metrics.cpuset.mems.contains(&0));
    }
    let memory = &metrics.memory;
    assert_eq!(memory.usage.limit, 67_108_864);
    assert!(memory.usage.usage > 0 && memory.usage.max >= memory.usage.usage, "{memory:?}");
    assert!(memory.swap.usage >= memory.usage.usage && memory.swap.limit > memory.usage.limit, "{memory:?}");
    assert!(memory.raw.contains_key("pgfault"), "{memory:?}");
    assert_eq!((metrics.pids.current, metrics.pids.limit), (1, 9));
    cgroup.kill_all().unwrap();
    shell.wait();
    cgroup.remove().unwrap();
}

#[test]
fn pressure_is_felt_where_the_kernel_measures_it() {
    let cgroup = create(&LinuxResources::default());
    let measured = mounts().unwrap().1.iter().any(|mount| mount.unified)
        && cgroup.directories().any(|(_, path)| path.join("cpu.pressure").exists());
    assert_eq!(cgroup.pressure().unwrap().cpu.is_some(), measured);
    if measured {
        // More who run than there are processors: somebody waits.
        let shell =
            Shell::start(&cgroup, "for i in 1 2 3 4 5 6 7 8; do while :; do :; done & done; wait", true);
        eventually("somebody waits", || cgroup.pressure().unwrap().cpu.unwrap().some.total > 0);
        assert_eq!(cgroup.metrics().unwrap().cpu.psi.is_some(), measured);
        cgroup.kill_all().unwrap();
        shell.wait();
        eventually("all are gone", || cgroup.processes().unwrap().is_empty());
    }
    cgroup.remove().unwrap();
}
