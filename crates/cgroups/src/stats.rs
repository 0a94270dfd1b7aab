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
