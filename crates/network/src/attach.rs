//! An interface for a container: made, put into its network namespace, given its addresses and brought up.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use crate::bridge;
use crate::description::{Bridge, Interface, MacvlanMode, Uplink};
use crate::error::{Error, Result};
use crate::link::{
    self, IFLA_ADDRESS, IFLA_IFNAME, IFLA_LINK, IFLA_MASTER, IFLA_MTU, IFLA_NET_NS_FD, address, behind,
    bridge_port, check_name, create, default_route, families, raise,
};
use crate::namespace::inside;
use crate::netlink::{Attributes, Batch, Family, Socket};
use crate::shaper;
use crate::sysctl::{Parameters, of_interface};

/// The loopback interface's, which is the first of every namespace.
const LOOPBACK: u32 = 1;
/// Milliseconds: some three weeks.
const NEVER: &str = "2000000000";
/// How long an interface that ends is waited for: usually some ten milliseconds, on a busy machine more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts an interface into a network namespace; the caller is in the host's. Nothing is left where it fails.
pub fn attach(host: &mut Socket, namespace: BorrowedFd<'_>, interface: &Interface) -> Result<()> {
    attach_guarded(host, &Parameters::open()?, namespace, interface, &mut |_| Ok(()))
}

/// As [`attach`]; `guard` is called for an interface at a bridge before it is up inside.
pub(crate) fn attach_guarded(
    host: &mut Socket,
    parameters: &Parameters,
    namespace: BorrowedFd<'_>,
    interface: &Interface,
    guard: &mut dyn FnMut(&Interface) -> Result<()>,
) -> Result<()> {
    check_name(&interface.name)?;
    match &interface.uplink {
        Uplink::Bridge { bridge, peer, rate } => {
            check_name(peer)?;
            let master = bridge::ensure(host, parameters, bridge)?;
            pair(host, namespace, interface, (bridge, master), peer)?;
            let mut set_up = || {
                guard(interface)?;
                if let Some(rate) = *rate {
                    let index = link::index_of(host, peer)?;
                    shaper::limit(host, peer, index, rate)?;
                }
                set_up(parameters, namespace, interface, *rate)?;
                // A cable works when the kernel has seen that both of its ends are up. It looks when it is asked (Linux
                // 6.9), or when it has the time.
                link::look(host, peer).map(drop)
            };
            set_up().inspect_err(|_| drop(remove(host, peer)))
        }
        Uplink::Macvlan { parent, mode } => {
            macvlan(host, namespace, interface, parent, *mode)?;
            set_up(parameters, namespace, interface, None)
                .inspect_err(|_| drop(detach(namespace, &interface.name)))
        }
    }
}

/// Takes an interface out of a network namespace, and with it the host's end; one that is gone is none.
pub fn detach(namespace: BorrowedFd<'_>, name: &str) -> Result<()> {
    check_name(name)?;
    inside(namespace, || remove(&mut Socket::open(Family::Route)?, name))
}

/// The loopback interface of a network namespace, for a container that has no other.
pub fn loopback(namespace: BorrowedFd<'_>) -> Result<()> {
    inside(namespace, || {
        let mut batch = Batch::new();
        batch.push("cannot bring the interface lo up", raise(LOOPBACK));
        Socket::open(Family::Route)?.change(batch)
    })
}

fn remove(socket: &mut Socket, name: &str) -> Result<()> {
    let Some(found) = link::look(socket, name)? else { return Ok(()) };
    let mut batch = Batch::new();
    batch.tolerating(format!("cannot remove the interface {name}"), libc::ENODEV, link::delete(found.index));
    socket.change(batch)
}

/// Two ends of a virtual cable, one of them made inside and one at the bridge.
fn pair(
    host: &mut Socket,
    namespace: BorrowedFd<'_>,
    interface: &Interface,
    (bridge, master): (&Bridge, u32),
    peer: &str,
) -> Result<()> {
    const VETH_INFO_PEER: u16 = 1;
    let inner = common(namespace, interface);
    // The peer's attributes follow a structure of their own.
    let data = Attributes::new().nest_with(VETH_INFO_PEER, &link::header(0, false), &inner);
    let mut attributes = Attributes::new().string(IFLA_IFNAME, peer).number(IFLA_MASTER, master);
    if let Some(mtu) = interface.mtu {
        attributes = attributes.number(IFLA_MTU, mtu);
    }
    let name = &bridge.name;
    let make = |host: &mut Socket| {
        let mut batch = Batch::new();
        let what = format!("cannot make the interface {} at the bridge {name}", interface.name);
        batch.push(what, create("veth", &data, false, &attributes));
        host.change(batch)
    };
    let begun = Instant::now();
    let mut made = make(host);
    // A container that begins again finds the end of its last life, which the kernel removes in its own time.
    while is_taken(&made) && begun.elapsed() < PATIENCE {
        let is_there = link::look(host, peer)?.is_some();
        if is_there {
            std::thread::sleep(Duration::from_millis(2));
        }
        made = make(host);
        // It has gone between the two, or it is the name inside that is taken.
        if !is_there {
            break;
        }
    }
    made.map_err(taken)?;
    // Only now: had the name been another's, these would be its.
    let index = link::index_of(host, peer)?;
    let mut batch = Batch::new();
    batch.push(format!("cannot set what protocols do at {peer}"), families(peer, &[], false));
    // A container reaches itself by its own published port.
    batch.push(
        format!("cannot set the port {peer} of {name}"),
        bridge_port(peer, true, !bridge.communication),
    );
    batch.push(format!("cannot tell {name} of {}", interface.mac), behind(index, interface.mac));
    batch.push(format!("cannot bring the interface {peer} up"), raise(index));
    host.change(batch).inspect_err(|_| drop(remove(host, peer)))
}

fn macvlan(
    host: &mut Socket,
    namespace: BorrowedFd<'_>,
    interface: &Interface,
    parent: &str,
    mode: MacvlanMode,
) -> Result<()> {
    const IFLA_MACVLAN_MODE: u16 = 1;
    let data = Attributes::new().number(IFLA_MACVLAN_MODE, mode as u32);
    let attributes = common(namespace, interface).number(IFLA_LINK, link::index_of(host, parent)?);
    let mut batch = Batch::new();
    let what = format!("cannot make the interface {} at {parent}", interface.name);
    batch.push(what, create("macvlan", &data, false, &attributes));
    host.change(batch).map_err(taken)
}

/// What both kinds have inside.
fn common(namespace: BorrowedFd<'_>, interface: &Interface) -> Attributes {
    let attributes = Attributes::new()
        .string(IFLA_IFNAME, &interface.name)
        .bytes(IFLA_ADDRESS, &interface.mac.0)
        .number(IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
    match interface.mtu {
        Some(mtu) => attributes.number(IFLA_MTU, mtu),
        None => attributes,
    }
}

fn is_taken(result: &Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.errno == libc::EEXIST)
}

fn taken(error: Error) -> Error {
    if error.errno != libc::EEXIST {
        return error;
    }
    let message = format!("{}; the container or the host has one of that name", error.message);
    Error { message, code: "INTERFACE_EXISTS", ..error }
}

/// From inside: addresses, routes, up.
fn set_up(
    parameters: &Parameters,
    namespace: BorrowedFd<'_>,
    interface: &Interface,
    rate: Option<u64>,
) -> Result<()> {
    let Interface { name, addresses, gateways, .. } = interface;
    inside(namespace, || {
        let mut socket = Socket::open(Family::Route)?;
        let index = link::index_of(&mut socket, name)?;
        let is_ipv6 = addresses.iter().any(|address| address.is_ipv6());
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
        let what = format!("cannot set what protocols do at {name}");
        batch.push(what, families(name, &[], is_ipv6));
        for cidr in addresses {
            batch.push(format!("cannot give {name} the address {cidr}"), address(index, cidr));
        }
        batch.push(format!("cannot bring the interface {name} up"), raise(index));
        for gateway in gateways {
            let what = format!("cannot route by {gateway} at {name}");
            batch.push(what, default_route(index, *gateway));
        }
        socket.change(batch)?;
        rate.map_or(Ok(()), |rate| shaper::limit(&mut socket, name, index, rate))
    })
}

/// Default routes by an interface that is there, in place of those that there are.
pub fn route(namespace: BorrowedFd<'_>, name: &str, gateways: &[std::net::IpAddr]) -> Result<()> {
    check_name(name)?;
    inside(namespace, || {
        let mut socket = Socket::open(Family::Route)?;
        let index = link::index_of(&mut socket, name)?;
        let mut batch = Batch::new();
        for gateway in gateways {
            batch.push(format!("cannot route by {gateway} at {name}"), default_route(index, *gateway));
        }
        socket.change(batch)
    })
}
