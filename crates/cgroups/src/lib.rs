//! Cgroups: limits, accounting and the freezer behind one interface, v1, v2 and hybrid.
//!
//! It owns the OCI `LinuxResources` types and everything under a cgroup mount. It decides no limit: what it is
//! given it writes, in an order that the kernel accepts.

mod admission;
mod bpf;
mod cgroup;
mod controllers;
mod cpu_list;
mod devices;
mod directory;
mod driver;
mod entry;
mod error;
mod freezer;
mod limits;
mod metrics;
mod mounts;
mod nested;
mod oom;
mod pressure;
mod resources;
mod setting;
mod stats;
mod systemd;
mod tree;
mod usage;
mod v1;
mod v2;

pub use cgroup::Cgroup;
pub use driver::Driver;
pub use entry::Entry;
pub use error::Error;
pub use metrics::{
    BlkioEntry, BlkioMetrics, CpuMetrics, CpuUsage, CpusetMetrics, HugetlbMetrics, MemoryEntry,
    MemoryMetrics, Metrics, PidsMetrics, RdmaMetrics, Throttling,
};
pub use mounts::{Layout, Mount, mounts};
pub use pressure::{Pressure, Stall, StallTime};
pub use resources::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxHugepageLimit, LinuxInterfacePriority,
    LinuxMemory, LinuxNetwork, LinuxPids, LinuxRdma, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
};
pub use stats::{BlockIoStats, CpuStats, MemoryStats, PidsStats, Stats};
