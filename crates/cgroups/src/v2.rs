//! `linux.resources` in the files of cgroup v2, controller by controller. Pure: nothing is written here.

use std::{
    collections::BTreeMap,
    f64::consts::{LN_2, LN_10},
};

use crate::{
    Error, LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxThrottleDevice,
    resources::page_size,
    setting::{Absent, Setting},
};

fn unsupported(setting: &str, why: &str) -> Error {
    Error::Unsupported { setting: setting.to_owned(), why: why.to_owned() }
}

fn bytes(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

pub(crate) fn memory(memory: &LinuxMemory) -> Result<Vec<Setting>, Error> {
    let only_v1 = [
        ("memory.kernel", memory.kernel.is_some_and(|limit| limit > 0)),
        ("memory.kernelTCP", memory.kernel_tcp.is_some_and(|limit| limit > 0)),
        ("memory.swappiness", memory.swappiness.is_some()),
        ("memory.disableOOMKiller", memory.disable_oom_killer == Some(true)),
        ("memory.useHierarchy", memory.use_hierarchy == Some(false)),
    ];
    if let Some((name, _)) = only_v1.iter().find(|(_, asked)| *asked) {
        return Err(unsupported(name, "cgroup v2 has no such limit; leave it out"));
    }
    let limit = memory.limit.filter(|limit| *limit != 0);
    let mut settings = Vec::new();
    if let Some(limit) = limit {
        settings.push(Setting::new("memory.limit", "memory.max", bytes(limit)));
    }
    let no_swap = "this kernel does not account for swap; boot it with swapaccount=1 or leave the limit out";
    match memory.swap_with_memory() {
        None => {}
        Some(swap) if swap < 0 => {
            settings.push(Setting::new("memory.swap", "memory.swap.max", "max").absent(Absent::Skip));
        }
        Some(swap) => {
            // The specification counts memory and swap together, v2 counts swap alone.
            let limit =
                limit.ok_or_else(|| unsupported("memory.swap", "needs memory.limit beside it"))?.max(0);
            if swap < limit {
                return Err(unsupported(
                    "memory.swap",
                    "counts memory and swap together: it must not be below memory.limit",
                ));
            }
            let setting = Setting::new("memory.swap", "memory.swap.max", swap - limit);
            settings.push(setting.absent(Absent::Refuse(no_swap)));
        }
    }
    if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
        settings.push(Setting::new("memory.reservation", "memory.low", bytes(reservation)));
    }
    Ok(settings)
}

/// `current` reads cpu.max, asked only where the period changes and the quota stays.
pub(crate) fn cpu(cpu: &LinuxCpu, current: impl FnOnce() -> Option<String>) -> Result<Vec<Setting>, Error> {
    let realtime = [
        ("cpu.realtimeRuntime", cpu.realtime_runtime.is_some_and(|runtime| runtime != 0)),
        ("cpu.realtimePeriod", cpu.realtime_period.is_some_and(|period| period != 0)),
    ];
    if let Some((name, _)) = realtime.iter().find(|(_, asked)| *asked) {
        return Err(unsupported(name, "cgroup v2 does not limit real-time tasks; leave it out"));
    }
    let mut settings = Vec::new();
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        settings.push(Setting::new("cpu.shares", "cpu.weight", weight_of_shares(shares)));
    }
    let quota = cpu.quota.filter(|quota| *quota != 0).map(bytes);
    match (quota, cpu.period.filter(|period| *period != 0)) {
        (None, None) => {}
        (Some(quota), None) => settings.push(Setting::new("cpu.quota", "cpu.max", quota)),
        (Some(quota), Some(period)) => {
            settings.push(Setting::new("cpu.quota", "cpu.max", format!("{quota} {period}")));
        }
        (None, Some(period)) => {
            let current = current().unwrap_or_default();
            let quota = current.split_whitespace().next().unwrap_or("max");
            settings.push(Setting::new("cpu.period", "cpu.max", format!("{quota} {period}")));
        }
    }
    if let Some(burst) = cpu.burst {
        settings.push(Setting::new("cpu.burst", "cpu.max.burst", burst));
    }
    if let Some(idle) = cpu.idle {
        settings.push(Setting::new("cpu.idle", "cpu.idle", idle));
    }
    Ok(settings)
}

/// v1's shares (2 to 262144, 1024 the default) as v2's weight (1 to 10000, 100 the default): a quadratic in the
/// logarithm through those three points, agreed upon by runc, crun and systemd in 2025.
pub(crate) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            #[expect(clippy::cast_precision_loss, reason = "below 2^18")]
            let l = logarithm(shares as f64) / LN_2;
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            // What is a hair above a whole number is that number, by the series' error.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 1 and 10000"
            )]
            let weight = (exponential(exponent * LN_10) - 1e-9).ceil() as u64;
            weight
        }
    }
}

/// ln x for 1 ≤ x. By its series: the C library's tables for it and for powers are 16 KB of the static executable.
fn logarithm(mut x: f64) -> f64 {
    let mut powers = 0.0;
    while x >= 2.0 {
        x /= 2.0;
        powers += LN_2;
    }
    let t = (x - 1.0) / (x + 1.0);
    let (mut power, mut sum) = (t, 0.0);
    for n in (1..40).step_by(2) {
        sum += power / f64::from(n);
        power *= t * t;
    }
    powers + 2.0 * sum
}

/// e to the power of x, for 0 ≤ x < 10.
fn exponential(x: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..60 {
        term *= x / f64::from(n);
        sum += term;
    }
    sum
}

/// BFQ takes v1's scale, 10 to 1000; everyone else's io.weight has 1 to 10000 for it.
pub(crate) fn scaled(weight: u16) -> u32 {
    1 + (u32::from(weight.max(10)) - 10) * 9999 / 990
}

pub(crate) fn block_io(block_io: &LinuxBlockIo) -> Result<Vec<Setting>, Error> {
    let of_devices = block_io.weight_device.iter().map(|device| device.leaf_weight);
    if of_devices.chain([block_io.leaf_weight]).any(|weight| weight.is_some_and(|weight| weight != 0)) {
        return Err(unsupported("blockIO.leafWeight", "cgroup v2 has no leaf weights; leave it out"));
    }
    let mut settings = Vec::new();
    if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
        let other = Absent::Instead("io.weight", scaled(weight).to_string());
        settings.push(Setting::new("blockIO.weight", "io.bfq.weight", weight).absent(other));
    }
    for device in &block_io.weight_device {
        if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
            let line = |weight: u32| format!("{}:{} {weight}", device.major, device.minor);
            let other = Absent::Instead("io.weight", line(scaled(weight)));
            settings.push(
                Setting::new("blockIO.weightDevice", "io.bfq.weight", line(weight.into())).absent(other),
            );
        }
    }
    let throttles = [
        ("blockIO.throttleReadBpsDevice", "rbps", &block_io.throttle_read_bps_device),
        ("blockIO.throttleWriteBpsDevice", "wbps", &block_io.throttle_write_bps_device),
        ("blockIO.throttleReadIOPSDevice", "riops", &block_io.throttle_read_iops_device),
        ("blockIO.throttleWriteIOPSDevice", "wiops", &block_io.throttle_write_iops_device),
    ];
    for (name, key, devices) in throttles {
        for LinuxThrottleDevice { major, minor, rate } in devices {
            let rate = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
            settings.push(Setting::new(name, "io.max", format!("{major}:{minor} {key}={rate}")));
        }
    }
    Ok(settings)
}

pub(crate) fn hugepages(limits: &[LinuxHugepageLimit]) -> Result<Vec<Setting>, Error> {
    let mut settings = Vec::new();
    for LinuxHugepageLimit { page_size: size, limit } in limits {
        let size = page_size(size)?;
        settings.push(Setting::new("hugepageLimits", format!("hugetlb.{size}.max"), limit));
        let reserved = format!("hugetlb.{size}.rsvd.max");
        settings.push(Setting::new("hugepageLimits", reserved, limit).absent(Absent::Skip));
    }
    Ok(settings)
}

pub(crate) fn network(network: &LinuxNetwork) -> Result<(), Error> {
    if network.class_id.is_some_and(|class| class != 0) || !network.priorities.is_empty() {
        return Err(unsupported("network", "cgroup v2 has no network controllers; leave it out"));
    }
    Ok(())
}

/// The `unified` map: files as they are, their controller in front.
pub(crate) fn unified(files: &BTreeMap<String, String>) -> Result<Vec<(&str, Setting)>, Error> {
    let mut settings = Vec::new();
    for (file, value) in files {
        let controller = file.split('.').next().unwrap_or_default();
        if file.contains(['/', '\0']) || controller.is_empty() || controller == file {
            return Err(unsupported(
                "unified",
                &format!("{file:?} is no file of a cgroup, as \"memory.high\" is"),
            ));
        }
        settings.push((controller, Setting::new("unified", file.clone(), value)));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LinuxWeightDevice;

    fn lines(settings: &[Setting]) -> Vec<String> {
        settings.iter().map(|setting| format!("{} {}", setting.file, setting.value)).collect()
    }

    #[test]
    fn shares_become_weights_through_the_three_agreed_points() {
        let seen: Vec<u64> =
            [1, 2, 3, 512, 1024, 2048, 262_143, 262_144, 1 << 40].map(weight_of_shares).to_vec();
        assert_eq!(seen, [1, 1, 2, 59, 100, 174, 10_000, 10_000, 10_000]);
        assert!((2..262_144).all(|shares| weight_of_shares(shares) <= weight_of_shares(shares + 1)));
        for shares in 3..262_144_u32 {
            let l = f64::from(shares).log2();
            let exact = 10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil();
            assert_eq!(weight_of_shares(u64::from(shares)) as f64, exact, "{shares}");
        }
    }

    #[test]
    fn swap_is_what_exceeds_the_memory_limit() {
        let swap = |limit, swap| memory(&LinuxMemory { limit, swap, ..LinuxMemory::default() });
        assert_eq!(lines(&swap(Some(100), Some(300)).unwrap()), ["memory.max 100", "memory.swap.max 200"]);
        assert_eq!(lines(&swap(Some(100), Some(100)).unwrap()), ["memory.max 100", "memory.swap.max 0"]);
        assert_eq!(lines(&swap(Some(-1), Some(-1)).unwrap()), ["memory.max max", "memory.swap.max max"]);
        assert_eq!(lines(&swap(Some(100), Some(0)).unwrap()), ["memory.max 100"]);
        assert_eq!(lines(&swap(Some(-1), None).unwrap()), ["memory.max max", "memory.swap.max max"]);
        assert_eq!(lines(&swap(Some(-1), Some(300)).unwrap()), ["memory.max max", "memory.swap.max 300"]);
        assert!(swap(None, Some(300)).is_err());
        assert!(swap(Some(300), Some(100)).is_err());
    }

    #[test]
    fn what_only_v1_can_do_is_refused_by_name() {
        let refused = |memory_: LinuxMemory| memory(&memory_).unwrap_err().to_string();
        let swappiness = LinuxMemory { swappiness: Some(10), ..LinuxMemory::default() };
        assert!(refused(swappiness).starts_with("memory.swappiness: "));
        let no_killer = LinuxMemory { disable_oom_killer: Some(true), ..LinuxMemory::default() };
        assert!(refused(no_killer).starts_with("memory.disableOOMKiller: "));
        assert!(memory(&LinuxMemory { disable_oom_killer: Some(false), ..LinuxMemory::default() }).is_ok());
        let realtime = LinuxCpu { realtime_runtime: Some(1), ..LinuxCpu::default() };
        assert!(cpu(&realtime, || None).is_err());
        let realtime = LinuxCpu { realtime_period: Some(1), ..LinuxCpu::default() };
        assert!(cpu(&realtime, || None).unwrap_err().to_string().starts_with("cpu.realtimePeriod: "));
        for memory in [
            LinuxMemory { kernel: Some(1), ..LinuxMemory::default() },
            LinuxMemory { kernel_tcp: Some(1), ..LinuxMemory::default() },
            LinuxMemory { use_hierarchy: Some(false), ..LinuxMemory::default() },
        ] {
            refused(memory);
        }
        let leaf = LinuxWeightDevice { major: 8, minor: 0, weight: None, leaf_weight: Some(20) };
        assert!(block_io(&LinuxBlockIo { weight_device: vec![leaf], ..LinuxBlockIo::default() }).is_err());
        assert!(network(&LinuxNetwork { class_id: Some(1), priorities: Vec::new() }).is_err());
    }

    #[test]
    fn a_new_period_keeps_the_quota() {
        let quota = |quota, period| LinuxCpu { quota, period, ..LinuxCpu::default() };
        let seen = |asked: &LinuxCpu| lines(&cpu(asked, || Some("5000 100000\n".to_owned())).unwrap());
        assert_eq!(seen(&quota(Some(-1), None)), ["cpu.max max"]);
        assert_eq!(seen(&quota(Some(7), Some(9))), ["cpu.max 7 9"]);
        assert_eq!(seen(&quota(None, Some(9))), ["cpu.max 5000 9"]);
        assert_eq!(lines(&cpu(&quota(None, Some(9)), || None).unwrap()), ["cpu.max max 9"]);
    }

    #[test]
    fn block_io_weights_are_scaled_where_there_is_no_bfq() {
        let settings = block_io(&LinuxBlockIo { weight: Some(1000), ..LinuxBlockIo::default() }).unwrap();
        assert_eq!(lines(&settings), ["io.bfq.weight 1000"]);
        assert_eq!(settings[0].absent, Absent::Instead("io.weight", "10000".to_owned()));
        let throttle = LinuxBlockIo {
            throttle_read_bps_device: vec![LinuxThrottleDevice { major: 8, minor: 0, rate: 0 }],
            ..LinuxBlockIo::default()
        };
        assert_eq!(lines(&block_io(&throttle).unwrap()), ["io.max 8:0 rbps=max"]);
        let rate = |rate| vec![LinuxThrottleDevice { major: 8, minor: 0, rate }];
        let throttle = LinuxBlockIo {
            weight_device: vec![LinuxWeightDevice {
                major: 8,
                minor: 0,
                weight: Some(10),
                leaf_weight: None,
            }],
            throttle_read_bps_device: rate(1),
            throttle_write_bps_device: rate(2),
            throttle_read_iops_device: rate(3),
            throttle_write_iops_device: rate(4),
            ..LinuxBlockIo::default()
        };
        let settings = block_io(&throttle).unwrap();
        let devices = ["io.max 8:0 rbps=1", "io.max 8:0 wbps=2", "io.max 8:0 riops=3", "io.max 8:0 wiops=4"];
        assert_eq!(lines(&settings)[1..], devices);
        assert_eq!(settings[0].absent, Absent::Instead("io.weight", "8:0 1".to_owned()));
        assert_eq!([10, 500, 1000].map(scaled), [1, 4950, 10_000]);
    }

    #[test]
    fn huge_pages_are_limited_and_so_are_reservations() {
        let limit = LinuxHugepageLimit { page_size: "2MB".to_owned(), limit: 4 };
        let settings = hugepages(&[limit]).unwrap();
        assert_eq!(lines(&settings), ["hugetlb.2MB.max 4", "hugetlb.2MB.rsvd.max 4"]);
        assert_eq!((&settings[1].absent, settings[0].absent == Absent::Skip), (&Absent::Skip, false));
    }

    #[test]
    fn bursts_and_idleness_have_their_files() {
        let asked = LinuxCpu { burst: Some(5), idle: Some(1), ..LinuxCpu::default() };
        assert_eq!(lines(&cpu(&asked, || None).unwrap()), ["cpu.max.burst 5", "cpu.idle 1"]);
    }

    #[test]
    fn a_unified_key_cannot_leave_the_cgroup() {
        let files = |key: &str| BTreeMap::from([(key.to_owned(), "1".to_owned())]);
        assert!(unified(&files("../../memory.max")).is_err());
        assert!(unified(&files("..")).is_err());
        assert!(unified(&files("memory")).is_err());
        assert_eq!(unified(&files("memory.high")).unwrap()[0].0, "memory");
    }
}
