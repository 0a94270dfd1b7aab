//! Reports of IPv6 groups (RFC 3810), which every container sends twice when it starts, and which a bridge sends on to all
//! others: of five hundred containers each start costs a thousand packets. Only routers of multicast want them, and those
//! ask. So where nobody has asked lately, they end at the bridge.
//!
//! It is a table of the bridges' own family. What it lacks costs time and nothing else: whoever removes it, or a kernel
//! that has none (`CONFIG_NF_TABLES_BRIDGE`), is not complained of.

use super::expression::{Base, Meta, Rule, Verdict};
use super::table::{Hook, Table};
use super::transaction;
use crate::netlink::{Attributes, Socket};

/// `NFPROTO_BRIDGE`
const BRIDGE: u8 = 7;
/// How the host's ends of containers' interfaces are called: kv and a number (src/engine/networks/wiring.ts).
const PORTS: &[u8] = b"kv";
/// Who has asked, by the ethertype of what is asked for: one element. It is forgotten after the 260 seconds that a router
/// takes members for members (RFC 3810, 9.4).
const SET: &str = "queriers";
const FORGOTTEN: u64 = 260;

const IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
const QUERY: u8 = 130;
const REPORT: u8 = 143;

/// Makes the table, in the place of one that is there.
pub(super) fn hush(socket: &mut Socket, name: &str) {
    // NF_BR_PRE_ROUTING, NF_BR_LOCAL_OUT and NF_BR_PRI_FILTER_BRIDGED of linux/netfilter_bridge.h
    const ARRIVING: u32 = 0;
    const OWN: u32 = 3;
    const FILTER: i32 = -200;
    let hook = |number| Hook { kind: "filter", number, priority: FILTER, device: None };
    let table = Table { family: BRIDGE, name: name.to_owned() };
    let _ = transaction(socket, None, |batch| {
        table.make_anew(batch);
        table.set(batch, &queriers());
        table.chain(batch, "arriving", Some(&hook(ARRIVING)));
        table.rule(batch, "arriving", &asked());
        table.rule(batch, "arriving", &unasked());
        table.chain(batch, "own", Some(&hook(OWN)));
        table.rule(batch, "own", &asked());
    });
}

/// Takes the table away.
pub(super) fn unhush(socket: &mut Socket, name: &str) {
    let table = Table { family: BRIDGE, name: name.to_owned() };
    let _ = transaction(socket, None, |batch| table.remove(batch));
}

fn queriers() -> Attributes {
    // NFTA_SET_NAME, _FLAGS, _KEY_TYPE, _KEY_LEN, _DESC and _ID; NFTA_SET_DESC_SIZE
    const TIMEOUT_AND_EVAL: u32 = 0x10 | 0x20;
    const ETHERTYPE: u32 = 10;
    let one = Attributes::new().big(1, 1_u32);
    let named = Attributes::new().string(2, SET).big(3, TIMEOUT_AND_EVAL);
    named.big(4, ETHERTYPE).big(5, 2_u32).nest(9, &one).big(10, 1_u32)
}

fn asked() -> Rule {
    icmpv6(QUERY).meta(Meta::Ethertype, 1).learn(SET, FORGOTTEN)
}

fn unasked() -> Rule {
    let report = Rule::new().meta(Meta::InputName, 1).equal(1, PORTS).0;
    Rule(report.and(&icmpv6(REPORT).0)).meta(Meta::Ethertype, 1).missing_in(1, SET).verdict(Verdict::Drop)
}

fn icmpv6(kind: u8) -> Rule {
    let icmpv6 = Rule::new().ethertype(IPV6).meta(Meta::Protocol, 1).equal(1, &[ICMPV6]);
    icmpv6.payload(Base::Transport, 0, 1, 1).equal(1, &[kind])
}
