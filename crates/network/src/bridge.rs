//! Bridges of the host: made where they are missing, and never touched again.

use std::fs;

use crate::description::Bridge;
use crate::error::{At, Error, Result};
use crate::link::{
    self, Found, IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, Setting, address, check_name, create, families, raise,
};
use crate::netlink::{Attributes, Batch, Socket};
use crate::sysctl::{Parameters, of_interface};

/// Makes a bridge where there is none, and returns its index. Where another process makes it at the same time, each
/// message of both is carried out or finds its work done. `INTERFACE_EXISTS`: something else has that name.
pub fn ensure(socket: &mut Socket, parameters: &Parameters, bridge: &Bridge) -> Result<u32> {
    check_name(&bridge.name)?;
    let found = link::look(socket, &bridge.name)?;
    let index = match found {
        Some(found) if found.kind != "bridge" => return Err(foreign(bridge, &found.kind)),
        Some(found) if is_complete(&found, bridge) => return Ok(found.index),
        Some(found) => found.index,
        None => make(socket, bridge)?,
    };
    complete(socket, parameters, bridge, index)?;
    Ok(index)
}

/// The index of a bridge that is there, complete.
pub fn find(socket: &mut Socket, bridge: &Bridge) -> Result<Option<u32>> {
    check_name(&bridge.name)?;
    let found = link::look(socket, &bridge.name)?;
    Ok(found.filter(|found| is_complete(found, bridge)).map(|found| found.index))
}

/// It is raised last: one that is up is complete.
fn is_complete(found: &Found, bridge: &Bridge) -> bool {
    found.kind == "bridge" && found.is_up && found.mac == Some(bridge.mac)
}

/// Removes a bridge; one that is gone is none.
pub fn remove(socket: &mut Socket, name: &str) -> Result<()> {
    check_name(name)?;
    let Some(found) = link::look(socket, name)?.filter(|found| found.kind == "bridge") else { return Ok(()) };
    let mut batch = Batch::new();
    batch.tolerating(format!("cannot remove the bridge {name}"), libc::ENODEV, link::delete(found.index));
    socket.change(batch)
}

fn make(socket: &mut Socket, bridge: &Bridge) -> Result<u32> {
    const IFLA_BR_STP_STATE: u16 = 5;
    const IFLA_BR_MCAST_SNOOPING: u16 = 23;
    let mut attributes =
        Attributes::new().string(IFLA_IFNAME, &bridge.name).bytes(IFLA_ADDRESS, &bridge.mac.0);
    if let Some(mtu) = bridge.mtu {
        attributes = attributes.number(IFLA_MTU, mtu);
    }
    // Nobody asks who listens, so that every port is sent everything either way; a kernel that snoops would begin anew with
    // all ports at each that comes, and believe a container that asks.
    let data = Attributes::new().number(IFLA_BR_STP_STATE, 0).bytes(IFLA_BR_MCAST_SNOOPING, &[0]);
    let mut batch = Batch::new();
    let message = create("bridge", &data, false, &attributes);
    batch.tolerating(format!("cannot make the bridge {}", bridge.name), libc::EEXIST, message);
    socket.change(batch)?;
    link::index_of(socket, &bridge.name)
}

fn complete(socket: &mut Socket, parameters: &Parameters, bridge: &Bridge, index: u32) -> Result<()> {
    let name = &bridge.name;
    let is_ipv6 = bridge.is_ipv6();
    let what = |part: &str| format!("cannot set {part} of the bridge {name}");
    // A container must not tell the machine its routes, on a network of IPv4 either (CVE-2020-13401).
    parameters.ignore_routers(name)?;
    if is_ipv6 {
        parameters.ensure(&of_interface(name, "accept_dad"), "0")?;
    }
    let mut batch = Batch::new();
    // Published ports are reached by 127.0.0.1, whose packets go out with that source until they are masqueraded; and
    // answers may come by another way than they would go.
    let settings = [(Setting::RouteLocalnet, 1), (Setting::RpFilter, 2)];
    batch.push(what("what the protocols do"), families(name, &settings, is_ipv6));
    for cidr in &bridge.addresses {
        batch.push(what(&format!("the address {cidr}")), address(index, cidr));
    }
    batch.push(format!("cannot bring the bridge {name} up"), raise(index));
    socket.change(batch)
}

fn foreign(bridge: &Bridge, kind: &str) -> Error {
    let kind = if kind.is_empty() { "another" } else { kind };
    let name = &bridge.name;
    Error::new(
        "INTERFACE_EXISTS",
        format!("{name} is {kind} interface already; give the network another name"),
    )
}

/// Lets the machine forward packets; `ipv6`: those of IPv6 too. The routes that its own interfaces learn from router
/// advertisements, which a router ignores otherwise, are learned still.
pub fn forward(parameters: &Parameters, ipv6: bool) -> Result<()> {
    parameters.ensure("ipv4/ip_forward", "1")?;
    let all = of_interface("all", "forwarding");
    if !ipv6 || parameters.is(&all, "1") {
        return Ok(());
    }
    const EVERY: &str = "/proc/sys/net/ipv6/conf";
    for entry in fs::read_dir(EVERY).at(|| format!("cannot list {EVERY}"))?.flatten() {
        let name = of_interface(&entry.file_name().to_string_lossy(), "accept_ra");
        if parameters.is(&name, "1") {
            parameters.ensure(&name, "2")?;
        }
    }
    parameters.ensure(&all, "1")
}
