//! What the table's sets hold: a network, or a published port, as elements.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::expression::{LIST_ELEMENT, data, interface_name};
use crate::description::{Bridge, octets};
use crate::error::{Error, Result};
use crate::netlink::{Attributes, attribute, attributes, read_u32, text};

// linux/netfilter/nf_tables.h, NFTA_SET_ELEM_*
const KEY: u16 = 1;
const DATA: u16 = 2;
const FLAGS: u16 = 3;
const USERDATA: u16 = 6;
const KEY_END: u16 = 10;
const INTERVAL_END: u32 = 1;
/// NFTA_DATA_VALUE
const VALUE: u16 = 1;

/// What is carried to a port; its number is the protocol's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[repr(u8)]
#[allow(missing_docs, reason = "their names say it")]
pub enum Protocol {
    Tcp = 6,
    Udp = 17,
    Sctp = 132,
}

/// A port of the host that leads to a container's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// Of both.
    pub protocol: Protocol,
    /// One of the host's, of the family of `address`; every one of the family where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_address: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// The container's address.
    pub address: IpAddr,
    /// The container's port.
    pub container_port: u16,
}

/// A port, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "Written", into = "Written")]
pub struct Published {
    /// Id of the container, at most 120 bytes.
    pub container: String,
    /// What is published.
    pub port: Port,
}

/// A published port as it is written, all in one.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    container: String,
    protocol: Protocol,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host_address: Option<IpAddr>,
    host_port: u16,
    address: IpAddr,
    container_port: u16,
}

impl From<Written> for Published {
    fn from(written: Written) -> Self {
        let Written { container, protocol, host_address, host_port, address, container_port } = written;
        Self { container, port: Port { protocol, host_address, host_port, address, container_port } }
    }
}

impl From<Published> for Written {
    fn from(Published { container, port }: Published) -> Self {
        let Port { protocol, host_address, host_port, address, container_port } = port;
        Self { container, protocol, host_address, host_port, address, container_port }
    }
}

/// An element of a set, as it is sent and as it comes back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    pub set: &'static str,
    pub key: Vec<u8>,
    /// The last key, of a set of intervals of several fields.
    pub end: Option<Vec<u8>>,
    pub data: Option<Vec<u8>>,
    /// The first key that an interval, of one field, has no more.
    pub is_end: bool,
    pub comment: Option<String>,
}

impl Element {
    fn new(set: &'static str, key: Vec<u8>) -> Self {
        Self { set, key, end: None, data: None, is_end: false, comment: None }
    }

    /// Whether a set cannot have both.
    pub(crate) fn is_in_place_of(&self, other: &Self) -> bool {
        (self.set, &self.key, self.is_end) == (other.set, &other.key, other.is_end)
    }

    /// As it is added; to delete one, its key is enough, and its data must not be there.
    pub(crate) fn encode(&self, whole: bool) -> Attributes {
        /// NFTNL_UDATA_SET_ELEM_COMMENT, which nft(8) shows.
        const COMMENT: u8 = 0;
        let mut attributes = Attributes::new().nest(KEY, &data(&self.key));
        if let Some(end) = &self.end {
            attributes = attributes.nest(KEY_END, &data(end));
        }
        if self.is_end {
            attributes = attributes.big(FLAGS, INTERVAL_END);
        }
        if let (Some(value), true) = (&self.data, whole) {
            attributes = attributes.nest(DATA, &data(value));
        }
        if let (Some(comment), true) = (&self.comment, whole) {
            let mut bytes = vec![COMMENT, comment.len() as u8 + 1];
            bytes.extend(comment.bytes().chain([0]));
            attributes = attributes.bytes(USERDATA, &bytes);
        }
        Attributes::new().nest(LIST_ELEMENT, &attributes)
    }

    /// What a set's listing has.
    pub(crate) fn decode(set: &'static str, entry: &[u8]) -> Option<Self> {
        let value = |kind| attribute(entry, kind).and_then(|inner| attribute(inner, VALUE));
        let flags = attribute(entry, FLAGS).and_then(read_u32).map_or(0, u32::from_be);
        // Type, length, and a text with its zero byte.
        let comment = attribute(entry, USERDATA).and_then(|bytes| bytes.get(2..)).map(text);
        Some(Self {
            set,
            key: value(KEY)?.to_vec(),
            end: value(KEY_END).map(<[u8]>::to_vec),
            data: value(DATA).map(<[u8]>::to_vec),
            is_end: flags & INTERVAL_END != 0,
            comment,
        })
    }
}

/// The elements of one message of a listing.
pub(crate) fn listed(set: &'static str, payload: &[u8]) -> Vec<Element> {
    /// NFTA_SET_ELEM_LIST_ELEMENTS
    const ELEMENTS: u16 = 3;
    // Behind struct nfgenmsg.
    let rest = payload.get(4..).unwrap_or_default();
    let elements = attribute(rest, ELEMENTS).unwrap_or_default();
    attributes(elements).filter_map(|(_, entry)| Element::decode(set, entry)).collect()
}

/// A network's.
pub(crate) fn of_bridge(bridge: &Bridge) -> Vec<Element> {
    let name = interface_name(&bridge.name).to_vec();
    let mut elements = vec![Element::new("bridges", name.clone())];
    if bridge.internal {
        elements.push(Element::new("internal", name.clone()));
    }
    if bridge.open {
        elements.push(Element::new("open", name.clone()));
    }
    if bridge.communication {
        elements.push(Element::new("pairs", [&name[..], &name].concat()));
    }
    for subnet in &bridge.subnets {
        let is_ipv6 = subnet.is_ipv6();
        let (first, last) = subnet.range();
        let with_name = |address: IpAddr| [octets(address), name.clone()].concat();
        let net = if is_ipv6 { "net6" } else { "net4" };
        elements.push(Element { end: Some(with_name(last)), ..Element::new(net, with_name(first)) });
        if bridge.masquerade {
            let set = if is_ipv6 { "subnet6" } else { "subnet4" };
            elements.push(Element::new(set, octets(first)));
            if let Some(next) = next(last) {
                elements.push(Element { is_end: true, ..Element::new(set, octets(next)) });
            }
        }
    }
    elements
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| IpAddr::V6(bits.into())),
    }
}

/// A published port's. `PORT_INVALID`: no port is 0, and one family does not lead to the other.
pub(crate) fn of_port(Published { container, port }: &Published) -> Result<Element> {
    let Port { protocol, host_address, host_port, address, container_port } = *port;
    let named = host_address.filter(|address| !address.is_unspecified());
    let mixed = host_address.is_some_and(|host| host.is_ipv6() != address.is_ipv6());
    if mixed || host_port == 0 || container_port == 0 || container.len() > 120 {
        return Err(Error::new("PORT_INVALID", format!("{} cannot lead to {address}", shown(port))));
    }
    let set = match (named.is_some(), address.is_ipv6()) {
        (false, false) => "any4",
        (false, true) => "any6",
        (true, false) => "host4",
        (true, true) => "host6",
    };
    // Each field takes whole words of four bytes.
    let port_of = |number: u16| [number.to_be_bytes(), [0; 2]].concat();
    let mut key = named.map(octets).unwrap_or_default();
    key.extend([protocol as u8, 0, 0, 0]);
    key.extend(port_of(host_port));
    let data = [octets(address), port_of(container_port)].concat();
    Ok(Element { data: Some(data), comment: Some(container.clone()), ..Element::new(set, key) })
}

/// The other way round; `None` for what is no published port.
pub(crate) fn to_port(element: &Element) -> Option<Published> {
    let (host, address) = match element.set {
        "any4" => (0, 4),
        "any6" => (0, 16),
        "host4" => (4, 4),
        "host6" => (16, 16),
        _ => return None,
    };
    let data = element.data.as_ref()?;
    let number = |bytes: &[u8]| bytes.first_chunk().map(|two| u16::from_be_bytes(*two));
    let protocol = match element.key.get(host)? {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        132 => Protocol::Sctp,
        _ => return None,
    };
    let port = Port {
        protocol,
        host_address: address_of(element.key.get(..host)?),
        host_port: number(element.key.get(host + 4..)?)?,
        address: address_of(data.get(..address)?)?,
        container_port: number(data.get(address..)?)?,
    };
    Some(Published { container: element.comment.clone().unwrap_or_default(), port })
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// A port as people write it.
pub(crate) fn shown(port: &Port) -> String {
    let protocol = format!("{:?}", port.protocol).to_lowercase();
    match port.host_address {
        None => format!("port {}/{protocol}", port.host_port),
        Some(IpAddr::V6(address)) => format!("port [{address}]:{}/{protocol}", port.host_port),
        Some(address) => format!("port {address}:{}/{protocol}", port.host_port),
    }
}
