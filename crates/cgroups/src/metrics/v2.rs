//! Reading v2's accounting files into [`super::Metrics`].

use super::{
    BlkioEntry, BlkioMetrics, CpuMetrics, CpuUsage, HugetlbMetrics, MemoryEntry, MemoryMetrics, Throttling,
    flat, number, text,
};
use crate::{Error, directory::Directory, stats::value};

pub(super) fn cpu(stat: &str) -> CpuMetrics {
    let microseconds = |key| value(stat, key) * 1000;
    CpuMetrics {
        usage: CpuUsage {
            total: microseconds("usage_usec"),
            kernel: microseconds("system_usec"),
            user: microseconds("user_usec"),
            ..CpuUsage::default()
        },
        throttling: Throttling {
            periods: value(stat, "nr_periods"),
            throttled_periods: value(stat, "nr_throttled"),
            throttled_time: microseconds("throttled_usec"),
        },
        psi: None,
    }
}

pub(super) fn memory(directory: &Directory) -> Result<MemoryMetrics, Error> {
    let raw = flat(&text(directory, "memory.stat")?);
    let entry = |kind: &str| {
        let file = |what: &str| format!("memory.{kind}{what}");
        let limit = directory
            .read_optional(&file("max"))?
            .map_or(0, |limit| limit.trim().parse().unwrap_or(u64::MAX));
        let (usage, max) = (number(directory, &file("current"))?, number(directory, &file("peak"))?);
        Ok::<_, Error>(MemoryEntry { limit, usage, max, failcnt: 0 })
    };
    let (usage, swap) = (entry("")?, entry("swap.")?);
    Ok(MemoryMetrics {
        cache: raw.get("file").copied().unwrap_or(0),
        usage,
        swap: together(usage, swap),
        raw,
        ..MemoryMetrics::default()
    })
}

/// v1 counts swap with memory, v2 apart. Of the two peaks nothing can be made.
fn together(usage: MemoryEntry, swap: MemoryEntry) -> MemoryEntry {
    MemoryEntry {
        limit: usage.limit.saturating_add(swap.limit),
        usage: usage.usage + swap.usage,
        ..MemoryEntry::default()
    }
}

/// io.stat: `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N …`.
pub(super) fn io(stat: &str) -> BlkioMetrics {
    let mut metrics = BlkioMetrics::default();
    for line in stat.lines() {
        let mut words = line.split_whitespace();
        let numbers = words.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = numbers.map(|(major, minor)| (major.parse(), minor.parse()))
        else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (table, op) = match key {
                "rbytes" => (&mut metrics.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut metrics.io_service_bytes_recursive, "Write"),
                "rios" => (&mut metrics.io_serviced_recursive, "Read"),
                "wios" => (&mut metrics.io_serviced_recursive, "Write"),
                _ => continue,
            };
            table.push(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().unwrap_or(0) });
        }
    }
    metrics
}

pub(super) fn hugetlb(directory: &Directory, size: &str) -> Result<HugetlbMetrics, Error> {
    let reserved = directory.read_optional(&format!("hugetlb.{size}.rsvd.current"))?;
    let usage = match reserved {
        Some(reserved) => reserved.trim().parse().unwrap_or(0),
        None => number(directory, &format!("hugetlb.{size}.current"))?,
    };
    let failcnt = value(&text(directory, &format!("hugetlb.{size}.events"))?, "max");
    Ok(HugetlbMetrics { usage, max: 0, failcnt })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_memory_and_swap_together() {
        let entry = |limit, usage| MemoryEntry { limit, usage, max: 9, failcnt: 0 };
        let expected = |limit, usage| MemoryEntry { limit, usage, ..MemoryEntry::default() };
        assert_eq!(together(entry(100, 7), entry(50, 3)), expected(150, 10));
        assert_eq!(together(entry(100, 7), entry(u64::MAX, 0)), expected(u64::MAX, 7));
    }

    #[test]
    fn devices_are_listed_as_on_v1() {
        let entry = |op: &str, value| BlkioEntry { major: 8, minor: 0, op: op.to_owned(), value };
        let metrics = io("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n\n");
        assert_eq!(metrics.io_service_bytes_recursive, [entry("Read", 1), entry("Write", 2)]);
        assert_eq!(metrics.io_serviced_recursive, [entry("Read", 3), entry("Write", 4)]);
    }
}
