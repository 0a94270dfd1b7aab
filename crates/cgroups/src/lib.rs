//! Cgroups: limits, accounting and the freezer behind one interface, v1, v2 and hybrid.
//!
//! It owns the OCI `LinuxResources` types and everything under a cgroup mount. It decides no limit: what it is
//! given it writes, in an order that the kernel accepts.

mod cgroup;
mod entry;
mod error;
mod mounts;
mod resources;
mod stats;

pub use cgroup::Cgroup;
pub use entry::Entry;
pub use error::Error;
pub use mounts::{Layout, Mount, mounts};
pub use resources::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType, LinuxHugepageLimit, LinuxInterfacePriority,
    LinuxMemory, LinuxNetwork, LinuxPids, LinuxRdma, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
};
pub use stats::{BlockIoStats, CpuStats, MemoryStats, PidsStats, Stats};
