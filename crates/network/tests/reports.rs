//! Reports of IPv6 groups: they end at the bridge until somebody asks for them.

mod common;

use std::time::{Duration, Instant};

use common::{Place, bridge, interface, machine, parse, shell};
use kapsel_network::attach::attach;
use kapsel_network::netlink::Socket;
use kapsel_network::nftables::filter::Filter;

const TABLE: &str = "table bridge kapsel {
\tset queriers {
\t\ttype ether_type
\t\tsize 1
\t\tflags dynamic,timeout
\t}

\tchain arriving {
\t\ttype filter hook prerouting priority filter; policy accept;
\t\ticmpv6 type mld-listener-query update @queriers { meta protocol timeout 4m20s }
\t\tiifname \"kv*\" icmpv6 type mld2-listener-report meta protocol != @queriers drop
\t}

\tchain own {
\t\ttype filter hook output priority filter; policy accept;
\t\ticmpv6 type mld-listener-query update @queriers { meta protocol timeout 4m20s }
\t}
}
";

fn container(host: &mut Socket, number: u8) -> Place {
    let place = Place::new();
    let mut described = interface(&bridge(7), number);
    described["peer"] = format!("kv7x{number}").into();
    attach(host, place.fd(), &parse(&described)).unwrap();
    place
}

/// Packets to groups of IPv6 that a container has received when another has come.
fn heard(host: &mut Socket, by: &Place, comes: u8) -> u32 {
    let received = || {
        let counted = by.shell("grep -o 'Ip6InMcastPkts.*' /proc/net/dev_snmp6/eth0 | grep -o '[0-9]*$'");
        counted.trim().parse::<u32>().unwrap()
    };
    let settle = || std::thread::sleep(Duration::from_millis(1500));
    settle();
    let before = received();
    let _other = container(host, comes);
    settle();
    received() - before
}

fn somebody_has_asked() -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        if shell("nft list set bridge kapsel queriers").contains("ip6") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
fn nobody_hears_who_listens_to_what_until_somebody_asks() {
    let mut host = machine();
    let mut filter = Filter::open("kapsel").unwrap();
    filter.ensure().unwrap();
    assert_eq!(shell("nft list table bridge kapsel"), TABLE);
    let one = container(&mut host, 2);
    assert_eq!(heard(&mut host, &one, 3), 0);
    // A container that is a router of multicast: here a bridge that asks by the interface that it has.
    let router = container(&mut host, 4);
    let asks = "ip link add q type bridge mcast_querier 1 mcast_startup_query_interval 10";
    assert_eq!(
        router.shell(&format!("{asks} && ip addr flush dev eth0 && ip link set eth0 master q && ip addr add fe80::4/64 dev q nodad && ip link set q up")),
        ""
    );
    assert!(somebody_has_asked());
    assert!(heard(&mut host, &one, 5) >= 2);
    filter.remove().unwrap();
    assert_eq!(shell("nft list ruleset"), "");
}

#[test]
fn the_machine_may_be_who_asks() {
    let mut host = machine();
    Filter::open("kapsel").unwrap().ensure().unwrap();
    let _one = container(&mut host, 2);
    let asks =
        "ip link set kbr7 type bridge mcast_snooping 1 mcast_querier 1 mcast_startup_query_interval 10";
    assert_eq!(shell(asks), "");
    assert!(somebody_has_asked());
}
