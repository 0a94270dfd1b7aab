//! Kernel parameters of the calling thread's network namespace: sys/net of a /proc shows each thread its own.

use kapsel_proc::Proc;
use nix::errno::Errno;

use crate::error::{At, Result};

/// A way to the parameters.
pub struct Parameters(Proc);

impl Parameters {
    /// By a /proc of its own.
    pub fn open() -> Result<Self> {
        Proc::open().map(Self).at(|| "cannot open /proc")
    }

    /// Whether a parameter, `ipv4/ip_forward`, has a value.
    pub(crate) fn is(&self, name: &str, value: &str) -> bool {
        self.0.read(&path(name)).is_ok_and(|found| found.trim_end() == value)
    }

    /// Gives a parameter a value, where it has another.
    pub(crate) fn ensure(&self, name: &str, value: &str) -> Result<()> {
        if self.is(name, value) {
            return Ok(());
        }
        self.write(name, value).at(|| format!("cannot write {value} to /proc/{}", path(name)))
    }

    /// What calls itself a router is not believed at an interface; on a machine without IPv6 nobody would.
    pub(crate) fn ignore_routers(&self, interface: &str) -> Result<()> {
        let name = of_interface(interface, "accept_ra");
        match self.write(&name, "0") {
            Err(Errno::ENOENT) => Ok(()),
            other => other.at(|| format!("cannot write 0 to /proc/{}", path(&name))),
        }
    }

    fn write(&self, name: &str, value: &str) -> nix::Result<()> {
        self.0.write(&path(name), value)
    }
}

/// One of an interface's parameters of IPv6.
pub(crate) fn of_interface(interface: &str, parameter: &str) -> String {
    format!("ipv6/conf/{interface}/{parameter}")
}

fn path(name: &str) -> String {
    format!("sys/net/{name}")
}
