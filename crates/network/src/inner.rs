//! The end of an interface in a container's network namespace, before it is up: what every kind of it has.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::{Error, Result};
use crate::link::{IFLA_IFNAME, IFLA_MTU, IFLA_NET_NS_FD, families, raise};
use crate::netlink::{Attributes, Batch, Socket};
use crate::sysctl::{Parameters, of_interface};

/// The loopback interface's, which is the first of every namespace.
pub(crate) const LOOPBACK: u32 = 1;
/// Milliseconds: some three weeks.
const NEVER: &str = "2000000000";

/// What it is made with.
pub(crate) fn common(namespace: BorrowedFd<'_>, name: &str, mtu: Option<u32>) -> Attributes {
    let attributes =
        Attributes::new().string(IFLA_IFNAME, name).number(IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
    match mtu {
        Some(mtu) => attributes.number(IFLA_MTU, mtu),
        None => attributes,
    }
}

/// The name inside is taken, or that outside.
pub(crate) fn taken(error: Error) -> Error {
    if error.errno != libc::EEXIST {
        return error;
    }
    let message = format!("{}; the container or the host has one of that name", error.message);
    Error { message, code: "INTERFACE_EXISTS", ..error }
}

/// What the protocols do at an interface that is not up yet; called inside.
pub(crate) fn protocols(
    parameters: &Parameters,
    socket: &mut Socket,
    name: &str,
    is_ipv6: bool,
) -> Result<()> {
    // Routes are those that are given, whatever a neighbour says; and nobody is asked whether an address is taken.
    parameters.ignore_routers(name)?;
    if is_ipv6 {
        parameters.ensure(&of_interface(name, "accept_dad"), "0")?;
        // Whom it listens to is said to all at the bridge, whatever their number, and once is enough: no cable loses it.
        let interval = of_interface(name, "mldv2_unsolicited_report_interval");
        parameters.ensure(&interval, NEVER)?;
    }
    let mut batch = Batch::new();
    batch.push("cannot bring the interface lo up", raise(LOOPBACK));
    batch.push(format!("cannot set what protocols do at {name}"), families(name, &[], is_ipv6));
    socket.change(batch)
}
