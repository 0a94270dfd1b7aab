//! rtnetlink(7): links, addresses and routes as messages. Numbers are those of linux/if_link.h, if_addr.h, rtnetlink.h.

use std::net::IpAddr;

use crate::description::{Cidr, Mac, octets};
use crate::error::{Error, Result};
use crate::netlink::{Attributes, Batch, Message, Socket, attribute, read_u32};

pub(crate) const IFLA_ADDRESS: u16 = 1;
pub(crate) const IFLA_IFNAME: u16 = 3;
pub(crate) const IFLA_MTU: u16 = 4;
pub(crate) const IFLA_LINK: u16 = 5;
pub(crate) const IFLA_MASTER: u16 = 10;
pub(crate) const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
pub(crate) const IFLA_NET_NS_FD: u16 = 28;
pub(crate) const IFLA_INFO_KIND: u16 = 1;
pub(crate) const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_NODAD: u32 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;

/// The longest name of a link, in bytes (IFNAMSIZ less its zero byte).
const LONGEST: usize = 15;

pub(crate) const NEW: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL;

/// IPv4 settings of a link (linux/ip.h, `IPV4_DEVCONF_*`) that may be set without /proc.
#[derive(Clone, Copy)]
pub(crate) enum Setting {
    RpFilter = 8,
    RouteLocalnet = 26,
}

/// `struct ifinfomsg`; `up`: whether the link is to be brought up.
pub(crate) fn header(index: u32, up: bool) -> [u8; 16] {
    let mut structure = [0; 16];
    structure[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        let flag = (libc::IFF_UP as u32).to_ne_bytes();
        structure[8..12].copy_from_slice(&flag);
        structure[12..].copy_from_slice(&flag);
    }
    structure
}

/// A new link of a kind, brought up at once if `up`.
pub(crate) fn create(kind: &str, data: &Attributes, up: bool, attributes: &Attributes) -> Message {
    let info = Attributes::new().string(IFLA_INFO_KIND, kind).nest(IFLA_INFO_DATA, data);
    Message::new(libc::RTM_NEWLINK, NEW, &header(0, up), &attributes.clone().nest(IFLA_LINKINFO, &info))
}

pub(crate) fn raise(index: u32) -> Message {
    Message::new(libc::RTM_SETLINK, 0, &header(index, true), &Attributes::new())
}

/// Gives a link that is down a hardware address, and maybe a name.
pub(crate) fn identify(index: u32, name: Option<&String>, mac: Mac) -> Message {
    let mut identity = Attributes::new().bytes(IFLA_ADDRESS, &mac.0);
    if let Some(name) = name {
        identity = identity.string(IFLA_IFNAME, name);
    }
    Message::new(libc::RTM_SETLINK, 0, &header(index, false), &identity)
}

pub(crate) fn delete(index: u32) -> Message {
    Message::new(libc::RTM_DELLINK, 0, &header(index, false), &Attributes::new())
}

/// What a link that is at a bridge does there: hand back to it what came from it, keep from others that are isolated.
pub(crate) fn bridge_port(name: &str, hairpin: bool, isolated: bool) -> Message {
    let port = Attributes::new()
        .bytes(IFLA_BRPORT_MODE, &[hairpin.into()])
        .bytes(IFLA_BRPORT_ISOLATED, &[isolated.into()]);
    let info = Attributes::new().string(IFLA_INFO_SLAVE_KIND, "bridge").nest(IFLA_INFO_SLAVE_DATA, &port);
    let attributes = Attributes::new().string(IFLA_IFNAME, name).nest(IFLA_LINKINFO, &info);
    Message::new(libc::RTM_NEWLINK, 0, &header(0, false), &attributes)
}

/// What the families are told about a link: settings of IPv4, and whether IPv6 gives itself a link-local address.
pub(crate) fn families(name: &str, settings: &[(Setting, u32)], link_local: bool) -> Message {
    const IFLA_INET_CONF: u16 = 1;
    const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
    let mode = if link_local { 0 } else { 1 };
    let each = |list: Attributes, (setting, value): &(Setting, u32)| list.number(*setting as u16, *value);
    let settings = settings.iter().fold(Attributes::new(), each);
    let mut spec = Attributes::new();
    if !settings.is_empty() {
        spec = spec.nest(libc::AF_INET as u16, &Attributes::new().nest(IFLA_INET_CONF, &settings));
    }
    // A kernel without IPv6 does not know the family and would refuse.
    if std::path::Path::new("/proc/net/if_inet6").exists() {
        let mode = Attributes::new().bytes(IFLA_INET6_ADDR_GEN_MODE, &[mode]);
        spec = spec.nest(libc::AF_INET6 as u16, &mode);
    }
    let attributes = Attributes::new().string(IFLA_IFNAME, name).nest(IFLA_AF_SPEC, &spec);
    Message::new(libc::RTM_SETLINK, 0, &header(0, false), &attributes)
}

/// Whose hardware address is behind a link at a bridge, whatever others say: neither one that ends nor one that lies keeps
/// it.
pub(crate) fn behind(index: u32, mac: Mac) -> Message {
    // linux/neighbour.h
    const STATE: u16 = 0x40; // NUD_NOARP: until the link goes
    const FLAGS: u8 = 0x04 | 0x40; // NTF_MASTER, NTF_STICKY
    const LINK_ADDRESS: u16 = 2;
    // struct ndmsg: family, index, state, flags, type.
    let mut structure = [0; 12];
    structure[0] = libc::AF_BRIDGE as u8;
    structure[4..8].copy_from_slice(&index.to_ne_bytes());
    structure[8..10].copy_from_slice(&STATE.to_ne_bytes());
    structure[10] = FLAGS;
    let attributes = Attributes::new().bytes(LINK_ADDRESS, &mac.0);
    Message::new(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &structure, &attributes)
}

/// An address of a link, which is its own at once: nobody is asked whether it is taken.
pub(crate) fn address(index: u32, cidr: &Cidr) -> Message {
    let mut structure = [family(cidr.address), cidr.bits, 0, 0, 0, 0, 0, 0];
    structure[4..].copy_from_slice(&index.to_ne_bytes());
    let own = octets(cidr.address);
    let mut attributes = Attributes::new().bytes(IFA_LOCAL, &own).bytes(IFA_ADDRESS, &own);
    match cidr.range() {
        (_, IpAddr::V4(last)) if cidr.bits < 31 => {
            attributes = attributes.bytes(IFA_BROADCAST, &last.octets());
        }
        (_, IpAddr::V6(_)) => attributes = attributes.number(IFA_FLAGS, IFA_F_NODAD),
        _ => {}
    }
    Message::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &structure, &attributes)
}

/// The default route by a gateway, in place of the one that there is.
pub(crate) fn default_route(index: u32, gateway: IpAddr) -> Message {
    // struct rtmsg: family, two prefix lengths, service, table, protocol, scope, type, flags.
    let (main, boot, everywhere, unicast) = (254, 3, 0, 1);
    let structure = [family(gateway), 0, 0, 0, main, boot, everywhere, unicast, 0, 0, 0, 0];
    let attributes = Attributes::new().bytes(RTA_GATEWAY, &octets(gateway)).number(RTA_OIF, index);
    Message::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &structure, &attributes)
}

/// A rule by which packets of a family that have a mark are routed by the table of that number.
pub(crate) fn marked_rule(family_of: IpAddr, mark: u32) -> Message {
    // linux/fib_rules.h. struct fib_rule_hdr is as long as struct rtmsg, and has the action in the place of the type.
    const FRA_FWMARK: u16 = 10;
    const FRA_TABLE: u16 = 15;
    const FR_ACT_TO_TBL: u8 = 1;
    let structure = [family(family_of), 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0];
    let attributes = Attributes::new().number(FRA_FWMARK, mark).number(FRA_TABLE, mark);
    Message::new(libc::RTM_NEWRULE, NEW, &structure, &attributes)
}

/// A route by which every address of a family is the machine's own, in the table of that number.
pub(crate) fn local_route(family_of: IpAddr, index: u32, table: u32) -> Message {
    const RTA_TABLE: u16 = 15;
    let (boot, host, local) = (3, 254, 2);
    let structure = [family(family_of), 0, 0, 0, 0, boot, host, local, 0, 0, 0, 0];
    let attributes = Attributes::new().number(RTA_OIF, index).number(RTA_TABLE, table);
    Message::new(libc::RTM_NEWROUTE, NEW, &structure, &attributes)
}

/// Whether an address is one of the machine's own.
pub(crate) fn is_local(socket: &mut Socket, address: IpAddr) -> Result<bool> {
    const RTA_DST: u16 = 1;
    const RTN_LOCAL: u8 = 2;
    // struct rtmsg, as above; the type is what is asked for.
    let destination = octets(address);
    let structure = [family(address), 8 * destination.len() as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let wanted = Attributes::new().bytes(RTA_DST, &destination);
    let message = Message::new(libc::RTM_GETROUTE, 0, &structure, &wanted);
    let found = socket.get(&format!("cannot look for a route to {address}"), message);
    match found {
        Ok(found) => Ok(found.is_some_and(|route| route.get(7) == Some(&RTN_LOCAL))),
        // Nobody gets there.
        Err(error)
            if [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES, libc::EINVAL].contains(&error.errno) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv6() { libc::AF_INET6 as u8 } else { libc::AF_INET as u8 }
}

/// What is there under a name.
pub(crate) struct Found {
    pub index: u32,
    pub kind: String,
    pub mac: Option<Mac>,
    /// The bridge that it is at.
    pub master: Option<u32>,
    pub is_up: bool,
}

/// Looks for a link by its name.
pub(crate) fn look(socket: &mut Socket, name: &str) -> Result<Option<Found>> {
    let wanted = Attributes::new().string(IFLA_IFNAME, name);
    let message = Message::new(libc::RTM_GETLINK, 0, &header(0, false), &wanted);
    Ok(socket.get(&format!("cannot look for the interface {name}"), message)?.and_then(|entry| read(&entry)))
}

/// The index of a link that must be there.
pub fn index_of(socket: &mut Socket, name: &str) -> Result<u32> {
    let found = look(socket, name)?.map(|found| found.index);
    found.ok_or_else(|| Error::new("INTERFACE_NOT_FOUND", format!("there is no network interface {name}")))
}

/// Removes a link; one that is gone is none.
pub(crate) fn remove(socket: &mut Socket, name: &str) -> Result<()> {
    let Some(found) = look(socket, name)? else { return Ok(()) };
    let mut batch = Batch::new();
    batch.tolerating(format!("cannot remove the interface {name}"), libc::ENODEV, delete(found.index));
    socket.change(batch)
}

fn read(entry: &[u8]) -> Option<Found> {
    let (header, rest) = entry.split_first_chunk::<16>()?;
    let info = attribute(rest, IFLA_LINKINFO).and_then(|info| attribute(info, IFLA_INFO_KIND));
    Some(Found {
        index: read_u32(&header[4..])?,
        kind: info.map(crate::netlink::text).unwrap_or_default(),
        mac: attribute(rest, IFLA_ADDRESS).and_then(|mac| mac.try_into().ok()).map(Mac),
        master: attribute(rest, IFLA_MASTER).and_then(read_u32),
        is_up: read_u32(&header[8..])? & libc::IFF_UP as u32 != 0,
    })
}

/// Whether the kernel takes a name for a link; a `%` would be a template. `INTERFACE_INVALID`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_graphic() && !"/:%\"".contains(c);
    if !name.is_empty() && name.len() <= LONGEST && name.chars().all(good) && name != "." && name != ".." {
        return Ok(());
    }
    Err(Error::new("INTERFACE_INVALID", format!("{name:?} is no name of a network interface")))
}
