//! Which names a container may ask for, and what becomes of the addresses that answer it: they are pinned in the packet
//! filter before the container learns of them.

use std::{fmt, net::IpAddr, time::Duration};

use super::message::Name;
use crate::{
    description::Cidr,
    error::{Error, Result},
    link::is_local,
    netlink::{Family, Socket},
};

/// Lets a container reach an address for a while; it must be possible before it returns.
pub type Pin = Box<dyn FnMut(IpAddr, Duration) -> Result<()> + Send>;

/// The longest time that an answer is good for.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long one of our own containers may be reached since its name was asked for: its address may be another's later.
const OWN: Duration = Duration::from_secs(10 * 60);
/// How much longer than its answer an address is good: whoever asked has not connected yet.
const GRACE: Duration = Duration::from_secs(10);

/// The names of `--egress allow=NAME`.
pub struct Filter {
    exact: Vec<Name>,
    below: Vec<Name>,
    near: Vec<Cidr>,
    pin: Pin,
    routes: Socket,
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("exact", &self.exact)
            .field("below", &self.below)
            .finish_non_exhaustive()
    }
}

impl Filter {
    /// These names; `*.example.com` is every name below `example.com`. `near`: the container's
    /// networks. The caller is in the host's network namespace. `NAME_INVALID`.
    pub fn new(names: &[String], near: Vec<Cidr>, pin: Pin) -> Result<Self> {
        let (mut exact, mut below) = (Vec::new(), Vec::new());
        for text in names {
            let (list, name) =
                text.strip_prefix("*.").map_or((&mut exact, text.as_str()), |n| (&mut below, n));
            let invalid =
                || Error::new("NAME_INVALID", format!("{text:?} is no name that could be asked for"));
            list.push(Name::parse(name).ok_or_else(invalid)?);
        }
        Ok(Self { exact, below, near, pin, routes: Socket::open(Family::Route)? })
    }

    /// The container is on other networks now.
    pub(super) fn set_near(&mut self, near: Vec<Cidr>) {
        self.near = near;
    }

    /// Whether a name is one of them.
    pub(super) fn allows(&self, name: &Name) -> bool {
        self.exact.contains(name) || self.below.iter().any(|domain| name.is_below(domain))
    }

    /// Pins what somebody else answered. Whoever owns a name says what it stands for: never the host,
    /// nor a neighbour, whose names are ours.
    pub(super) fn pin_foreign(&mut self, addresses: impl Iterator<Item = (IpAddr, u32)>) -> Result<()> {
        for (address, seconds) in addresses.filter(|(address, _)| is_somewhere_else(*address)) {
            let is_near = self.near.iter().map(Cidr::range).any(|(a, z)| a <= address && address <= z);
            if is_near || is_local(&mut self.routes, address)? {
                continue;
            }
            let good = Duration::from_secs(seconds.into()).saturating_add(GRACE);
            (self.pin)(address, good.min(LONGEST))?;
        }
        Ok(())
    }

    /// Pins containers.
    pub(super) fn pin_own(&mut self, addresses: &[IpAddr]) -> Result<()> {
        addresses.iter().try_for_each(|address| (self.pin)(*address, OWN))
    }
}

/// Whether an address is neither the host's loopback nor on its own links, where the metadata services of clouds are.
fn is_somewhere_else(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            // The metadata services of Alibaba's, Azure's and Oracle's machines, which are not link-local.
            let metadata =
                [[100, 100, 100, 200], [168, 63, 129, 16], [192, 0, 0, 192]].contains(&address.octets());
            let nowhere = address.octets()[0] == 0 || address.is_broadcast() || address.is_multicast();
            !nowhere && !metadata && !address.is_loopback() && !address.is_link_local()
        }
        IpAddr::V6(address) => {
            // The metadata service of Amazon's and others' IPv6-only machines.
            let metadata = address.segments()[..] == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254];
            let nowhere = address.is_unspecified() || address.is_multicast() || metadata;
            !nowhere && !address.is_loopback() && !address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_allowed_as_they_are_written() {
        let names = ["Example.com", "*.cdn.net"].map(str::to_owned);
        let filter = Filter::new(&names, Vec::new(), Box::new(|_, _| Ok(()))).unwrap();
        for (name, allowed) in [
            ("example.com", true),
            ("EXAMPLE.com", true),
            ("www.example.com", false),
            ("a.cdn.net", true),
            ("a.b.cdn.net", true),
            ("cdn.net", false),
            ("acdn.net", false),
        ] {
            assert_eq!(filter.allows(&Name::parse(name).unwrap()), allowed, "{name}");
        }
        let error = Filter::new(&["a..b".to_owned()], Vec::new(), Box::new(|_, _| Ok(()))).unwrap_err();
        assert_eq!(error.code, "NAME_INVALID");
    }

    #[test]
    fn a_name_never_opens_the_doors_that_every_host_has() {
        for door in [
            "127.0.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
        ] {
            assert!(!is_somewhere_else(door.parse().unwrap()), "{door}");
        }
        for address in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1"] {
            assert!(is_somewhere_else(address.parse().unwrap()), "{address}");
        }
    }
}
