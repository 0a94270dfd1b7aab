//! The packet filter's table, as nft(8) sees it, on machines of the tests' own.

mod common;

use common::{bridge, machine, parse, shell};
use kapsel_network::description::Bridge;
use kapsel_network::nftables::elements::{Port, Published};
use kapsel_network::nftables::filter::{Filter, State};
use serde_json::json;

const RULESET: &str = include_str!("ruleset.nft");
const LIST: &str = "nft list table inet kapsel";

fn port(container: &str, host: u16, address: &str) -> Published {
    parse(&json!({
        "container": container, "protocol": "tcp", "hostPort": host, "address": address, "containerPort": 80,
    }))
}

fn network(number: u8) -> Bridge {
    parse(&bridge(number))
}

#[test]
fn the_table_is_what_nft_would_make_of_the_file() {
    let _host = machine();
    let mut filter = Filter::open("kapsel").unwrap();
    assert_eq!(filter.state().unwrap(), State::Absent);
    assert_eq!(filter.ensure().unwrap(), State::Absent);
    assert_eq!(filter.ensure().unwrap(), State::Whole);
    assert_eq!(shell(LIST), RULESET);
    // nft shows neither lengths nor byte order; what it makes of its own listing is the same.
    let ours = shell("nft --debug=netlink list table inet kapsel");
    filter.remove().unwrap();
    assert_eq!(shell(&format!("nft -f {}/tests/ruleset.nft", env!("CARGO_MANIFEST_DIR"))), "");
    let theirs = shell("nft --debug=netlink list table inet kapsel");
    let rules = |text: &str| {
        let line = |line: &&str| line.trim_start().starts_with('[');
        text.lines().filter(line).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rules(&ours), rules(&theirs));
    assert!(rules(&ours).len() > 100);
}

#[test]
fn a_network_is_elements_and_goes_without_trace() {
    let _host = machine();
    let mut filter = Filter::open("kapsel").unwrap();
    filter.ensure().unwrap();
    let mut other = network(8);
    (other.internal, other.open, other.communication, other.masquerade) = (true, true, false, false);
    filter.admit(&[&other], &[]).unwrap();
    let before = shell(LIST);
    for _ in 0..2 {
        filter.admit(&[&network(7)], &[]).unwrap();
    }
    let shown = shell(LIST);
    for part in [
        "\"kbr7\" . \"kbr7\"",
        "elements = { \"kbr8\" }",
        "elements = { 10.7.0.0/24 }",
        "elements = { fd00:7::/64 }",
        "10.7.0.0/24 . \"kbr7\"",
        "fd00:8::/64 . \"kbr8\"",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("\"kbr8\" . \"kbr8\""));
    let set = shown.split("set bridges").nth(1).unwrap().split("set internal").next().unwrap();
    assert!(set.contains("\"kbr7\"") && set.contains("\"kbr8\""), "{set}");
    filter.remove_bridge("kbr7").unwrap();
    filter.remove_bridge("kbr7").unwrap();
    assert_eq!(shell(LIST), before);
    filter.remove_bridge("kbr8").unwrap();
    assert_eq!(shell(LIST), RULESET);
    filter.remove().unwrap();
    filter.remove().unwrap();
    assert_eq!(shell("nft list ruleset"), "");
}

#[test]
fn neighbouring_networks_come_and_go_by_themselves() {
    let _host = machine();
    let mut filter = Filter::open("kapsel").unwrap();
    filter.ensure().unwrap();
    let masquerading = |number| {
        let subnets = [format!("10.9.{number}.0/24"), format!("fd00:0:0:{number}::/64")];
        Bridge { subnets: subnets.map(|subnet| subnet.parse().unwrap()).to_vec(), ..network(number) }
    };
    filter.admit(&[&masquerading(9)], &[]).unwrap();
    let alone = shell(LIST);
    for around in [[8, 7], [7, 8]] {
        for number in around {
            filter.admit(&[&masquerading(number)], &[]).unwrap();
        }
        for number in around {
            filter.remove_bridge(&format!("kbr{number}")).unwrap();
        }
        assert_eq!(shell(LIST), alone);
    }
}

#[test]
fn ports_are_published_all_or_none_and_taken_back_by_whose_they_are() {
    let _host = machine();
    let mut filter = Filter::open("kapsel").unwrap();
    filter.ensure().unwrap();
    let id = "f".repeat(64);
    let local: Published = parse(&json!({
        "container": id, "protocol": "udp", "hostAddress": "127.0.0.1", "hostPort": 53,
        "address": "10.7.0.2", "containerPort": 5353,
    }));
    let six: Published = parse(&json!({
        "container": id, "protocol": "sctp", "hostAddress": "fd00::1", "hostPort": 9,
        "address": "fd00:7::2", "containerPort": 99,
    }));
    let mine = [port(&id, 8080, "10.7.0.2"), port(&id, 8080, "fd00:7::2"), local, six];
    filter.admit(&[], &mine).unwrap();
    let shown = shell(LIST);
    for part in [
        format!("elements = {{ tcp . 8080 comment \"{id}\" : 10.7.0.2 . 80 }}"),
        format!("tcp . 8080 comment \"{id}\" : fd00:7::2 . 80"),
        format!("127.0.0.1 . udp . 53 comment \"{id}\" : 10.7.0.2 . 5353"),
        format!("fd00::1 . sctp . 9 comment \"{id}\" : fd00:7::2 . 99"),
    ] {
        assert!(shown.contains(&part), "{part}: {shown}");
    }
    let error =
        filter.admit(&[], &[port("other", 9090, "10.7.0.3"), port("other", 8080, "10.7.0.3")]).unwrap_err();
    assert_eq!(error.code, "PORT_IN_USE");
    assert_eq!(error.message, format!("port 8080/tcp is published by {id}"));
    assert_eq!(shell(LIST), shown, "none of the two is there");
    let mut published = filter.published().unwrap();
    published.sort_by_key(|published| mine.iter().position(|mine| mine == published));
    assert_eq!(published, mine);
    // Nobody takes away what is another's.
    assert_eq!(filter.unpublish("other", None).unwrap(), []);
    assert_eq!(filter.unpublish(&id, Some(&mine[..1])).unwrap(), mine[..1]);
    filter.admit(&[], &[port("other", 8080, "10.7.0.3")]).unwrap();
    assert_eq!(filter.unpublish(&id, Some(&mine)).unwrap().len(), 3);
    assert_eq!(filter.unpublish(&id, None).unwrap(), []);
    assert_eq!(filter.published().unwrap(), [port("other", 8080, "10.7.0.3")]);
}

#[test]
fn what_is_gone_with_the_table_is_gone() {
    let _host = machine();
    let mut filter = Filter::open("kapsel").unwrap();
    for broken in ["", "nft add table inet kapsel"] {
        shell(broken);
        assert_eq!(filter.published().unwrap(), []);
        assert_eq!(filter.unpublish("a", None).unwrap(), []);
        kapsel_network::connect::remove_bridge("kapsel", "kbr7").unwrap();
    }
}

#[test]
fn what_cannot_be_a_port_is_refused() {
    let _host = machine();
    let mut filter = Filter::open("kapsel").unwrap();
    filter.ensure().unwrap();
    let with = |host: &str, address: &str, number: u16| {
        let port = Port { host_address: Some(host.parse().unwrap()), ..port("a", number, address).port };
        Published { container: "a".to_owned(), port }
    };
    for bad in
        [with("::1", "10.7.0.2", 80), with("127.0.0.1", "fd00::2", 80), with("127.0.0.1", "10.7.0.2", 0)]
    {
        assert_eq!(filter.admit(&[], &[bad]).unwrap_err().code, "PORT_INVALID");
    }
    filter.admit(&[], &[with("0.0.0.0", "10.7.0.2", 80)]).unwrap();
    assert!(shell(LIST).contains("elements = { tcp . 80 comment \"a\" : 10.7.0.2 . 80 }"));
    let taken = filter.admit(&[], &[port("b", 80, "10.7.0.3")]).unwrap_err();
    assert_eq!(taken.message, "port 80/tcp is published by a");
    assert_eq!(Filter::open("a b").err().unwrap().code, "TABLE_INVALID");
}

#[test]
fn a_table_that_others_changed_is_made_anew_with_what_it_holds() {
    let _host = machine();
    let mut filter = Filter::open("kapsel").unwrap();
    filter.ensure().unwrap();
    filter.admit(&[&network(7)], &[]).unwrap();
    filter.admit(&[], &[port("a", 80, "10.7.0.2")]).unwrap();
    let whole = shell(LIST);
    for damage in [
        "nft flush table inet kapsel",
        "nft flush chain inet kapsel through",
        "nft add rule inet kapsel through drop",
        "nft delete table inet kapsel; nft add table inet kapsel",
    ] {
        assert_eq!(shell(damage), "", "{damage}");
        assert_eq!(filter.state().unwrap(), State::Changed, "{damage}");
        assert_eq!(filter.ensure().unwrap(), State::Changed);
        let lost = damage.contains("delete");
        assert_eq!(shell(LIST), if lost { RULESET } else { &whole }, "{damage}");
    }
}

#[test]
fn a_flushed_table_is_repaired_and_a_whole_one_left_alone() {
    let _host = machine();
    let mut filter = Filter::open("kapsel").unwrap();
    let networks = [network(7), network(8)];
    let ports: Vec<_> = (0..2000).map(|number| port("a", 1000 + number, "10.7.0.2")).collect();
    assert!(filter.repair(&networks, &ports).unwrap());
    let whole = shell(LIST);
    assert!(!filter.repair(&networks, &ports).unwrap());
    let generation = || shell("nft --debug=mnl list tables 2>&1 | grep -o 'genid [0-9]*' | head -1");
    let before = generation();
    assert!(!filter.repair(&networks, &ports).unwrap());
    assert_eq!(generation(), before);
    shell("nft add table inet other");
    for damage in [
        "nft flush ruleset",
        "nft flush set inet kapsel bridges",
        "nft delete table inet kapsel",
        "nft delete element inet kapsel any4 '{ tcp . 1000 }'",
        "nft flush table inet kapsel",
    ] {
        assert_eq!(shell(damage), "", "{damage}");
        assert!(filter.repair(&networks, &ports).unwrap(), "{damage}");
        assert_eq!(shell(LIST), whole, "{damage}");
    }
    // Another engine's.
    filter.admit(&[], &[port("b", 99, "10.9.0.2")]).unwrap();
    assert!(!filter.repair(&networks, &ports).unwrap());
    shell("nft flush table inet kapsel");
    assert!(filter.repair(&networks, &ports).unwrap());
    assert_eq!(filter.published().unwrap().len(), 2001);
    // Ours already, as after a repair that was faster than the container itself.
    filter.admit(&[], &[port("b", 98, "10.9.0.2"), port("b", 99, "10.9.0.2")]).unwrap();
    assert_eq!(filter.published().unwrap().len(), 2002);
}

#[test]
fn several_that_begin_at_once_make_one_table() {
    let _host = machine();
    let namespace = common::Place(std::fs::File::open("/proc/thread-self/ns/net").unwrap().into());
    std::thread::scope(|scope| {
        for number in 0..8 {
            let namespace = &namespace;
            scope.spawn(move || {
                kapsel_network::namespace::inside(namespace.fd(), || {
                    let mut filter = Filter::open("kapsel")?;
                    filter.ensure()?;
                    filter.admit(&[&network(number)], &[])?;
                    filter.admit(&[], &[port(&number.to_string(), 80 + u16::from(number), "10.7.0.2")])?;
                    filter.admit(&[], &[port(&number.to_string(), 90 + u16::from(number), "10.7.0.2")])?;
                    filter
                        .unpublish(&number.to_string(), Some(&[port("", 80 + u16::from(number), "10.7.0.2")]))
                })
                .unwrap();
            });
        }
    });
    let shown = shell(LIST);
    assert_eq!(shown.matches("dnat ip to").count(), 2, "{shown}");
    assert_eq!(shown.matches("comment").count(), 8, "{shown}");
}
