//! The `linux.resources` object of the OCI runtime specification 1.3, field for field.
//! Absent means "leave as the kernel has it"; unknown fields are ignored, as the specification asks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Limits of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LinuxResources {
    /// Device rules, applied in order; the last that matches wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<LinuxDeviceCgroup>,
    /// Memory and swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<LinuxMemory>,
    /// Processor time and placement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<LinuxCpu>,
    /// Number of tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<LinuxPids>,
    /// Block device weights and throttles.
    #[serde(rename = "blockIO", skip_serializing_if = "Option::is_none")]
    pub block_io: Option<LinuxBlockIo>,
    /// Huge pages, one entry a page size.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hugepage_limits: Vec<LinuxHugepageLimit>,
    /// RDMA, keyed by the device's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rdma: BTreeMap<String, LinuxRdma>,
    /// Network class and priorities (v1 only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<LinuxNetwork>,
    /// Files of cgroup v2 written as they are, last.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unified: BTreeMap<String, String>,
}

/// One device rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxDeviceCgroup {
    /// Whether the access is granted or refused.
    pub allow: bool,
    /// Which kind of device; all of them where absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<LinuxDeviceType>,
    /// Major number; any where absent (or negative).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// Minor number; any where absent (or negative).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// Any of `r`, `w` and `m` (mknod); all three where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
}

/// The kind of device that a rule speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinuxDeviceType {
    /// Block and character devices.
    #[serde(rename = "a")]
    All,
    /// Block devices.
    #[serde(rename = "b")]
    Block,
    /// Character devices (`u`, unbuffered, is the same to the kernel).
    #[serde(rename = "c", alias = "u")]
    Character,
}

/// Memory, in bytes; −1 is "no limit".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LinuxMemory {
    /// Hard limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// Soft limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<i64>,
    /// Memory and swap together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<i64>,
    /// Kernel memory (v1; gone since Linux 6.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<i64>,
    /// Kernel memory for TCP buffers (v1).
    #[serde(rename = "kernelTCP", skip_serializing_if = "Option::is_none")]
    pub kernel_tcp: Option<i64>,
    /// 0 to 100 (v1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swappiness: Option<u64>,
    /// Whether tasks out of memory wait instead of being killed (v1).
    #[serde(rename = "disableOOMKiller", skip_serializing_if = "Option::is_none")]
    pub disable_oom_killer: Option<bool>,
    /// Whether the accounting is hierarchical (v1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_hierarchy: Option<bool>,
    /// Refuse an update below what is in use (v2; v1 always does).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_before_update: Option<bool>,
}

/// Processor time, in microseconds, and placement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LinuxCpu {
    /// Relative weight, v1's scale: 2 to 262144, 1024 the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<u64>,
    /// Time allowed in a period; negative is "no limit".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<i64>,
    /// Time by which a period may be overrun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// The period of the quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    /// Time for real-time tasks in their period (v1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_runtime: Option<i64>,
    /// The period for real-time tasks (v1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_period: Option<u64>,
    /// CPUs, as a list: `0-2,4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<String>,
    /// Memory nodes, as a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mems: Option<String>,
    /// 1 for SCHED_IDLE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<i64>,
}

/// Number of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LinuxPids {
    /// Largest number; −1 is "no limit", 0 the same as 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
}

/// Block devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LinuxBlockIo {
    /// 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// 10 to 1000, against the container's own children (v1, gone since Linux 5.0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
    /// Weights of single devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_device: Vec<LinuxWeightDevice>,
    /// Bytes a second, reading.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_read_bps_device: Vec<LinuxThrottleDevice>,
    /// Bytes a second, writing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub throttle_write_bps_device: Vec<LinuxThrottleDevice>,
    /// Operations a second, reading.
    #[serde(rename = "throttleReadIOPSDevice", skip_serializing_if = "Vec::is_empty")]
    pub throttle_read_iops_device: Vec<LinuxThrottleDevice>,
    /// Operations a second, writing.
    #[serde(rename = "throttleWriteIOPSDevice", skip_serializing_if = "Vec::is_empty")]
    pub throttle_write_iops_device: Vec<LinuxThrottleDevice>,
}

/// The weight of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxWeightDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// 10 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// 10 to 1000, against the container's own children (v1, gone since Linux 5.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
}

/// The throttle of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxThrottleDevice {
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Bytes or operations a second; 0 lifts the throttle.
    pub rate: u64,
}

/// Huge pages of one size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinuxHugepageLimit {
    /// As in the kernel's file names: `64KB`, `2MB`, `1GB`.
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// Limits of one RDMA device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LinuxRdma {
    /// Largest number of handles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hca_handles: Option<u32>,
    /// Largest number of objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hca_objects: Option<u32>,
}

/// Network class and priorities (v1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LinuxNetwork {
    /// The class that packets are tagged with.
    #[serde(rename = "classID", skip_serializing_if = "Option::is_none")]
    pub class_id: Option<u32>,
    /// Priorities of interfaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priorities: Vec<LinuxInterfacePriority>,
}

/// The priority of one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinuxInterfacePriority {
    /// The interface's name.
    pub name: String,
    /// The priority.
    pub priority: u32,
}

impl LinuxMemory {
    /// The limit of memory and swap together. Memory without a limit that is to stay in one together with swap makes
    /// no sense, and v1 would refuse it.
    pub(crate) fn swap_with_memory(&self) -> Option<i64> {
        let unlimited = self.limit.is_some_and(|limit| limit < 0);
        self.swap.filter(|swap| *swap != 0).or(unlimited.then_some(-1))
    }
}

/// A value that becomes a word of a line or a part of a file's name: nothing in it may end the word.
pub(crate) fn word<'a>(setting: &str, value: &'a str) -> Result<&'a str, Error> {
    if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        let why = format!("{value:?} is not a name");
        return Err(Error::Unsupported { setting: setting.to_owned(), why });
    }
    Ok(value)
}

/// A huge page size as the kernel's files spell it: digits, a unit, `B`.
pub(crate) fn page_size(value: &str) -> Result<&str, Error> {
    let digits = value.trim_start_matches(|c: char| c.is_ascii_digit());
    if digits.len() == value.len() || !matches!(digits, "KB" | "MB" | "GB") {
        let why = format!("{value:?} is not a page size, as \"2MB\" is");
        return Err(Error::Unsupported { setting: "hugepageLimits".to_owned(), why });
    }
    Ok(value)
}

/// A line of `rdma.max`.
pub(crate) fn rdma_line(device: &str, limits: &LinuxRdma) -> Result<String, Error> {
    let mut line = word("rdma", device)?.to_owned();
    for (key, limit) in [("hca_handle", limits.hca_handles), ("hca_object", limits.hca_objects)] {
        if let Some(limit) = limit {
            line += &format!(" {key}={limit}");
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_spelling_is_read_and_written() {
        let json = r#"{
            "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "r"}],
            "memory": {"limit": 1, "kernelTCP": 2, "disableOOMKiller": true, "checkBeforeUpdate": true},
            "cpu": {"realtimeRuntime": 3, "cpus": "0"},
            "pids": {"limit": 4},
            "blockIO": {"throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 5}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 6}],
            "rdma": {"mlx5_1": {"hcaHandles": 7}},
            "network": {"classID": 8, "priorities": [{"name": "lo", "priority": 9}]},
            "unified": {"memory.high": "10"},
            "somethingNewer": {"a": 1}
        }"#;
        let read: LinuxResources = serde_json::from_str(json).unwrap();
        assert_eq!(read.memory.as_ref().unwrap().kernel_tcp, Some(2));
        assert_eq!(read.block_io.as_ref().unwrap().throttle_read_iops_device[0].rate, 5);
        assert_eq!(read.network.as_ref().unwrap().class_id, Some(8));
        let mut expected: serde_json::Value = serde_json::from_str(json).unwrap();
        expected.as_object_mut().unwrap().remove("somethingNewer");
        assert_eq!(serde_json::to_value(&read).unwrap(), expected);
    }

    #[test]
    fn names_that_could_write_elsewhere_are_refused() {
        assert!(page_size("../2MB").is_err() && page_size("MB").is_err() && page_size("2MB").is_ok());
        assert!(rdma_line("a b", &LinuxRdma::default()).is_err());
        let limits = LinuxRdma { hca_handles: Some(2), hca_objects: None };
        assert_eq!(rdma_line("mlx5_1", &limits).unwrap(), "mlx5_1 hca_handle=2");
    }
}
