//! What a container has used: one shape for v1 and v2.

use std::collections::BTreeMap;

use serde::Serialize;

/// A snapshot of a cgroup's accounting; what the machine does not account for is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Processor time.
    pub cpu: Option<CpuStats>,
    /// Memory.
    pub memory: Option<MemoryStats>,
    /// Tasks.
    pub pids: Option<PidsStats>,
    /// Block devices, keyed by `MAJOR:MINOR`.
    pub block_io: BTreeMap<String, BlockIoStats>,
}

/// Processor time, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuStats {
    /// All of it.
    pub usage: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Periods in which the container was held back.
    pub throttled_periods: u64,
    /// How long it was held back.
    pub throttled: u64,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStats {
    /// In use, page cache included.
    pub usage: u64,
    /// Largest use so far (v1; v2 since Linux 5.19).
    pub peak: Option<u64>,
    /// The limit; absent where there is none.
    pub limit: Option<u64>,
    /// Swap in use.
    pub swap: Option<u64>,
    /// Page cache that could be dropped: `docker stats` shows `usage` without it.
    pub inactive_file: u64,
    /// Processes killed for want of memory.
    pub oom_kills: u64,
}

/// Tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PidsStats {
    /// Tasks now.
    pub current: u64,
    /// Their limit; absent where there is none.
    pub limit: Option<u64>,
}

/// Traffic of one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockIoStats {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

impl CpuStats {
    /// From v1's cpuacct.usage, cpuacct.stat and cpu.stat.
    pub(crate) fn v1(usage: &str, times: &str, throttling: &str) -> Self {
        // The kernel's USER_HZ, in which it speaks to user space on every architecture we run on, is 100.
        let ticks = |key| value(times, key) * 10_000_000;
        Self {
            usage: usage.trim().parse().unwrap_or(0),
            user: ticks("user"),
            system: ticks("system"),
            periods: value(throttling, "nr_periods"),
            throttled_periods: value(throttling, "nr_throttled"),
            throttled: value(throttling, "throttled_time"),
        }
    }

    /// From v2's cpu.stat.
    pub(crate) fn v2(stat: &str) -> Self {
        let microseconds = |key| value(stat, key) * 1000;
        Self {
            usage: microseconds("usage_usec"),
            user: microseconds("user_usec"),
            system: microseconds("system_usec"),
            periods: value(stat, "nr_periods"),
            throttled_periods: value(stat, "nr_throttled"),
            throttled: microseconds("throttled_usec"),
        }
    }
}

impl BlockIoStats {
    /// From v1's two lists of `MAJOR:MINOR Read N` lines.
    pub(crate) fn v1(bytes: &str, operations: &str) -> BTreeMap<String, Self> {
        let mut devices = BTreeMap::<String, Self>::new();
        for (text, in_bytes) in [(bytes, true), (operations, false)] {
            for line in text.lines() {
                let mut words = line.split(' ');
                let (Some(device), Some(what), Some(Ok(number))) =
                    (words.next(), words.next(), words.next().map(str::parse))
                else {
                    continue;
                };
                let stats = devices.entry(device.to_owned()).or_default();
                match (what, in_bytes) {
                    ("Read", true) => stats.read_bytes = number,
                    ("Write", true) => stats.write_bytes = number,
                    ("Read", false) => stats.reads = number,
                    ("Write", false) => stats.writes = number,
                    _ => {}
                }
            }
        }
        devices
    }

    /// From v2's io.stat: `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N …`.
    pub(crate) fn v2(stat: &str) -> BTreeMap<String, Self> {
        let mut devices = BTreeMap::new();
        for line in stat.lines() {
            let mut words = line.split(' ');
            let Some(device) = words.next().filter(|device| device.contains(':')) else { continue };
            let mut stats = Self::default();
            for (key, number) in words.filter_map(|word| word.split_once('=')) {
                let number = number.parse().unwrap_or(0);
                match key {
                    "rbytes" => stats.read_bytes = number,
                    "wbytes" => stats.write_bytes = number,
                    "rios" => stats.reads = number,
                    "wios" => stats.writes = number,
                    _ => {}
                }
            }
            devices.insert(device.to_owned(), stats);
        }
        devices
    }
}

/// The number behind a key of a flat-keyed file; 0 where it is not there.
pub(crate) fn value(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// A limit: none where it is `max`, or v1's largest number of whole pages.
pub(crate) fn limit(text: &str) -> Option<u64> {
    const UNLIMITED: u64 = i64::MAX as u64 & !0xffff;
    text.trim().parse().ok().filter(|limit| *limit < UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_nanoseconds_on_both_versions() {
        let v1 =
            CpuStats::v1("1500\n", "user 2\nsystem 3\n", "nr_periods 4\nnr_throttled 5\nthrottled_time 6\n");
        let expected = CpuStats {
            usage: 1500,
            user: 20_000_000,
            system: 30_000_000,
            periods: 4,
            throttled_periods: 5,
            throttled: 6,
        };
        assert_eq!(v1, expected);
        let v2 = CpuStats::v2(
            "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 1\nnr_throttled 1\nthrottled_usec 9\n",
        );
        let expected = CpuStats {
            usage: 7000,
            user: 4000,
            system: 3000,
            periods: 1,
            throttled_periods: 1,
            throttled: 9000,
        };
        assert_eq!(v2, expected);
    }

    #[test]
    fn block_devices_are_counted_on_both_versions() {
        let expected = BTreeMap::from([(
            "8:0".to_owned(),
            BlockIoStats { read_bytes: 1, write_bytes: 2, reads: 3, writes: 4 },
        )]);
        let v1 = BlockIoStats::v1(
            "8:0 Read 1\n8:0 Write 2\n8:0 Sync 9\nTotal 3\n",
            "8:0 Read 3\n8:0 Write 4\nTotal 7\n",
        );
        assert_eq!(v1, expected);
        assert_eq!(BlockIoStats::v2("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"), expected);
    }

    #[test]
    fn no_limit_is_none() {
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("9223372036854771712\n"), None);
        assert_eq!(limit("4096\n"), Some(4096));
    }
}
