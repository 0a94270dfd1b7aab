//! What a container that is not trusted may reach: nothing but what is named. A guard stands at the host's end of each of
//! its interfaces, where every frame comes by, those of raw sockets too, before it is bridged, routed or translated: so it
//! holds for the host's own services, for neighbours of the same network and for everybody else alike.
//!
//! A guard is a table of the packet filter that belongs to a socket. Nobody else can change or flush it, and it goes with
//! whoever holds it, so that there is nothing to repair and nothing to forget.

mod ruleset;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use serde::Deserialize;

use self::ruleset::{CHAINS, SETS, Set, same_hardware};
use crate::{
    description::{Cidr, Mac, octets},
    error::{Error, Result},
    link::check_name,
    netlink::{Attributes, Batch, Family, Socket},
    nftables::{
        Kind,
        expression::{Rule, data},
        table::{Hook, Table},
        transaction,
    },
};

/// NFPROTO_NETDEV: what comes by at an interface.
const NETDEV: u8 = 5;

/// The host's end of an interface, and who its container is there.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// The name of the host's end.
    pub peer: String,
    /// The container's hardware address.
    pub mac: Mac,
    /// The container's addresses, with the lengths of their networks' prefixes.
    pub addresses: Vec<Cidr>,
}

/// The guard of a container; without it everything is allowed again.
#[derive(Debug)]
pub struct Guard {
    socket: Socket,
    table: Table,
    /// What is pinned, and until when.
    pins: Vec<(IpAddr, Instant)>,
    /// Whether the kernel prolongs an element that it has.
    prolongs: bool,
}

impl Guard {
    /// Lets nothing through but to `allowed`, and answers to who asked first. `table`: a name that nobody has.
    pub fn new(table: &str, allowed: &[Cidr]) -> Result<Self> {
        let table = Table { family: NETDEV, name: table.to_owned() };
        let mut socket = Socket::open(Family::Netfilter)?;
        transaction(&mut socket, None, |batch| {
            skeleton(batch, &table);
            for (set, is_ipv6) in [("allowed4", false), ("allowed6", true)] {
                table.elements(batch, Kind::NewElement, set, &intervals(allowed, is_ipv6));
            }
        })?;
        Ok(Self { socket, table, pins: Vec::new(), prolongs: prolongs() })
    }

    /// Guards an interface from now on; to be called before its container runs. `NOT_SUPPORTED` before Linux 5.16.
    pub fn add(&mut self, link: &Link) -> Result<()> {
        check_name(&link.peer)?;
        let Self { socket, table, .. } = self;
        transaction(socket, None, |batch| {
            for (set, elements) in own(link) {
                table.elements(batch, Kind::NewElement, set, &elements);
            }
            for (number, prefix, leads) in HOOKS {
                let name = format!("{prefix}-{}", link.peer);
                let hook = Hook { kind: "filter", number, priority: 0, device: Some(&link.peer) };
                table.chain(batch, &name, Some(&hook));
                if number == INGRESS {
                    same_hardware(&link.mac.0).iter().for_each(|rule| table.rule(batch, &name, rule));
                }
                table.rule(batch, &name, &Rule::new().leads(leads));
            }
        })
        .map_err(|error| match error.errno {
            libc::EOPNOTSUPP => Error {
                message: format!(
                    "{}; egress rules need Linux 5.16 and nf_tables' egress hook",
                    error.message
                ),
                ..error
            },
            _ => error,
        })
    }

    /// Does not guard an interface any more, which may be gone already.
    pub fn remove(&mut self, link: &Link) -> Result<()> {
        for (_, prefix, _) in HOOKS {
            self.forget(|batch, table| table.delete_chain(batch, &format!("{prefix}-{}", link.peer)))?;
        }
        for (set, elements) in own(link) {
            self.forget(|batch, table| table.elements(batch, Kind::DeleteElement, set, &elements))?;
        }
        Ok(())
    }

    /// Takes something away that may be gone.
    fn forget(&mut self, fill: impl FnOnce(&mut Batch, &Table)) -> Result<()> {
        let Self { socket, table, .. } = self;
        match transaction(socket, None, |batch| fill(batch, table)) {
            Err(error) if error.errno != libc::ENOENT => Err(error),
            _ => Ok(()),
        }
    }

    /// Lets the container reach an address for at least so long, and for as long as what it has begun then goes on.
    pub fn pin(&mut self, address: IpAddr, good: Duration) -> Result<()> {
        /// How much longer a pin is where a new one takes a grace period of the kernel's: some ten milliseconds.
        const RESERVE: Duration = Duration::from_secs(60);
        let now = Instant::now();
        self.pins.retain(|(_, end)| *end > now);
        let known = self.pins.iter().position(|(pinned, _)| *pinned == address);
        if known.is_some_and(|at| self.pins[at].1 >= now + good) {
            return Ok(());
        }
        let good = if self.prolongs || known.is_none() { good } else { good + RESERVE };
        let set = if address.is_ipv4() { "pinned4" } else { "pinned6" };
        let key = octets(address);
        let (new, old) = ([element(&key, false, Some(good))], [element(&key, false, None)]);
        let Self { socket, table, prolongs, .. } = self;
        let pinned = transaction(socket, None, |batch| {
            table.elements(batch, Kind::NewElement, set, &new);
            if !*prolongs && known.is_some() {
                // Added in any case, for it may have ended meanwhile, taken away, and added with its new end.
                table.elements(batch, Kind::DeleteElement, set, &old);
                table.elements(batch, Kind::NewElement, set, &new);
            }
        });
        pinned.map_err(|error| Error {
            message: format!("cannot allow {address}: {}", error.message),
            ..error
        })?;
        known.map(|at| self.pins.swap_remove(at));
        self.pins.push((address, now + good));
        Ok(())
    }
}

/// Since Linux 6.12, one that is added again has its new end.
fn prolongs() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(12))
}

/// `NF_NETDEV_*`
const INGRESS: u32 = 0;
const EGRESS: u32 = 1;
/// Hook, how the chain of an interface begins, and the chain that it leads to. What leaves a container comes in here.
const HOOKS: [(u32, &str, &str); 2] = [(INGRESS, "from", "leaving"), (EGRESS, "to", "arriving")];

/// The table without a container in it.
fn skeleton(batch: &mut Batch, table: &Table) {
    table.make(batch);
    for (id, set) in (1..).zip(&SETS) {
        table.set(batch, &describe(set, id));
    }
    for chain in CHAINS {
        table.chain(batch, chain.name, None);
        (chain.rules)().iter().for_each(|rule| table.rule(batch, chain.name, rule));
    }
}

fn describe(set: &Set, id: u32) -> Attributes {
    // linux/netfilter/nf_tables.h, NFTA_SET_*; nft(8) reads the types.
    const INTERVAL: u32 = 4;
    const TIMEOUT: u32 = 0x10;
    const EVALUATED: u32 = 0x20;
    let mut flags = 0;
    flags |= if set.interval { INTERVAL } else { 0 };
    flags |= if set.timeout { TIMEOUT } else { 0 };
    flags |= if set.learns { EVALUATED } else { 0 };
    // Each field takes whole words of four bytes, and six bits of the number of the type.
    let length = set.key.iter().map(|(_, length)| length.next_multiple_of(4)).sum();
    let kind = set.key.iter().fold(0, |kind, (field, _)| kind << 6 | field);
    let attributes =
        Attributes::new().string(2, set.name).big(3, flags).big(4, kind).big(5, length).big(10, id);
    if set.size > 0 { attributes.nest(9, &Attributes::new().big(1, set.size)) } else { attributes }
}

/// An element of a set; `is_end`: the first that an interval has no more; `good`: how long it lives.
fn element(key: &[u8], is_end: bool, good: Option<Duration>) -> Attributes {
    const KEY: u16 = 1;
    const FLAGS: u16 = 3;
    const TIMEOUT: u16 = 4;
    const EXPIRATION: u16 = 5;
    let mut element = Attributes::new().nest(KEY, &data(key));
    if is_end {
        element = element.big(FLAGS, 1);
    }
    if let Some(good) = good {
        let milliseconds = (good.as_millis() as u64).to_be_bytes();
        element = element.bytes(TIMEOUT, &milliseconds).bytes(EXPIRATION, &milliseconds);
    }
    element
}

/// Who the container is and where its neighbours are, as elements. It has a link-local address too where it has one of
/// IPv6.
fn own(link: &Link) -> [(&'static str, Vec<Attributes>); 3] {
    let mut addresses: Vec<IpAddr> = link.addresses.iter().map(|cidr| cidr.address).collect();
    if addresses.iter().any(IpAddr::is_ipv6) {
        let [a, b, c, d, e, f] = link.mac.0;
        addresses.push([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f].into());
    }
    let of = |is_ipv6: bool| {
        let some = addresses.iter().filter(move |address| address.is_ipv6() == is_ipv6);
        some.map(|address| element(&octets(*address), false, None)).collect()
    };
    [("own4", of(false)), ("own6", of(true)), ("near6", intervals(&link.addresses, true))]
}

/// Blocks of a family as elements of a set of intervals, which must not overlap: each has a beginning and an end.
fn intervals(blocks: &[Cidr], is_ipv6: bool) -> Vec<Attributes> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    };
    let bytes = |number: u128| {
        if is_ipv6 { number.to_be_bytes().to_vec() } else { (number as u32).to_be_bytes().to_vec() }
    };
    let most: u128 = if is_ipv6 { u128::MAX } else { u32::MAX.into() };
    let some = blocks.iter().filter(|block| block.is_ipv6() == is_ipv6);
    let mut ranges: Vec<(u128, u128)> = some
        .map(|block| {
            let (first, last) = block.range();
            (number(first), number(last))
        })
        .collect();
    ranges.sort_unstable();
    let mut elements = Vec::new();
    let mut ranges = ranges.into_iter().peekable();
    while let Some((first, mut last)) = ranges.next() {
        while let Some((_, further)) = ranges.next_if(|(next, _)| *next <= last.saturating_add(1)) {
            last = last.max(further);
        }
        elements.push(element(&bytes(first), false, None));
        if last < most {
            elements.push(element(&bytes(last + 1), true, None));
        }
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::{CloneFlags, unshare};

    #[test]
    fn a_pin_is_prolonged_and_never_shortened() {
        unshare(CloneFlags::CLONE_NEWNET).expect("this test runs as root");
        for prolongs in [true, false] {
            let mut guard = Guard::new(&format!("test-{prolongs}"), &[]).unwrap();
            guard.prolongs &= prolongs;
            for (seconds, least) in [(100, 90), (500, 490), (10, 490)] {
                guard.pin([192, 0, 2, 1].into(), Duration::from_secs(seconds)).unwrap();
                let output =
                    std::process::Command::new("nft").args(["-j", "list", "ruleset"]).output().unwrap();
                let said = String::from_utf8(output.stdout).unwrap();
                let said = &said[said.find(&format!("\"table\": \"test-{prolongs}\"")).unwrap()..];
                let left = said.split("\"expires\": ").nth(1).unwrap();
                let left: u64 = left.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
                assert!(left >= least, "{left} seconds after {seconds}, {prolongs}");
            }
        }
    }
}
