//! The container's cgroup: which one, and with which devices.

use kapsel_cgroups::{Cgroup, Driver, LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};
use kapsel_sandbox::spec::Config;

use super::Context;
use crate::error::Result;

/// Devices that every container may use (config-linux.md, "Default Devices"), and the making of any node: those that
/// are not allowed cannot be opened.
const DEFAULT: [(LinuxDeviceType, Option<i64>, Option<i64>, &str); 10] = [
    (LinuxDeviceType::Character, None, None, "m"),
    (LinuxDeviceType::Block, None, None, "m"),
    (LinuxDeviceType::Character, Some(1), Some(3), "rwm"),
    (LinuxDeviceType::Character, Some(1), Some(5), "rwm"),
    (LinuxDeviceType::Character, Some(1), Some(7), "rwm"),
    (LinuxDeviceType::Character, Some(1), Some(8), "rwm"),
    (LinuxDeviceType::Character, Some(1), Some(9), "rwm"),
    (LinuxDeviceType::Character, Some(5), Some(0), "rwm"),
    (LinuxDeviceType::Character, Some(5), Some(2), "rwm"),
    (LinuxDeviceType::Character, Some(136), None, "rwm"),
];

/// The cgroup that the document asks for, as the driver understands it.
pub fn path(driver: Driver, config: &Config, id: &str) -> String {
    let asked = config.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref());
    match (asked.filter(|path| !path.is_empty()), driver) {
        (None, _) => driver.default_path(id),
        (Some(path), Driver::Cgroupfs) if !path.starts_with('/') => format!("/{path}"),
        (Some(path), _) => path.to_owned(),
    }
}

/// Makes it, with its limits. Where a user without any delegation cannot have one, and asked for none, there is none
/// (`--rootless=false`: that is an error).
pub fn make(context: &Context, config: &Config, path: &str) -> Result<Option<Cgroup>> {
    let linux = config.linux.as_ref();
    let asked = linux.and_then(|linux| linux.resources.clone()).unwrap_or_default();
    let nothing_asked = LinuxResources { devices: Vec::new(), ..asked.clone() } == LinuxResources::default();
    let mut resources = asked;
    add_default_devices(&mut resources.devices);
    match context.driver.create(path, &resources) {
        Ok(cgroup) => Ok(Some(cgroup)),
        Err(kapsel_cgroups::Error::PermissionDenied { .. } | kapsel_cgroups::Error::NotMounted)
            if context.cgroup_optional
                && linux.is_none_or(|linux| linux.cgroups_path.as_deref().is_none_or(str::is_empty))
                && nothing_asked =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What is not allowed is forbidden, but for the default devices.
fn add_default_devices(devices: &mut Vec<LinuxDeviceCgroup>) {
    if devices.is_empty() {
        devices.push(LinuxDeviceCgroup { allow: false, kind: None, major: None, minor: None, access: None });
    }
    devices.extend(DEFAULT.map(|(kind, major, minor, access)| LinuxDeviceCgroup {
        allow: true,
        kind: Some(kind),
        major,
        minor,
        access: Some(access.to_owned()),
    }));
}
