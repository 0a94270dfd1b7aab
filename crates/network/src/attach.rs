//! An interface for a container: made, put into its network namespace, given its addresses and brought up.

use std::os::fd::BorrowedFd;

use crate::description::{Interface, MacvlanMode, Uplink};
use crate::error::Result;
use crate::inner::{LOOPBACK, common, protocols, taken};
use crate::link::{
    self, IFLA_ADDRESS, IFLA_LINK, address, check_name, create, default_route, identify, raise, remove,
};
use crate::namespace::inside;
use crate::netlink::{Attributes, Batch, Family, Socket};
use crate::sysctl::Parameters;
use crate::{bridge, cable, shaper};

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
        Uplink::Bridge { bridge, peer, rate, laid } => {
            check_name(peer)?;
            let master = bridge::ensure(host, parameters, bridge)?;
            let laid = match laid {
                Some(name) if cable::take_up(host, interface.mac, master, peer)? => Some(name),
                _ => {
                    cable::make(host, namespace, interface, (bridge, master), peer)?;
                    None
                }
            };
            let mut set_up = || {
                guard(interface)?;
                if let Some(rate) = *rate {
                    let index = link::index_of(host, peer)?;
                    shaper::limit(host, peer, index, rate)?;
                }
                set_up(parameters, namespace, interface, laid, *rate)?;
                // A cable works when the kernel has seen that both of its ends are up. It looks when it is asked (Linux
                // 6.9), or when it has the time.
                link::look(host, peer).map(drop)
            };
            set_up().inspect_err(|_| drop(remove(host, peer)))
        }
        Uplink::Macvlan { parent, mode } => {
            macvlan(host, namespace, interface, parent, *mode)?;
            set_up(parameters, namespace, interface, None, None)
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

fn macvlan(
    host: &mut Socket,
    namespace: BorrowedFd<'_>,
    interface: &Interface,
    parent: &str,
    mode: MacvlanMode,
) -> Result<()> {
    const IFLA_MACVLAN_MODE: u16 = 1;
    let data = Attributes::new().number(IFLA_MACVLAN_MODE, mode as u32);
    let attributes = common(namespace, &interface.name, interface.mtu)
        .bytes(IFLA_ADDRESS, &interface.mac.0)
        .number(IFLA_LINK, link::index_of(host, parent)?);
    let mut batch = Batch::new();
    let what = format!("cannot make the interface {} at {parent}", interface.name);
    batch.push(what, create("macvlan", &data, false, &attributes));
    host.change(batch).map_err(taken)
}

/// From inside: addresses, routes, up. `laid`: the name that it has had until now; it has another hardware address, too.
fn set_up(
    parameters: &Parameters,
    namespace: BorrowedFd<'_>,
    interface: &Interface,
    laid: Option<&String>,
    rate: Option<u64>,
) -> Result<()> {
    let Interface { name, mac, addresses, gateways, .. } = interface;
    inside(namespace, || {
        let mut socket = Socket::open(Family::Route)?;
        let index = link::index_of(&mut socket, laid.unwrap_or(name))?;
        let mut batch = Batch::new();
        if let Some(laid) = laid {
            // A new name, where it is none, takes the kernel a third of a millisecond.
            let new = (laid != name).then_some(name);
            batch.push(format!("cannot make the interface {name}"), identify(index, new, *mac));
        } else {
            let is_ipv6 = addresses.iter().any(|address| address.is_ipv6());
            protocols(parameters, &mut socket, name, is_ipv6)?;
        }
        for cidr in addresses {
            batch.push(format!("cannot give {name} the address {cidr}"), address(index, cidr));
        }
        batch.push(format!("cannot bring the interface {name} up"), raise(index));
        for gateway in gateways {
            let what = format!("cannot route by {gateway} at {name}");
            batch.push(what, default_route(index, *gateway));
        }
        socket.change(batch).map_err(taken)?;
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
