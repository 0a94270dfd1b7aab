//! Connections of UDP that the kernel remembers: they would go on to where a port led before.
//! Numbers are those of linux/netfilter/nfnetlink_conntrack.h.

use super::elements::{Port, Protocol};
use crate::description::octets;
use crate::netlink::{Attributes, Batch, Message, Socket, attribute};

/// NFNL_SUBSYS_CTNETLINK
const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const TUPLE: u16 = 1;
const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;
const NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;

/// Forgets the connections to these ports of the host. They are forgotten in two minutes anyhow: a kernel that does not
/// say which there are is no failure.
pub(super) fn forget(socket: &mut Socket, ports: impl Iterator<Item = Port>) {
    let mut batch = Batch::new();
    for port in ports.filter(|port| port.protocol == Protocol::Udp) {
        let family = if port.address.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET } as u8;
        let what = "cannot list the connections";
        for entry in socket.list(what, message(family, GET, &to(&port))).unwrap_or_default() {
            let Some(tuple) = entry.get(4..).and_then(|rest| attribute(rest, TUPLE)) else { continue };
            if leads(tuple, &port) {
                let which = Attributes::new().bytes(TUPLE | NESTED, tuple);
                batch.tolerating("cannot forget a connection", libc::ENOENT, message(family, DELETE, &which));
            }
        }
    }
    let _ = socket.change(batch);
}

/// NLA_F_NESTED
const NESTED: u16 = 0x8000;

fn message(family: u8, kind: u16, attributes: &Attributes) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, 0, &[family, 0, 0, 0], attributes)
}

/// Asks for those of a port alone, which kernels before 5.8 do not understand: they tell all.
fn to(port: &Port) -> Attributes {
    const FILTER: u16 = 25;
    const FILTER_ORIGINAL: u16 = 1;
    const BY_PROTOCOL: u32 = 1 << 3;
    const BY_DESTINATION_PORT: u32 = 1 << 5;
    let protocol = Attributes::new()
        .bytes(NUMBER, &[port.protocol as u8])
        .bytes(DESTINATION_PORT, &port.host_port.to_be_bytes());
    let filter = Attributes::new().number(FILTER_ORIGINAL, BY_PROTOCOL | BY_DESTINATION_PORT);
    Attributes::new().nest(TUPLE, &Attributes::new().nest(PROTOCOL, &protocol)).nest(FILTER, &filter)
}

fn leads(tuple: &[u8], port: &Port) -> bool {
    // CTA_IP_V4_DST, CTA_IP_V6_DST
    let destination = if port.address.is_ipv6() { 4 } else { 2 };
    let part = |outer, inner| attribute(tuple, outer).and_then(|part| attribute(part, inner));
    let named = port.host_address.filter(|address| !address.is_unspecified());
    let is_there = |address| part(ADDRESSES, destination) == Some(&octets(address)[..]);
    part(PROTOCOL, NUMBER) == Some(&[port.protocol as u8])
        && part(PROTOCOL, DESTINATION_PORT) == Some(&port.host_port.to_be_bytes())
        && named.is_none_or(is_there)
}
