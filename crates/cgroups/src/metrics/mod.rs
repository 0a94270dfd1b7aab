//! Everything that a cgroup accounts for, in the words of runc's `events --stats`: what managers of containers parse.
//! [`crate::Stats`] is the short form of the same.

mod v1;
mod v2;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    Error, Stall,
    controllers::{Place, locate},
    directory::Directory,
};

/// The `data` of a runc event of the type `stats` (`types/events.go`), but for `intel_rdt` and `network_interfaces`,
/// which no cgroup knows. What the machine does not account for is zero, and zero is left out where runc does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// Processor time.
    pub cpu: CpuMetrics,
    /// Processors and memory nodes (v1 only).
    pub cpuset: CpusetMetrics,
    /// Memory.
    pub memory: MemoryMetrics,
    /// Tasks.
    pub pids: PidsMetrics,
    /// Block devices.
    pub blkio: BlkioMetrics,
    /// Huge pages, keyed by their size: `2MB`.
    pub hugetlb: BTreeMap<String, HugetlbMetrics>,
    /// RDMA resources in use, keyed by the device's name; runc accounts for them and does not print them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, RdmaMetrics>,
}

/// Processor time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CpuMetrics {
    /// How much was used.
    pub usage: CpuUsage,
    /// How much was held back by the quota.
    pub throttling: Throttling,
    /// Time lost for want of a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Stall>,
}

/// Processor time used, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    /// All of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// By processor (v1 only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// By processor, in the kernel (v1 only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// By processor, in user mode (v1 only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In user mode.
    pub user: u64,
}

/// What the quota has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods that have passed.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Periods in which the container was held back.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// How long it was held back, in nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// v1's cpuset files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each is the kernel's file of that name")]
pub struct CpusetMetrics {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MemoryMetrics {
    /// Page cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// All of it but swap.
    pub usage: MemoryEntry,
    /// Memory and swap together, on v2 too.
    pub swap: MemoryEntry,
    /// Of the kernel (v1 only).
    pub kernel: MemoryEntry,
    /// Of the kernel, for TCP (v1 only).
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// memory.stat as it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Time lost for want of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Stall>,
}

/// One kind of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEntry {
    /// The limit; v1 and v2 have each their own largest number for none.
    pub limit: u64,
    /// In use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// Largest use so far.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit (v1 only).
    pub failcnt: u64,
}

/// Tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PidsMetrics {
    /// Tasks now.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// Their limit; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices, in tables of v1's kind; v2 fills the first two.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlkioMetrics {
    /// Bytes transferred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Operations waiting.
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    /// Nanoseconds in the device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    /// Nanoseconds waiting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    /// Operations merged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// Milliseconds in the device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    /// Sectors transferred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// Time lost waiting for devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Stall>,
}

/// One device and kind of operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    /// Major number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// Minor number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// `Read`, `Write` and others of v1's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// How much.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HugetlbMetrics {
    /// In use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// Largest use so far (v1 only).
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// One RDMA device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RdmaMetrics {
    /// Handles in use.
    pub hca_handles: u64,
    /// Objects in use.
    pub hca_objects: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

pub(crate) fn metrics(directories: &[Directory]) -> Result<Metrics, Error> {
    let mut metrics = Metrics { cpu: cpu(directories)?, ..Metrics::default() };
    if let Some(Place::V1(directory)) = locate(directories, "cpuset", "") {
        metrics.cpuset = v1::cpuset(directory)?;
    }
    match locate(directories, "memory", "memory") {
        Some(Place::V1(directory)) => metrics.memory = v1::memory(directory)?,
        Some(Place::V2(directory)) => metrics.memory = v2::memory(directory)?,
        None => {}
    }
    if let Some(Place::V1(directory) | Place::V2(directory)) = locate(directories, "pids", "pids") {
        let (current, limit) = (number(directory, "pids.current")?, number(directory, "pids.max")?);
        metrics.pids = PidsMetrics { current, limit };
    }
    match locate(directories, "blkio", "io") {
        Some(Place::V1(directory)) => metrics.blkio = v1::blkio(directory)?,
        Some(Place::V2(directory)) => metrics.blkio = v2::io(&text(directory, "io.stat")?),
        None => {}
    }
    match locate(directories, "hugetlb", "hugetlb") {
        Some(Place::V1(directory)) => metrics.hugetlb = hugetlb(directory, v1::hugetlb)?,
        Some(Place::V2(directory)) => metrics.hugetlb = hugetlb(directory, v2::hugetlb)?,
        None => {}
    }
    if let Some(Place::V1(directory) | Place::V2(directory)) = locate(directories, "rdma", "rdma") {
        metrics.rdma = rdma(&text(directory, "rdma.current")?);
    }
    let pressure = crate::pressure::read(directories)?;
    (metrics.cpu.psi, metrics.memory.psi, metrics.blkio.psi) = (pressure.cpu, pressure.memory, pressure.io);
    Ok(metrics)
}

fn cpu(directories: &[Directory]) -> Result<CpuMetrics, Error> {
    let throttling = match locate(directories, "cpu", "cpu") {
        Some(Place::V1(directory)) => text(directory, "cpu.stat")?,
        _ => String::new(),
    };
    if let Some(Place::V1(directory)) = locate(directories, "cpuacct", "") {
        let (usage, throttling) = (v1::cpu(directory)?, v1::throttling(&throttling));
        return Ok(CpuMetrics { usage, throttling, psi: None });
    }
    // Every v2 cgroup has cpu.stat's times, whether or not its controller is enabled.
    let unified = directories.iter().find(|directory| directory.mount.unified);
    let stat = unified.map_or_else(|| Ok(String::new()), |directory| text(directory, "cpu.stat"))?;
    Ok(v2::cpu(&stat))
}

type Hugetlb = fn(&Directory, &str) -> Result<HugetlbMetrics, Error>;

fn hugetlb(directory: &Directory, read: Hugetlb) -> Result<BTreeMap<String, HugetlbMetrics>, Error> {
    let mut sizes = BTreeMap::new();
    for size in page_sizes() {
        let metrics = read(directory, &size)?;
        sizes.insert(size, metrics);
    }
    Ok(sizes)
}

/// The sizes of huge pages that this machine has, in the kernel's spelling for cgroups.
fn page_sizes() -> Vec<String> {
    let Ok(listing) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    listing.flatten().filter_map(|entry| page_size(entry.file_name().to_str()?)).collect()
}

/// `hugepages-2048kB` is `2MB`.
fn page_size(name: &str) -> Option<String> {
    let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kilobytes {
        0..1024 => format!("{kilobytes}KB"),
        1024..1_048_576 => format!("{}MB", kilobytes >> 10),
        _ => format!("{}GB", kilobytes >> 20),
    })
}

/// Lines of `DEVICE hca_handle=N hca_object=N`.
fn rdma(current: &str) -> BTreeMap<String, RdmaMetrics> {
    let device = |line: &str| {
        let mut words = line.split_whitespace();
        let device = words.next()?.to_owned();
        let mut metrics = RdmaMetrics::default();
        for (key, number) in words.filter_map(|word| word.split_once('=')) {
            let number = number.parse().unwrap_or(0);
            match key {
                "hca_handle" => metrics.hca_handles = number,
                "hca_object" => metrics.hca_objects = number,
                _ => {}
            }
        }
        Some((device, metrics))
    };
    current.lines().filter_map(device).collect()
}

/// A flat-keyed file: memory.stat of both versions.
fn flat(text: &str) -> BTreeMap<String, u64> {
    let pair =
        |line: &str| line.split_once(' ').and_then(|(key, n)| Some((key.to_owned(), n.trim().parse().ok()?)));
    text.lines().filter_map(pair).collect()
}

/// A file's content; nothing where this kernel has not the file.
fn text(directory: &Directory, file: &str) -> Result<String, Error> {
    Ok(directory.read_optional(file)?.unwrap_or_default())
}

/// A file's number; 0 where it has none, or no file.
fn number(directory: &Directory, file: &str) -> Result<u64, Error> {
    Ok(text(directory, file)?.trim().parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_left_out_where_runc_leaves_them_out() {
        let seen = serde_json::to_string(&Metrics::default()).unwrap();
        let entry = r#"{"limit":0,"failcnt":0}"#;
        let expected = format!(
            "{{{},{},{},{},{},{}}}",
            r#""cpu":{"usage":{"kernel":0,"user":0},"throttling":{}}"#,
            r#""cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0}"#,
            format_args!(
                r#""memory":{{"usage":{entry},"swap":{entry},"kernel":{entry},"kernelTCP":{entry}}}"#
            ),
            r#""pids":{}"#,
            r#""blkio":{}"#,
            r#""hugetlb":{}"#,
        );
        assert_eq!(seen, expected);
    }

    #[test]
    fn page_sizes_are_spelled_as_the_cgroups_spell_them() {
        let seen = ["hugepages-64kB", "hugepages-2048kB", "hugepages-1048576kB", "other"].map(page_size);
        let expected = [Some("64KB"), Some("2MB"), Some("1GB"), None];
        assert_eq!(seen, expected.map(|size| size.map(str::to_owned)));
    }

    #[test]
    fn rdma_devices_are_counted() {
        let expected = BTreeMap::from([
            ("mlx4_0".to_owned(), RdmaMetrics { hca_handles: 2, hca_objects: 2000 }),
            ("ocrdma1".to_owned(), RdmaMetrics { hca_handles: 3, hca_objects: 0 }),
        ]);
        assert_eq!(
            rdma("mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=3 hca_object=max\n"),
            expected
        );
    }
}
