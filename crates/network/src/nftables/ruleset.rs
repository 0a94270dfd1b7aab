//! The table: which sets, chains and rules there are. A container or a network is a few elements in its sets.
//!
//! As nft(8) writes it, see `tests/ruleset.nft`. IPv4 and IPv6 have the same rules, each with sets of its own.

use super::expression::{Base, LIST_ELEMENT, Meta, Rule, Tracked, Verdict, interface_name};
use crate::netlink::Attributes;

/// A set, or a map where it has data.
pub(crate) struct Set {
    pub name: &'static str,
    pub key: &'static [Field],
    pub data: &'static [Field],
    pub interval: bool,
}

/// A part of a key: nft's number of its type, and its length in bytes.
pub(crate) type Field = (u32, u32);

const IPV4: Field = (7, 4);
const IPV6: Field = (8, 16);
const PROTOCOL: Field = (12, 1);
const PORT: Field = (13, 2);
const INTERFACE: Field = (41, 16);

const fn set(name: &'static str, key: &'static [Field], interval: bool) -> Set {
    Set { name, key, data: &[], interval }
}

const fn map(name: &'static str, key: &'static [Field], data: &'static [Field]) -> Set {
    Set { name, key, data, interval: false }
}

/// Every set.
pub(crate) const SETS: [Set; 12] = [
    // Every bridge of ours.
    set("bridges", &[INTERFACE], false),
    // Those whose containers reach nobody else, those whose containers reach those of others of the kind, and pairs.
    set("internal", &[INTERFACE], false),
    set("open", &[INTERFACE], false),
    set("pairs", &[INTERFACE, INTERFACE], false),
    // What is masqueraded, and hidden from outside.
    set("subnet4", &[IPV4], true),
    set("subnet6", &[IPV6], true),
    // The subnet of each bridge.
    set("net4", &[IPV4, INTERFACE], true),
    set("net6", &[IPV6, INTERFACE], true),
    // Published ports: at every address of the host, and at one.
    map("any4", &[PROTOCOL, PORT], &[IPV4, PORT]),
    map("any6", &[PROTOCOL, PORT], &[IPV6, PORT]),
    map("host4", &[IPV4, PROTOCOL, PORT], &[IPV4, PORT]),
    map("host6", &[IPV6, PROTOCOL, PORT], &[IPV6, PORT]),
];

impl Set {
    /// As it is made. `id`: its number within the transaction.
    pub(crate) fn encode(&self, id: u32) -> Attributes {
        // NFTA_SET_*
        const NAME: u16 = 2;
        const FLAGS: u16 = 3;
        const KEY_TYPE: u16 = 4;
        const KEY_LENGTH: u16 = 5;
        const DATA_TYPE: u16 = 6;
        const DATA_LENGTH: u16 = 7;
        const DESCRIPTION: u16 = 9;
        const ID: u16 = 10;
        const USERDATA: u16 = 13;
        // Type and length of NFTNL_UDATA_SET_KEYBYTEORDER: without it nft(8) would not show interfaces' names.
        const BYTE_ORDER: [u8; 2] = [0, 4];
        const OF_THE_HOST: u32 = 1;
        // NFT_SET_*
        const INTERVAL: u32 = 0x4;
        const MAP: u32 = 0x8;
        const CONCATENATION: u32 = 0x80;
        // NFTA_SET_DESC_CONCAT, NFTA_SET_FIELD_LEN
        const FIELDS: u16 = 2;
        const FIELD_LENGTH: u16 = 1;
        let several = self.interval && self.key.len() > 1;
        let mut flags = 0;
        for (on, flag) in [(self.interval, INTERVAL), (!self.data.is_empty(), MAP), (several, CONCATENATION)]
        {
            flags |= if on { flag } else { 0 };
        }
        let mut attributes = Attributes::new()
            .string(NAME, self.name)
            .big(FLAGS, flags)
            .big(KEY_TYPE, kind(self.key))
            .big(KEY_LENGTH, length(self.key))
            .big(ID, id);
        if !self.data.is_empty() {
            attributes = attributes.big(DATA_TYPE, kind(self.data)).big(DATA_LENGTH, length(self.data));
        }
        if self.key == [INTERFACE] {
            let order = [&BYTE_ORDER[..], &OF_THE_HOST.to_ne_bytes()].concat();
            attributes = attributes.bytes(USERDATA, &order);
        }
        if several {
            let fields = self.key.iter().fold(Attributes::new(), |list, (_, length)| {
                list.nest(LIST_ELEMENT, &Attributes::new().big(FIELD_LENGTH, *length))
            });
            attributes = attributes.nest(DESCRIPTION, &Attributes::new().nest(FIELDS, &fields));
        }
        attributes
    }
}

/// nft's number of a type; that of several fields has six bits for each.
fn kind(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |kind, (field, _)| kind << 6 | field)
}

/// Several fields take whole words of four bytes each.
fn length(fields: &[Field]) -> u32 {
    match fields {
        [(_, length)] => *length,
        _ => fields.iter().map(|(_, length)| length.next_multiple_of(4)).sum(),
    }
}

/// A chain, with its rules.
#[derive(Debug)]
pub(crate) struct Chain {
    pub name: &'static str,
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
    /// How many rules of other chains lead to it.
    pub leading: u32,
}

/// Where the kernel calls a chain: its type, `NF_INET_*`, and its place among others.
#[derive(Debug)]
pub(crate) struct Hook {
    pub kind: &'static str,
    pub number: u32,
    pub priority: i32,
}

impl Chain {
    /// As it is made.
    pub(crate) fn encode(&self) -> Attributes {
        // NFTA_CHAIN_*, NFTA_HOOK_*
        const NAME: u16 = 3;
        const HOOK: u16 = 4;
        const POLICY: u16 = 5;
        const TYPE: u16 = 7;
        const NUMBER: u16 = 1;
        const PRIORITY: u16 = 2;
        const ACCEPT: u32 = 1;
        let attributes = Attributes::new().string(NAME, self.name);
        let Some(hook) = &self.hook else { return attributes };
        let place = Attributes::new().big(NUMBER, hook.number).big(PRIORITY, hook.priority as u32);
        attributes.nest(HOOK, &place).big(POLICY, ACCEPT).string(TYPE, hook.kind)
    }
}

const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

/// What an address family's rules need to know.
struct Family {
    /// NFPROTO_*
    number: u8,
    /// Where the source and the destination are in the header, and how long they are.
    source: u32,
    destination: u32,
    length: u32,
    /// The registers of four bytes behind an address in register 1; the first by the name that nft gives it.
    second: u32,
    third: u32,
    subnet: &'static str,
    net: &'static str,
    any: &'static str,
    host: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        number: 2,
        source: 12,
        destination: 16,
        length: 4,
        second: 9,
        third: 10,
        subnet: "subnet4",
        net: "net4",
        any: "any4",
        host: "host4",
    },
    Family {
        number: 10,
        source: 8,
        destination: 24,
        length: 16,
        second: 2,
        third: 13,
        subnet: "subnet6",
        net: "net6",
        any: "any6",
        host: "host6",
    },
];

/// RTN_LOCAL: an address of the host.
const LOCAL: [u8; 4] = 2u32.to_ne_bytes();

impl Rule {
    fn of(self, family: &Family) -> Self {
        self.meta(Meta::Family, 1).equal(1, &[family.number])
    }

    fn source(self, family: &Family) -> Self {
        self.payload(Base::Network, family.source, family.length, 1)
    }

    fn destination(self, family: &Family) -> Self {
        self.payload(Base::Network, family.destination, family.length, 1)
    }

    fn port(self, register: u32) -> Self {
        self.payload(Base::Transport, 2, 2, register)
    }

    fn from(self, set: &str) -> Self {
        self.meta(Meta::InputName, 1).found_in(1, set)
    }

    fn to(self, set: &str) -> Self {
        self.meta(Meta::OutputName, 1).found_in(1, set)
    }

    fn not_from(self, set: &str) -> Self {
        self.meta(Meta::InputName, 1).missing_in(1, set)
    }

    fn not_to(self, set: &str) -> Self {
        self.meta(Meta::OutputName, 1).missing_in(1, set)
    }

    /// One of these bits (`IP_CT_*`) is set.
    fn has(self, key: Tracked, bits: u32) -> Self {
        self.tracked(key, 1).mask(1, &bits.to_ne_bytes()).differs(1, &[0; 4])
    }
}

/// Every chain, in the order that they can be made: rules lead to chains before them.
pub(crate) fn chains() -> Vec<Chain> {
    let hook = |kind, number, priority| Some(Hook { kind, number, priority });
    let local = || Rule::new().destination_type(1).equal(1, &LOCAL).verdict(Verdict::Goto("ports"));
    vec![
        Chain { name: "foreign", hook: hook("filter", PREROUTING, -300), rules: foreign(), leading: 0 },
        Chain { name: "ports", hook: None, rules: ports(), leading: 2 },
        Chain { name: "arriving", hook: hook("nat", PREROUTING, -100), rules: vec![local()], leading: 0 },
        Chain { name: "own", hook: hook("nat", OUTPUT, -100), rules: vec![local()], leading: 0 },
        Chain { name: "leaving", hook: hook("nat", POSTROUTING, 100), rules: leaving(), leading: 0 },
        Chain { name: "through", hook: hook("filter", FORWARD, 0), rules: through(), leading: 0 },
    ]
}

/// Nobody but the host reaches its loopback addresses or has one for a source, which route_localnet would allow at the
/// bridges (CVE-2020-8558); and other machines do not reach addresses of containers.
fn foreign() -> Vec<Rule> {
    let loopback = interface_name("lo");
    let local = |offset| {
        let rule = Rule::new().meta(Meta::InputName, 1).differs(1, &loopback).of(&FAMILIES[0]);
        rule.payload(Base::Network, offset, 1, 1).equal(1, &[127]).verdict(Verdict::Drop)
    };
    let mut rules = vec![
        local(FAMILIES[0].destination),
        local(FAMILIES[0].source),
        Rule::new().from("bridges").verdict(Verdict::Accept),
        Rule::new().meta(Meta::InputName, 1).equal(1, &loopback).verdict(Verdict::Accept),
    ];
    rules.extend(FAMILIES.iter().map(|family| {
        let rule = Rule::new().of(family).destination(family).found_in(1, family.subnet);
        rule.destination_type(1).differs(1, &LOCAL).verdict(Verdict::Drop)
    }));
    rules
}

/// A port of one address before the same of every address.
fn ports() -> Vec<Rule> {
    let mut localhost = [0; 16];
    localhost[15] = 1;
    let six = &FAMILIES[1];
    // There is no route_localnet of IPv6: who is asked there answers himself.
    let mut rules = vec![Rule::new().of(six).destination(six).equal(1, &localhost).verdict(Verdict::Return)];
    rules.extend(FAMILIES.iter().map(|family| {
        let rule = Rule::new().of(family).destination(family).meta(Meta::Protocol, family.second);
        let first = family.second;
        rule.port(family.third).mapped(1, family.host).dnat(family.number, 1, first)
    }));
    rules.extend(FAMILIES.iter().map(|family| {
        let rule = Rule::new().meta(Meta::Protocol, 1).port(9);
        rule.mapped(1, family.any).dnat(family.number, 1, family.second)
    }));
    rules
}

/// Whose source must be the machine's: the host's loopback addresses, a container that reaches one of its own network by
/// a port of the host, and what leaves for other machines, but not to groups.
fn leaving() -> Vec<Rule> {
    const DNAT: u32 = 1 << 5;
    let [four, six] = &FAMILIES;
    let mut rules = vec![
        Rule::new()
            .to("bridges")
            .of(four)
            .payload(Base::Network, four.source, 1, 1)
            .equal(1, &[127])
            .masquerade(),
    ];
    rules.extend(FAMILIES.iter().map(|family| {
        let rule = Rule::new().has(Tracked::Status, DNAT).of(family).source(family);
        rule.meta(Meta::OutputName, family.second).found_in(1, family.net).masquerade()
    }));
    let leaves =
        |family: &Family| Rule::new().of(family).source(family).found_in(1, family.subnet).not_to("bridges");
    rules.push(
        leaves(four)
            .payload(Base::Network, four.destination, 4, 1)
            .mask(1, &[0xf0, 0, 0, 0])
            .differs(1, &[0xe0, 0, 0, 0])
            .masquerade(),
    );
    rules.push(leaves(six).payload(Base::Network, six.destination, 1, 1).differs(1, &[0xff]).masquerade());
    rules
}

/// Who reaches whom.
fn through() -> Vec<Rule> {
    const RELATED_OR_ESTABLISHED: u32 = 0b110;
    const DNAT: u32 = 1 << 5;
    let rule = Rule::new;
    vec![
        // First what most packets are.
        rule().has(Tracked::State, RELATED_OR_ESTABLISHED).verdict(Verdict::Accept),
        rule().not_from("bridges").not_to("bridges").verdict(Verdict::Accept),
        rule()
            .meta(Meta::InputName, 1)
            .meta(Meta::OutputName, 2)
            .found_in(1, "pairs")
            .verdict(Verdict::Accept),
        rule().from("internal").verdict(Verdict::Drop),
        rule().to("internal").verdict(Verdict::Drop),
        rule().has(Tracked::Status, DNAT).verdict(Verdict::Accept),
        rule().from("open").to("open").verdict(Verdict::Accept),
        rule().to("bridges").verdict(Verdict::Drop),
    ]
}
