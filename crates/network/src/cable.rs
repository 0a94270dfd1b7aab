//! Cables between bridges and containers: pairs of virtual links, one end at a bridge, the other in a network namespace.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::bridge;
use crate::description::{Bridge, Cable, Interface, Mac};
use crate::error::Result;
use crate::inner::{common, protocols, taken};
use crate::link::{
    self, IFLA_ADDRESS, IFLA_IFNAME, IFLA_MASTER, IFLA_MTU, behind, bridge_port, check_name, create,
    families, raise, remove,
};
use crate::namespace::inside;
use crate::netlink::{Attributes, Batch, Family, Socket};
use crate::sysctl::Parameters;

/// How long the last life's is waited for: usually some ten milliseconds, on a busy machine more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of TCP that go through at once, where all that they can reach is at the same bridge: three times the usual, a tenth
/// to a third more in a second. Anywhere else the machine would have to cut them up. Linux 6.3; older ones take no notice.
const LONG_SEGMENT: u32 = 192 << 10;

/// Lays a cable before anybody knows for which interface, where its bridge is up; nothing goes through it yet. Whether it is
/// there now. Nothing is left where it fails.
pub fn lay(host: &mut Socket, namespace: BorrowedFd<'_>, cable: &Cable) -> Result<bool> {
    let Cable { bridge, peer, name, mtu } = cable;
    check_name(peer)?;
    check_name(name)?;
    let Some(master) = bridge::find(host, bridge)? else { return Ok(false) };
    let parameters = Parameters::open()?;
    veth(host, name, common(namespace, name, *mtu), (bridge, master), *mtu, peer)?;
    let prepare = || protocols(&parameters, &mut Socket::open(Family::Route)?, name, bridge.is_ipv6());
    let prepared = plug(host, bridge, peer, None).and_then(|()| inside(namespace, prepare));
    prepared.inspect_err(|_| drop(remove(host, peer)))?;
    Ok(true)
}

/// Takes up a cable that was laid, for an interface with this hardware address. Whether it is at that bridge still: somebody
/// may have taken it or the bridge away, and then nothing is left of it.
pub(crate) fn take_up(host: &mut Socket, mac: Mac, master: u32, peer: &str) -> Result<bool> {
    match link::look(host, peer)? {
        Some(found) if found.master == Some(master) => {
            let mut batch = Batch::new();
            batch.push(format!("cannot tell the bridge of {mac}"), behind(found.index, mac));
            host.change(batch)?;
            Ok(true)
        }
        Some(_) => remove(host, peer).map(|()| false),
        None => Ok(false),
    }
}

/// Makes the cable of an interface. Nothing is left where it fails.
pub(crate) fn make(
    host: &mut Socket,
    namespace: BorrowedFd<'_>,
    interface: &Interface,
    (bridge, master): (&Bridge, u32),
    peer: &str,
) -> Result<()> {
    let Interface { name, mac, mtu, .. } = interface;
    let inner = common(namespace, name, *mtu).bytes(IFLA_ADDRESS, &mac.0);
    let make = |host: &mut Socket| veth(host, name, inner.clone(), (bridge, master), *mtu, peer);
    let begun = Instant::now();
    let mut made = make(host);
    // A container that begins again finds the end of its last life, which the kernel removes in its own time.
    while made.as_ref().is_err_and(|error| error.errno == libc::EEXIST) && begun.elapsed() < PATIENCE {
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
    plug(host, bridge, peer, Some(*mac)).inspect_err(|_| drop(remove(host, peer)))
}

/// `inner`: what the end inside is made with, whose name is `name`.
fn veth(
    host: &mut Socket,
    name: &str,
    mut inner: Attributes,
    (bridge, master): (&Bridge, u32),
    mtu: Option<u32>,
    peer: &str,
) -> Result<()> {
    const VETH_INFO_PEER: u16 = 1;
    const IFLA_GSO_IPV4_MAX_SIZE: u16 = 63;
    let mut attributes = Attributes::new().string(IFLA_IFNAME, peer).number(IFLA_MASTER, master);
    if let Some(mtu) = mtu {
        attributes = attributes.number(IFLA_MTU, mtu);
    }
    if bridge.internal {
        inner = inner.number(IFLA_GSO_IPV4_MAX_SIZE, LONG_SEGMENT);
        attributes = attributes.number(IFLA_GSO_IPV4_MAX_SIZE, LONG_SEGMENT);
    }
    // The peer's attributes follow a structure of their own.
    let data = Attributes::new().nest_with(VETH_INFO_PEER, &link::header(0, false), &inner);
    let mut batch = Batch::new();
    let what = format!("cannot make the interface {name} at the bridge {}", bridge.name);
    batch.push(what, create("veth", &data, false, &attributes));
    host.change(batch)
}

/// Makes the bridge's end ready for use; `mac`: who is behind it, where that is known.
fn plug(host: &mut Socket, bridge: &Bridge, peer: &str, mac: Option<Mac>) -> Result<()> {
    let name = &bridge.name;
    // Only now: had the name been another's, these would be its.
    let index = link::index_of(host, peer)?;
    let mut batch = Batch::new();
    batch.push(format!("cannot set what protocols do at {peer}"), families(peer, &[], false));
    // A container reaches itself by its own published port.
    batch.push(
        format!("cannot set the port {peer} of {name}"),
        bridge_port(peer, true, !bridge.communication),
    );
    if let Some(mac) = mac {
        batch.push(format!("cannot tell {name} of {mac}"), behind(index, mac));
    }
    batch.push(format!("cannot bring the interface {peer} up"), raise(index));
    host.change(batch)
}
