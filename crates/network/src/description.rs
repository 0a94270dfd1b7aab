//! What is asked for: networks and the interfaces of containers, complete.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A link's hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

/// An address and how many of its bits are its network's: `10.1.0.2/24`. As a block, the bits beyond do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address, or one of the block.
    pub address: IpAddr,
    /// At most 32, or 128.
    pub bits: u8,
}

/// A bridge of the host, and what the packet filter has to know of its network.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bridge {
    /// The link's name.
    pub name: String,
    /// It keeps this one, whichever link joins.
    pub mac: Mac,
    /// Bytes; the kernel's own (1500) where left out.
    pub mtu: Option<u32>,
    /// Those of the host on it: the gateways.
    #[serde(default)]
    pub addresses: Vec<Cidr>,
    /// Whose source addresses, toward a published port of the same network, are hidden: a hairpin.
    #[serde(default)]
    pub subnets: Vec<Cidr>,
    /// What leaves the machine has the machine's address, and nobody outside reaches a container's own.
    #[serde(default)]
    pub masquerade: bool,
    /// Nothing but its own containers and the host is reachable.
    #[serde(default)]
    pub internal: bool,
    /// Its containers reach each other.
    #[serde(default)]
    pub communication: bool,
    /// Containers of other open networks reach this one's, and the other way round.
    #[serde(default)]
    pub open: bool,
}

/// How containers on one parent see each other: linux/if_link.h, `MACVLAN_MODE_*`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[repr(u32)]
#[allow(missing_docs, reason = "the kernel's words")]
pub enum MacvlanMode {
    Private = 1,
    Vepa = 2,
    Bridge = 4,
    Passthru = 8,
}

/// Where the other end of an interface is.
#[derive(Clone, Debug)]
pub enum Uplink {
    /// At a bridge, by a pair of virtual links.
    Bridge {
        /// The bridge, which is made where it is missing.
        bridge: Bridge,
        /// The name of the host's end.
        peer: String,
        /// Bytes a second, in each direction; unlimited where left out.
        rate: Option<u64>,
        /// The name inside, where the pair is there already ([`cable::lay`](crate::cable::lay)).
        laid: Option<String>,
    },
    /// At one of the host's links, with an address of its own there.
    Macvlan {
        /// That link.
        parent: String,
        /// How it sees others on it.
        mode: MacvlanMode,
    },
}

/// A pair of virtual links, before anybody knows whose it will be.
#[derive(Clone, Debug, Deserialize)]
pub struct Cable {
    /// Where its one end is.
    pub bridge: Bridge,
    /// The name of that end.
    pub peer: String,
    /// The name of the other.
    pub name: String,
    /// Bytes; the kernel's own where left out.
    pub mtu: Option<u32>,
}

/// An interface of a container.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
pub struct Interface {
    /// Its name in the container.
    pub name: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Bytes; the kernel's own where left out.
    pub mtu: Option<u32>,
    /// Its addresses. Without one of IPv6 it has not even a link-local one.
    pub addresses: Vec<Cidr>,
    /// Where default routes lead.
    pub gateways: Vec<IpAddr>,
    /// The other end.
    pub uplink: Uplink,
}

/// An interface as it is written, all in one: serde's own way to do this makes much code.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: String,
    mac: Mac,
    mtu: Option<u32>,
    #[serde(default)]
    addresses: Vec<Cidr>,
    #[serde(default)]
    gateways: Vec<IpAddr>,
    driver: String,
    bridge: Option<Bridge>,
    peer: Option<String>,
    rate: Option<u64>,
    parent: Option<String>,
    mode: Option<MacvlanMode>,
}

impl TryFrom<Written> for Interface {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { name, mac, mtu, addresses, gateways, driver, .. } = written;
        let lacks = |what| format!("interface {name} of the driver {driver} lacks {what}");
        let uplink = match driver.as_str() {
            "bridge" => Uplink::Bridge {
                bridge: written.bridge.ok_or_else(|| lacks("bridge"))?,
                peer: written.peer.ok_or_else(|| lacks("peer"))?,
                rate: written.rate,
                laid: None,
            },
            "macvlan" => Uplink::Macvlan {
                parent: written.parent.ok_or_else(|| lacks("parent"))?,
                mode: written.mode.ok_or_else(|| lacks("mode"))?,
            },
            _ => return Err(format!("interface {name}: {driver:?} is neither bridge nor macvlan")),
        };
        Ok(Self { name, mac, mtu, addresses, gateways, uplink })
    }
}

impl Bridge {
    /// Whether its network has IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.addresses.iter().any(Cidr::is_ipv6)
    }
}

impl Cidr {
    /// Whether its family is IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// The first and the last address of its block.
    pub fn range(&self) -> (IpAddr, IpAddr) {
        match self.address {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                let first = address.to_bits() & !host;
                (IpAddr::V4(first.into()), IpAddr::V4((first | host).into()))
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(self.bits.into()).unwrap_or(0);
                let first = address.to_bits() & !host;
                (IpAddr::V6(first.into()), IpAddr::V6((first | host).into()))
            }
        }
    }
}

/// An address as it goes over the wire.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no hardware address, such as 02:42:ac:11:00:02");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address with a prefix length, such as 10.1.0.2/24");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv6() { 128 } else { 32 };
        if bits > most { Err(wrong()) } else { Ok(Self { address, bits }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in ["10.1.2.3/24", "fd00:7::1/64", "0.0.0.0/0", "::/0", "10.0.0.1/32"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
        for text in ["10.1.2.3", "10.1.2.3/33", "fd00::/129", "10.1.2/24", "/", "10.1.2.3/-1"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
        assert_eq!("02:42:ac:11:00:ff".parse::<Mac>().unwrap().to_string(), "02:42:ac:11:00:ff");
        for text in ["", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "2:42:ac:11:00:02", "0g:42:ac:11:00:02"] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_block_goes_from_its_first_to_its_last_address() {
        for (block, first, last) in [
            ("10.1.2.3/24", "10.1.2.0", "10.1.2.255"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.3"),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
            ("fd00::1/64", "fd00::", "fd00::ffff:ffff:ffff:ffff"),
        ] {
            let range = block.parse::<Cidr>().unwrap().range();
            assert_eq!(range, (first.parse().unwrap(), last.parse().unwrap()));
        }
    }
}
