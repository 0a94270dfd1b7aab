//! What else is on this machine that has to do with containers' packets: facts, of which others make advice. It looks and
//! changes nothing.

use std::{collections::BTreeSet, fs};

use serde::Serialize;

use crate::{
    error::Result,
    netlink::{Attributes, Family, Socket, attribute, read_u32, text},
    nftables::{
        Kind, TABLE,
        filter::{Filter, State},
        message,
    },
};

/// What was found in the calling thread's network namespace.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// Names of every interface.
    pub interfaces: Vec<String>,
    /// Our own table: `whole`, `changed`, or `absent`, as before the first container.
    pub table: &'static str,
    /// Tables of others.
    pub others: Vec<Table>,
    /// Chains of others that drop what is forwarded unless one of their rules accepts it: our accepting does not count there.
    /// Where rules of their table name all of our bridges, somebody has seen to it.
    pub dropping: Vec<Chain>,
    /// Who made them, as far as names tell: `docker`, `podman`, `firewalld`, `ufw`, `kubernetes`, `libvirt`, `lxd`.
    pub managers: BTreeSet<&'static str>,
    /// Tables of the old iptables, whose chains are not looked into.
    pub legacy_tables: BTreeSet<String>,
    /// Whether IPv4 is forwarded.
    pub ip_forward: bool,
    /// Whether IPv6 is forwarded.
    pub ipv6_forward: bool,
    /// Whether frames that are bridged pass the packet filter; absent: br_netfilter is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge_netfilter: Option<bool>,
    /// Connections that are tracked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracked: Option<u64>,
    /// The most that can be; from there on new ones are dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracked_at_most: Option<u64>,
    /// The first port that ordinary users may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unprivileged_port_start: Option<u64>,
}

/// A table of nf_tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// `ip`, `ip6`, `inet`, `arp`, `bridge` or `netdev`.
    pub family: &'static str,
    /// Its name.
    pub name: String,
}

/// A chain of nf_tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Its table's family.
    pub family: &'static str,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
}

/// Who is known by how the names of its tables or chains begin.
const MANAGERS: [(&str, &str); 9] = [
    ("DOCKER", "docker"),
    ("docker-", "docker"),
    ("NETAVARK", "podman"),
    ("netavark", "podman"),
    ("firewalld", "firewalld"),
    ("ufw", "ufw"),
    ("KUBE-", "kubernetes"),
    ("LIBVIRT", "libvirt"),
    ("lxd", "lxd"),
];

/// Looks around. `table`: our own. `bridges`: names of those that containers are at; a rule that names `kbr-` names every one
/// that begins so.
pub fn doctor(table: &str, bridges: &[String]) -> Result<Findings> {
    let state = match Filter::open(table)?.state()? {
        State::Whole => "whole",
        State::Changed => "changed",
        State::Absent => "absent",
    };
    let mut findings = Findings {
        interfaces: interfaces(),
        table: state,
        others: Vec::new(),
        dropping: Vec::new(),
        managers: BTreeSet::new(),
        legacy_tables: BTreeSet::new(),
        ip_forward: number("/proc/sys/net/ipv4/ip_forward") == Some(1),
        ipv6_forward: number("/proc/sys/net/ipv6/conf/all/forwarding") == Some(1),
        bridge_netfilter: number("/proc/sys/net/bridge/bridge-nf-call-iptables").map(|value| value == 1),
        tracked: number("/proc/sys/net/netfilter/nf_conntrack_count"),
        tracked_at_most: number("/proc/sys/net/netfilter/nf_conntrack_max"),
        unprivileged_port_start: number("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
    };
    for names in ["ip_tables_names", "ip6_tables_names"] {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{names}")).unwrap_or_default();
        findings.legacy_tables.extend(text.lines().map(str::to_owned));
    }
    findings.look_at_tables(table)?;
    if !bridges.is_empty() {
        findings.look_at_rules(bridges)?;
    }
    Ok(findings)
}

fn interfaces() -> Vec<String> {
    // Two lines of headings come first.
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

impl Findings {
    fn look_at_tables(&mut self, own: &str) -> Result<()> {
        let mut socket = Socket::open(Family::Netfilter)?;
        let guard = format!("{own}-");
        let is_own = |name: &str| name == own || name.starts_with(&guard);
        let all = |kind| message(0, kind, 0, &Attributes::new());
        for entry in socket.list("cannot list the tables of the packet filter", all(Kind::GetTable))? {
            let Some((family, attributes)) = split(&entry) else { continue };
            let name = attribute(attributes, TABLE).map(text).unwrap_or_default();
            if !is_own(&name) {
                self.recognise(&name);
                self.others.push(Table { family, name });
            }
        }
        for entry in socket.list("cannot list the chains of the packet filter", all(Kind::GetChain))? {
            let Some((family, attributes)) = split(&entry) else { continue };
            let table = attribute(attributes, TABLE).map(text).unwrap_or_default();
            if is_own(&table) {
                continue;
            }
            let name = attribute(attributes, NAME).map(text).unwrap_or_default();
            self.recognise(&name);
            if is_dropping(attributes) && ["ip", "ip6", "inet"].contains(&family) {
                self.dropping.push(Chain { family, table, name });
            }
        }
        Ok(())
    }

    fn look_at_rules(&mut self, bridges: &[String]) -> Result<()> {
        let mut socket = Socket::open(Family::Netfilter)?;
        let rules = message(0, Kind::GetRule, 0, &Attributes::new());
        let rules = socket.list("cannot list the rules of the packet filter", rules)?;
        self.dropping.retain(|chain| {
            let of_table = || {
                rules.iter().filter(|rule| {
                    split(rule).is_some_and(|(family, attributes)| {
                        let table = attribute(attributes, TABLE).map(text);
                        family == chain.family && table.as_ref() == Some(&chain.table)
                    })
                })
            };
            let named = |word: &str| of_table().any(|rule| mentions(rule, word));
            let is_named = |bridge: &String| named(bridge) || bridge.starts_with(MADE_UP) && named(MADE_UP);
            !bridges.iter().all(is_named)
        });
        Ok(())
    }

    fn recognise(&mut self, name: &str) {
        let known = MANAGERS.iter().filter(|(beginning, _)| name.starts_with(beginning));
        self.managers.extend(known.map(|(_, manager)| *manager));
    }
}

/// What the names of bridges begin with that nobody has named.
const MADE_UP: &str = "kbr-";

fn mentions(rule: &[u8], word: &str) -> bool {
    rule.windows(word.len()).any(|part| part == word.as_bytes())
}

/// NFTA_CHAIN_NAME
const NAME: u16 = 3;

/// Whether it is called for what is forwarded and drops what none of its rules accepts.
fn is_dropping(chain: &[u8]) -> bool {
    // NFTA_CHAIN_HOOK, NFTA_HOOK_HOOKNUM, NFTA_CHAIN_POLICY; NF_INET_FORWARD, NF_DROP.
    const HOOK: u16 = 4;
    const NUMBER: u16 = 1;
    const POLICY: u16 = 5;
    const FORWARD: u32 = 2;
    const DROP: u32 = 0;
    let number = |bytes: &[u8]| read_u32(bytes).map(u32::from_be);
    let hook = attribute(chain, HOOK).and_then(|hook| attribute(hook, NUMBER)).and_then(number);
    hook == Some(FORWARD) && attribute(chain, POLICY).and_then(number) == Some(DROP)
}

/// The family and the attributes behind struct nfgenmsg.
fn split(entry: &[u8]) -> Option<(&'static str, &[u8])> {
    let (header, attributes) = entry.split_first_chunk::<4>()?;
    let family = match header[0] {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => return None,
    };
    Some((family, attributes))
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
