//! Kernel parameters of the calling thread's network namespace: /proc/sys/net shows each thread its own.

use std::fs;

use crate::error::{At, Result};

/// Whether a parameter has a value.
pub(crate) fn is(path: &str, value: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|found| found.trim_end() == value)
}

/// Gives a parameter a value, where it has another.
pub(crate) fn ensure(path: &str, value: &str) -> Result<()> {
    if is(path, value) {
        return Ok(());
    }
    fs::write(path, value).at(|| format!("cannot write {value} to {path}"))
}

/// One of an interface's parameters of IPv6.
pub(crate) fn interface(name: &str, parameter: &str, value: &str) -> Result<()> {
    ensure(&format!("/proc/sys/net/ipv6/conf/{name}/{parameter}"), value)
}

/// What calls itself a router is not believed at an interface; on a machine without IPv6 nobody would.
pub(crate) fn ignore_routers(name: &str) -> Result<()> {
    interface(name, "accept_ra", "0").or_else(|error| match error.errno {
        libc::ENOENT => Ok(()),
        _ => Err(error),
    })
}
