//! Reading v1's accounting files into [`super::Metrics`].

use super::{
    BlkioEntry, BlkioMetrics, CpuUsage, CpusetMetrics, HugetlbMetrics, MemoryEntry, MemoryMetrics,
    Throttling, flat, number, text,
};
use crate::{Error, cpu_list, directory::Directory, stats::value};

pub(super) fn cpu(directory: &Directory) -> Result<CpuUsage, Error> {
    // The total first: the processors' sum, which goes on growing, is not below it.
    let total = number(directory, "cpuacct.usage")?;
    let times = text(directory, "cpuacct.stat")?;
    // USER_HZ, in which the kernel speaks to user space, is 100 on every architecture we run on.
    let ticks = |key| value(&times, key) * 10_000_000;
    let percpu = text(directory, "cpuacct.usage_percpu")?;
    let (percpu_user, percpu_kernel) = modes(&text(directory, "cpuacct.usage_all")?);
    Ok(CpuUsage {
        total,
        percpu: percpu.split_whitespace().filter_map(|time| time.parse().ok()).collect(),
        percpu_kernel,
        percpu_user,
        kernel: ticks("system"),
        user: ticks("user"),
    })
}

/// cpuacct.usage_all: a head line, then `CPU USER SYSTEM` for each.
fn modes(usage_all: &str) -> (Vec<u64>, Vec<u64>) {
    let times = |line: &str| {
        let mut words = line.split(' ').skip(1).map(|time| time.trim().parse::<u64>().ok());
        Some((words.next()??, words.next()??))
    };
    usage_all.lines().skip(1).filter_map(times).unzip()
}

pub(super) fn throttling(stat: &str) -> Throttling {
    Throttling {
        periods: value(stat, "nr_periods"),
        throttled_periods: value(stat, "nr_throttled"),
        throttled_time: value(stat, "throttled_time"),
    }
}

pub(super) fn cpuset(directory: &Directory) -> Result<CpusetMetrics, Error> {
    let list = |file| Ok::<_, Error>(cpu_list::parse(&text(directory, file)?).unwrap_or_default());
    let number = |file: &str| number(directory, &format!("cpuset.{file}"));
    Ok(CpusetMetrics {
        cpus: list("cpuset.cpus")?,
        cpu_exclusive: number("cpu_exclusive")?,
        mems: list("cpuset.mems")?,
        mem_hardwall: number("mem_hardwall")?,
        mem_exclusive: number("mem_exclusive")?,
        memory_migrate: number("memory_migrate")?,
        memory_spread_page: number("memory_spread_page")?,
        memory_spread_slab: number("memory_spread_slab")?,
        memory_pressure: number("memory_pressure")?,
        sched_load_balance: number("sched_load_balance")?,
        sched_relax_domain_level: text(directory, "cpuset.sched_relax_domain_level")?
            .trim()
            .parse()
            .unwrap_or(0),
    })
}

pub(super) fn memory(directory: &Directory) -> Result<MemoryMetrics, Error> {
    let raw = flat(&text(directory, "memory.stat")?);
    let entry = |kind: &str| {
        let number = |what| number(directory, &format!("memory.{kind}{what}"));
        let (limit, usage) = (number("limit_in_bytes")?, number("usage_in_bytes")?);
        Ok::<_, Error>(MemoryEntry {
            limit,
            usage,
            max: number("max_usage_in_bytes")?,
            failcnt: number("failcnt")?,
        })
    };
    Ok(MemoryMetrics {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("")?,
        swap: entry("memsw.")?,
        kernel: entry("kmem.")?,
        kernel_tcp: entry("kmem.tcp.")?,
        raw,
        psi: None,
    })
}

/// Whose tables they can be, the most telling first: BFQ's where devices use that scheduler, CFQ's before Linux 5.0.
const TABLES: [&str; 3] = ["blkio.bfq.", "blkio.", "blkio.throttle."];

pub(super) fn blkio(directory: &Directory) -> Result<BlkioMetrics, Error> {
    let table = |name: &str| {
        for prefix in TABLES {
            let entries = entries(&text(directory, &format!("{prefix}{name}_recursive"))?);
            if !entries.is_empty() {
                return Ok::<_, Error>(entries);
            }
        }
        Ok(Vec::new())
    };
    Ok(BlkioMetrics {
        io_service_bytes_recursive: table("io_service_bytes")?,
        io_serviced_recursive: table("io_serviced")?,
        io_queued_recursive: table("io_queued")?,
        io_service_time_recursive: table("io_service_time")?,
        io_wait_time_recursive: table("io_wait_time")?,
        io_merged_recursive: table("io_merged")?,
        io_time_recursive: table("time")?,
        sectors_recursive: table("sectors")?,
        psi: None,
    })
}

/// Lines of `MAJOR:MINOR OP N` or `MAJOR:MINOR N`; a last one, `Total N`, is of no device.
fn entries(table: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
        let op = op.to_owned();
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op,
            value: value.trim().parse().ok()?,
        })
    };
    table.lines().filter_map(entry).collect()
}

pub(super) fn hugetlb(directory: &Directory, size: &str) -> Result<HugetlbMetrics, Error> {
    // Reservations are what the limit is kept against, since Linux 5.7.
    let reserved = directory.read_optional(&format!("hugetlb.{size}.rsvd.usage_in_bytes"))?;
    let kind = if reserved.is_some() { ".rsvd" } else { "" };
    let number = |what| number(directory, &format!("hugetlb.{size}{kind}.{what}"));
    let (usage, max) = (number("usage_in_bytes")?, number("max_usage_in_bytes")?);
    Ok(HugetlbMetrics { usage, max, failcnt: number("failcnt")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modes_of_every_processor_are_told_apart() {
        assert_eq!(modes("cpu user system\n0 1 2\n1 3 4\n"), (vec![1, 3], vec![2, 4]));
    }

    #[test]
    fn a_table_of_devices_is_read_with_and_without_operations() {
        let entry = |op: &str, value| BlkioEntry { major: 8, minor: 16, op: op.to_owned(), value };
        assert_eq!(entries("8:16 Read 5\n8:16 Total 5\nTotal 5\n"), [entry("Read", 5), entry("Total", 5)]);
        assert_eq!(entries("8:16 77\n"), [entry("", 77)]);
    }
}
