//! `linux.resources` in the files of cgroup v1, controller by controller. Pure: nothing is written here.

use crate::{
    Error, LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxPids, LinuxRdma,
    resources::{page_size, rdma_line, word},
    setting::{Absent, Setting},
};

pub(crate) fn memory(memory: &LinuxMemory) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut bytes = |name, file: &'static str, value: Option<i64>, absent| {
        // 0 means "not given", as everywhere in Docker's world.
        if let Some(value) = value.filter(|value| *value != 0) {
            settings.push(Setting::new(name, file, value).absent(absent));
        }
    };
    let gone = "this kernel no longer limits kernel memory apart (gone since Linux 6.1); leave it out";
    let no_swap = "this kernel does not account for swap; boot it with swapaccount=1 or leave the limit out";
    bytes("memory.limit", "memory.limit_in_bytes", memory.limit, Absent::Refuse("no memory controller"));
    // Without accounting nothing limits swap, which is what −1 asks for.
    let swap = memory.swap_with_memory();
    let absent = if swap.is_some_and(|swap| swap < 0) { Absent::Skip } else { Absent::Refuse(no_swap) };
    bytes("memory.swap", "memory.memsw.limit_in_bytes", swap, absent);
    bytes(
        "memory.reservation",
        "memory.soft_limit_in_bytes",
        memory.reservation,
        Absent::Refuse("no soft limit"),
    );
    bytes("memory.kernel", "memory.kmem.limit_in_bytes", memory.kernel, Absent::Refuse(gone));
    bytes("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp, Absent::Refuse(gone));
    if let Some(swappiness) = memory.swappiness {
        settings.push(Setting::new("memory.swappiness", "memory.swappiness", swappiness));
    }
    if let Some(disable) = memory.disable_oom_killer {
        settings.push(Setting::new("memory.disableOOMKiller", "memory.oom_control", u8::from(disable)));
    }
    if let Some(hierarchical) = memory.use_hierarchy {
        settings.push(Setting::new("memory.useHierarchy", "memory.use_hierarchy", u8::from(hierarchical)));
    }
    settings
}

pub(crate) fn cpu(cpu: &LinuxCpu) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        settings.push(Setting::new("cpu.shares", "cpu.shares", shares));
    }
    if let Some(period) = cpu.period.filter(|period| *period != 0) {
        settings.push(Setting::new("cpu.period", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
        settings.push(Setting::new("cpu.quota", "cpu.cfs_quota_us", quota.max(-1)));
    }
    if let Some(burst) = cpu.burst {
        settings.push(Setting::new("cpu.burst", "cpu.cfs_burst_us", burst));
    }
    if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
        settings.push(Setting::new("cpu.realtimePeriod", "cpu.rt_period_us", period));
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
        settings.push(Setting::new("cpu.realtimeRuntime", "cpu.rt_runtime_us", runtime));
    }
    if let Some(idle) = cpu.idle {
        settings.push(Setting::new("cpu.idle", "cpu.idle", idle));
    }
    settings
}

/// The same on v2.
pub(crate) fn cpuset(cpu: &LinuxCpu) -> Vec<Setting> {
    let mut settings = Vec::new();
    if let Some(cpus) = cpu.cpus.as_ref().filter(|cpus| !cpus.is_empty()) {
        settings.push(Setting::new("cpu.cpus", "cpuset.cpus", cpus));
    }
    if let Some(mems) = cpu.mems.as_ref().filter(|mems| !mems.is_empty()) {
        settings.push(Setting::new("cpu.mems", "cpuset.mems", mems));
    }
    settings
}

/// The same on v2.
pub(crate) fn pids(pids: &LinuxPids) -> Vec<Setting> {
    // 0 and 1 are one to the kernel: the first task is never refused. systemd takes only the latter.
    let value = pids.limit.map(|limit| if limit < 0 { "max".to_owned() } else { limit.max(1).to_string() });
    value.into_iter().map(|value| Setting::new("pids.limit", "pids.max", value)).collect()
}

pub(crate) fn block_io(block_io: &LinuxBlockIo) -> Vec<Setting> {
    // The CFQ scheduler's files went with Linux 5.0; BFQ brought its own.
    let mut settings = Vec::new();
    if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
        let bfq = Absent::Instead("blkio.bfq.weight", weight.to_string());
        settings.push(Setting::new("blockIO.weight", "blkio.weight", weight).absent(bfq));
    }
    if let Some(weight) = block_io.leaf_weight.filter(|weight| *weight != 0) {
        settings.push(Setting::new("blockIO.leafWeight", "blkio.leaf_weight", weight));
    }
    for device in &block_io.weight_device {
        if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
            let line = format!("{}:{} {weight}", device.major, device.minor);
            let bfq = Absent::Instead("blkio.bfq.weight_device", line.clone());
            settings.push(Setting::new("blockIO.weightDevice", "blkio.weight_device", line).absent(bfq));
        }
        if let Some(weight) = device.leaf_weight.filter(|weight| *weight != 0) {
            let line = format!("{}:{} {weight}", device.major, device.minor);
            settings.push(Setting::new("blockIO.weightDevice", "blkio.leaf_weight_device", line));
        }
    }
    let throttles = [
        ("blockIO.throttleReadBpsDevice", "read_bps", &block_io.throttle_read_bps_device),
        ("blockIO.throttleWriteBpsDevice", "write_bps", &block_io.throttle_write_bps_device),
        ("blockIO.throttleReadIOPSDevice", "read_iops", &block_io.throttle_read_iops_device),
        ("blockIO.throttleWriteIOPSDevice", "write_iops", &block_io.throttle_write_iops_device),
    ];
    for (name, what, devices) in throttles {
        for device in devices {
            let line = format!("{}:{} {}", device.major, device.minor, device.rate);
            settings.push(Setting::new(name, format!("blkio.throttle.{what}_device"), line));
        }
    }
    settings
}

pub(crate) fn hugepages(limits: &[LinuxHugepageLimit]) -> Result<Vec<Setting>, Error> {
    let mut settings = Vec::new();
    for LinuxHugepageLimit { page_size: size, limit } in limits {
        let size = page_size(size)?;
        settings.push(Setting::new("hugepageLimits", format!("hugetlb.{size}.limit_in_bytes"), limit));
        let reserved = format!("hugetlb.{size}.rsvd.limit_in_bytes");
        settings.push(Setting::new("hugepageLimits", reserved, limit).absent(Absent::Skip));
    }
    Ok(settings)
}

/// The same on v2.
pub(crate) fn rdma(devices: &std::collections::BTreeMap<String, LinuxRdma>) -> Result<Vec<Setting>, Error> {
    devices
        .iter()
        .filter(|(_, limits)| **limits != LinuxRdma::default())
        .map(|(device, limits)| Ok(Setting::new("rdma", "rdma.max", rdma_line(device, limits)?)))
        .collect()
}

/// For the `net_cls` controller.
pub(crate) fn network_class(network: &LinuxNetwork) -> Vec<Setting> {
    let class = network.class_id.filter(|class| *class != 0);
    class.into_iter().map(|class| Setting::new("network.classID", "net_cls.classid", class)).collect()
}

/// For the `net_prio` controller.
pub(crate) fn network_priorities(network: &LinuxNetwork) -> Result<Vec<Setting>, Error> {
    let line = |name: &str, priority: u32| Ok(format!("{} {priority}", word("network.priorities", name)?));
    let lines = network.priorities.iter().map(|interface| line(&interface.name, interface.priority));
    lines.map(|line| Ok(Setting::new("network.priorities", "net_prio.ifpriomap", line?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LinuxThrottleDevice, LinuxWeightDevice};

    fn lines(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|setting| format!("{} {}", setting.file, setting.value)).collect()
    }

    #[test]
    fn memory_is_written_in_bytes_and_zero_means_not_given() {
        let asked = LinuxMemory {
            limit: Some(64 << 20),
            swap: Some(-1),
            reservation: Some(0),
            swappiness: Some(0),
            disable_oom_killer: Some(true),
            ..LinuxMemory::default()
        };
        assert_eq!(
            lines(&memory(&asked)),
            [
                "memory.limit_in_bytes 67108864",
                "memory.memsw.limit_in_bytes -1",
                "memory.swappiness 0",
                "memory.oom_control 1",
            ]
        );
    }

    #[test]
    fn memory_without_a_limit_takes_swap_along() {
        let swap = |limit, swap| memory(&LinuxMemory { limit, swap, ..LinuxMemory::default() });
        let unlimited = ["memory.limit_in_bytes -1", "memory.memsw.limit_in_bytes -1"];
        assert_eq!(lines(&swap(Some(-1), None)), unlimited);
        assert_eq!(lines(&swap(Some(-1), Some(0))), unlimited);
        assert_eq!(lines(&swap(Some(7), Some(0))), ["memory.limit_in_bytes 7"]);
        assert_eq!(swap(Some(-1), None)[1].absent, Absent::Skip);
        assert_ne!(swap(Some(7), Some(9))[1].absent, Absent::Skip);
    }

    #[test]
    fn every_other_kind_of_memory_has_its_file() {
        let asked = LinuxMemory {
            reservation: Some(-1),
            kernel: Some(2),
            kernel_tcp: Some(3),
            use_hierarchy: Some(true),
            disable_oom_killer: Some(false),
            ..LinuxMemory::default()
        };
        assert_eq!(
            lines(&memory(&asked)),
            [
                "memory.soft_limit_in_bytes -1",
                "memory.kmem.limit_in_bytes 2",
                "memory.kmem.tcp.limit_in_bytes 3",
                "memory.oom_control 0",
                "memory.use_hierarchy 1",
            ]
        );
    }

    #[test]
    fn real_time_has_a_period_and_a_runtime() {
        let asked = LinuxCpu { realtime_runtime: Some(5), realtime_period: Some(6), ..LinuxCpu::default() };
        assert_eq!(lines(&cpu(&asked)), ["cpu.rt_period_us 6", "cpu.rt_runtime_us 5"]);
    }

    #[test]
    fn huge_pages_are_limited_and_so_are_reservations() {
        let limit = LinuxHugepageLimit { page_size: "2MB".to_owned(), limit: 4 };
        let settings = hugepages(&[limit]).unwrap();
        assert_eq!(lines(&settings), ["hugetlb.2MB.limit_in_bytes 4", "hugetlb.2MB.rsvd.limit_in_bytes 4"]);
        assert_eq!((&settings[1].absent, settings[0].absent == Absent::Skip), (&Absent::Skip, false));
    }

    #[test]
    fn an_rdma_device_without_a_limit_is_not_written() {
        let limits = |hca_handles| LinuxRdma { hca_handles, hca_objects: None };
        let devices = [("a".to_owned(), limits(Some(2))), ("b".to_owned(), limits(None))].into();
        assert_eq!(lines(&rdma(&devices).unwrap()), ["rdma.max a hca_handle=2"]);
    }

    #[test]
    fn the_processor_is_written_in_v1_units() {
        let asked = LinuxCpu {
            shares: Some(512),
            quota: Some(-7),
            period: Some(50_000),
            burst: Some(10),
            idle: Some(1),
            cpus: Some("0-1".to_owned()),
            ..LinuxCpu::default()
        };
        assert_eq!(
            lines(&cpu(&asked)),
            [
                "cpu.shares 512",
                "cpu.cfs_period_us 50000",
                "cpu.cfs_quota_us -1",
                "cpu.cfs_burst_us 10",
                "cpu.idle 1"
            ]
        );
        assert_eq!(lines(&cpuset(&asked)), ["cpuset.cpus 0-1"]);
    }

    #[test]
    fn an_unlimited_number_of_tasks_is_max() {
        assert_eq!(lines(&pids(&LinuxPids { limit: Some(-1) })), ["pids.max max"]);
        assert_eq!(lines(&pids(&LinuxPids { limit: Some(7) })), ["pids.max 7"]);
        assert_eq!(lines(&pids(&LinuxPids { limit: Some(0) })), ["pids.max 1"]);
        assert_eq!(lines(&pids(&LinuxPids { limit: None })), Vec::<String>::new());
    }

    #[test]
    fn block_devices_are_throttled_one_line_a_device() {
        let asked = LinuxBlockIo {
            weight: Some(100),
            weight_device: vec![LinuxWeightDevice {
                major: 8,
                minor: 0,
                weight: Some(20),
                leaf_weight: None,
            }],
            throttle_write_iops_device: vec![LinuxThrottleDevice { major: 8, minor: 16, rate: 0 }],
            ..LinuxBlockIo::default()
        };
        let settings = block_io(&asked);
        assert_eq!(
            lines(&settings),
            ["blkio.weight 100", "blkio.weight_device 8:0 20", "blkio.throttle.write_iops_device 8:16 0"]
        );
        assert_eq!(settings[0].absent, Absent::Instead("blkio.bfq.weight", "100".to_owned()));
    }

    #[test]
    fn networks_have_a_class_and_priorities() {
        let asked = LinuxNetwork {
            class_id: Some(0x10_0001),
            priorities: vec![crate::LinuxInterfacePriority { name: "eth0".to_owned(), priority: 5 }],
        };
        assert_eq!(lines(&network_class(&asked)), ["net_cls.classid 1048577"]);
        assert_eq!(lines(&network_priorities(&asked).unwrap()), ["net_prio.ifpriomap eth0 5"]);
    }
}
