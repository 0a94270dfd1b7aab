//! The rules of a guard. They see whole frames, and nothing of the kernel's tracking of connections, which comes later and
//! not at all where frames are bridged: which answers belong to what has come in is remembered here.

use crate::netlink::Attributes;
use crate::nftables::expression::{Base, Meta, Rule, Verdict};

/// A set of a guard.
pub(super) struct Set {
    pub name: &'static str,
    /// nft's number of each field's type, and its length in bytes.
    pub key: &'static [(u32, u32)],
    pub interval: bool,
    /// Whether its elements end.
    pub timeout: bool,
    /// Whether rules add to it.
    pub learns: bool,
    /// The most elements; 0: any number.
    pub size: u32,
}

const IPV4: (u32, u32) = (7, 4);
const IPV6: (u32, u32) = (8, 16);
const PROTOCOL: (u32, u32) = (12, 1);
const PORT: (u32, u32) = (13, 2);

const fn set(name: &'static str, key: &'static [(u32, u32)]) -> Set {
    Set { name, key, interval: false, timeout: false, learns: false, size: 0 }
}

const fn intervals(name: &'static str, key: &'static [(u32, u32)]) -> Set {
    Set { interval: true, ..set(name, key) }
}

const fn ending(name: &'static str, key: &'static [(u32, u32)]) -> Set {
    Set { timeout: true, size: 1 << 14, ..set(name, key) }
}

const fn learning(name: &'static str, key: &'static [(u32, u32)]) -> Set {
    Set { learns: true, size: 1 << 16, ..ending(name, key) }
}

/// Every set.
pub(super) const SETS: [Set; 9] = [
    // Who the container is.
    set("own4", &[IPV4]),
    set("own6", &[IPV6]),
    // Its networks, where it asks for its neighbours.
    intervals("near6", &[IPV6]),
    // Whom it may reach.
    intervals("allowed4", &[IPV4]),
    intervals("allowed6", &[IPV6]),
    // Whom it may reach for a while.
    ending("pinned4", &[IPV4]),
    ending("pinned6", &[IPV6]),
    // Whom it may answer: who has sent something from which port to which.
    learning("flows4", &[IPV4, PROTOCOL, PORT, PORT]),
    learning("flows6", &[IPV6, PROTOCOL, PORT, PORT]),
];

/// A chain that interfaces lead to.
pub(super) struct Chain {
    pub name: &'static str,
    pub rules: fn() -> Vec<Rule>,
}

/// Every chain, each behind those that it leads to.
pub(super) const CHAINS: [Chain; 3] = [
    Chain { name: "neighbours", rules: neighbours },
    Chain { name: "leaving", rules: leaving },
    Chain { name: "arriving", rules: arriving },
];

const ARP: u16 = 0x0806;
const TCP: u8 = 6;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Bits of TCP's flags.
const FIN_OR_RST: u8 = 0x05;

/// How long an answer may take, in seconds: to something, to a connection that goes on, to one that ends, to a ping.
const ANY: u64 = 180;
const CONNECTION: u64 = 12 * 60 * 60;
const ENDING: u64 = 60;
const PING: u64 = 30;

/// What differs between the families: where addresses are, how long they are, and the registers behind one.
struct Family {
    ethertype: u16,
    source: u32,
    destination: u32,
    length: u32,
    second: [u32; 3],
    icmp: u8,
    echo: u8,
    echo_reply: u8,
    own: &'static str,
    allowed: &'static str,
    pinned: &'static str,
    flows: &'static str,
}

const IP4: Family = Family {
    ethertype: 0x0800,
    source: 12,
    destination: 16,
    length: 4,
    second: [9, 10, 11],
    icmp: 1,
    echo: 8,
    echo_reply: 0,
    own: "own4",
    allowed: "allowed4",
    pinned: "pinned4",
    flows: "flows4",
};
const IP6: Family = Family {
    ethertype: 0x86dd,
    source: 8,
    destination: 24,
    length: 16,
    second: [12, 13, 14],
    icmp: 58,
    echo: 128,
    echo_reply: 129,
    own: "own6",
    allowed: "allowed6",
    pinned: "pinned6",
    flows: "flows6",
};

impl Rule {
    /// Bytes of the frame's own header.
    fn frame(self, offset: u32, length: u32) -> Self {
        /// NFT_PAYLOAD_LL_HEADER
        const LINK: u32 = 0;
        let load = Attributes::new().big(1, 1).big(2, LINK).big(3, offset).big(4, length);
        self.expression("payload", &load)
    }

    fn network(self, offset: u32, length: u32, register: u32) -> Self {
        self.payload(Base::Network, offset, length, register)
    }

    fn transport(self, offset: u32, length: u32, register: u32) -> Self {
        self.payload(Base::Transport, offset, length, register)
    }

    /// The key of a flow: the other's address and port, and the container's port, at these places of the headers.
    fn flow(self, family: &Family, address: u32, other: u32, own: u32) -> Self {
        let [protocol, first, second] = family.second;
        self.network(address, family.length, 1)
            .meta(Meta::Protocol, protocol)
            .transport(other, 2, first)
            .transport(own, 2, second)
    }

    /// Leads to another chain, for good.
    pub(super) fn leads(self, chain: &str) -> Self {
        const GOTO: i32 = -4;
        let verdict = Attributes::new().big(1, GOTO as u32).string(2, chain);
        self.expression(
            "immediate",
            &Attributes::new().big(1, 0).nest(2, &Attributes::new().nest(2, &verdict)),
        )
    }

    /// Says to the sender that an administrator forbids it, as both families do.
    fn refused(self) -> Self {
        const ICMPX: u32 = 2;
        const PROHIBITED: u8 = 3;
        self.expression("reject", &Attributes::new().big(1, ICMPX).bytes(2, &[PROHIBITED]))
    }
}

/// Whoever speaks with another's hardware address is not heard at all.
pub(super) fn same_hardware(mac: &[u8; 6]) -> [Rule; 2] {
    const SENDER: u32 = 8;
    let frames = Rule::new().frame(6, 6).differs(1, mac).verdict(Verdict::Drop);
    let arp = Rule::new().ethertype(ARP).network(SENDER, 6, 1).differs(1, mac).verdict(Verdict::Drop);
    [frames, arp]
}

/// IPv6's way to ask for the hardware address of a neighbour and to tell one's own: on the same link and no further.
fn neighbours() -> Vec<Rule> {
    let within = |prefix: [u8; 2], mask: [u8; 2]| {
        let rule = Rule::new().network(IP6.destination, 2, 1).mask(1, &mask);
        rule.equal(1, &prefix).verdict(Verdict::Accept)
    };
    vec![
        within([0xfe, 0x80], [0xff, 0xc0]),
        within([0xff, 0x02], [0xff, 0xff]),
        Rule::new().network(IP6.destination, 16, 1).found_in(1, "near6").verdict(Verdict::Accept),
    ]
}

/// What a container sends.
fn leaving() -> Vec<Rule> {
    const SENDER: u32 = 14;
    const TARGET: u32 = 8;
    let mut rules =
        vec![Rule::new().ethertype(ARP).network(SENDER, 4, 1).found_in(1, IP4.own).verdict(Verdict::Accept)];
    let both = [&IP4, &IP6];
    rules.extend(both.map(|family| {
        let rule = Rule::new().ethertype(family.ethertype).network(family.source, family.length, 1);
        rule.missing_in(1, family.own).verdict(Verdict::Drop)
    }));
    let icmp = |kind: u8| {
        let rule = Rule::new().ethertype(IP6.ethertype).meta(Meta::Protocol, 1).equal(1, &[IP6.icmp]);
        rule.transport(0, 1, 1).equal(1, &[kind])
    };
    rules.push(icmp(NEIGHBOUR_SOLICITATION).leads("neighbours"));
    // Nobody else's address is told.
    rules.push(
        icmp(NEIGHBOUR_ADVERTISEMENT).transport(TARGET, 16, 1).found_in(1, IP6.own).leads("neighbours"),
    );
    for family in both {
        for set in [family.allowed, family.pinned] {
            let rule = Rule::new().ethertype(family.ethertype);
            let rule = rule.network(family.destination, family.length, 1).found_in(1, set);
            rules.push(rule.verdict(Verdict::Accept));
        }
        let rule = Rule::new().ethertype(family.ethertype).meta(Meta::Protocol, 1).differs(1, &[family.icmp]);
        let rule = rule.flow(family, family.destination, 2, 0).found_in(1, family.flows);
        rules.push(rule.verdict(Verdict::Accept));
        let rule = ping(family, family.echo_reply, family.destination).found_in(1, family.flows);
        rules.push(rule.verdict(Verdict::Accept));
    }
    rules.push(Rule::new().ethertype(IP4.ethertype).refused());
    rules.push(Rule::new().ethertype(IP6.ethertype).refused());
    rules.push(Rule::new().verdict(Verdict::Drop));
    rules
}

/// A ping's key: its number in place of both ports.
fn ping(family: &Family, kind: u8, address: u32) -> Rule {
    let rule = Rule::new().ethertype(family.ethertype).meta(Meta::Protocol, 1).equal(1, &[family.icmp]);
    rule.transport(0, 1, 1).equal(1, &[kind]).flow(family, address, 4, 4)
}

/// What comes to a container: it may be answered.
fn arriving() -> Vec<Rule> {
    const FLAGS: u32 = 13;
    let mut rules = Vec::new();
    for family in [&IP4, &IP6] {
        let of = || Rule::new().ethertype(family.ethertype).meta(Meta::Protocol, 1);
        let key = |rule: Rule| rule.flow(family, family.source, 0, 2);
        let ends = of().equal(1, &[TCP]).transport(FLAGS, 1, 1).mask(1, &[FIN_OR_RST]).differs(1, &[0]);
        rules.push(key(ends).learn(family.flows, ENDING).verdict(Verdict::Accept));
        // Only what is known already: who sends a single packet from anywhere must not fill the set for long.
        let goes_on = key(of().equal(1, &[TCP])).found_in(1, family.flows);
        rules.push(goes_on.learn(family.flows, CONNECTION).verdict(Verdict::Accept));
        rules.push(key(of().differs(1, &[family.icmp])).learn(family.flows, ANY).verdict(Verdict::Accept));
        rules.push(ping(family, family.echo, family.source).learn(family.flows, PING));
    }
    rules
}
