//! Interfaces of containers, on machines of the tests' own.

mod common;

use common::{Place, bridge, container, interface, machine, output, parse, shell, since};
use kapsel_network::attach::{attach, detach, route};
use kapsel_network::bridge::{ensure, forward, remove};
use kapsel_network::description::Interface;
use kapsel_network::netlink::{Family, Socket};
use kapsel_network::sysctl::Parameters;
use serde_json::{Value, json};

#[test]
fn a_bridge_is_made_once_and_has_what_was_asked_for() {
    let mut host = machine();
    let index = ensure(&mut host, &Parameters::open().unwrap(), &parse(&bridge(7))).unwrap();
    assert_eq!(ensure(&mut host, &Parameters::open().unwrap(), &parse(&bridge(7))).unwrap(), index);
    let shown = shell("ip -d addr show kbr7");
    for part in [
        "02:00:00:00:00:07",
        "mtu 1400",
        ",UP",
        "stp_state 0",
        "mcast_snooping 0",
        "10.7.0.1/24 brd 10.7.0.255",
        "fd00:7::1/64",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("tentative"), "{shown}");
    let settings = shell("cd /proc/sys/net/ipv4/conf/kbr7; cat route_localnet rp_filter");
    assert_eq!(settings, "1\n2\n");
    remove(&mut host, "kbr7").unwrap();
    remove(&mut host, "kbr7").unwrap();
    assert!(shell("ip link show kbr7").contains("does not exist"));
}

#[test]
fn a_bridge_that_several_make_at_once_is_one() {
    let _host = machine();
    let namespace = Place(std::fs::File::open("/proc/thread-self/ns/net").unwrap().into());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                kapsel_network::namespace::inside(namespace.fd(), || {
                    let mut socket = Socket::open(Family::Route)?;
                    ensure(&mut socket, &Parameters::open().unwrap(), &parse(&bridge(7)))
                })
                .unwrap();
            });
        }
    });
    assert_eq!(shell("ip -o addr show dev kbr7 scope global").lines().count(), 2);
}

#[test]
fn an_interface_of_another_kind_is_left_alone() {
    let mut host = machine();
    shell("ip link add kbr7 type veth peer name other");
    let error = ensure(&mut host, &Parameters::open().unwrap(), &parse(&bridge(7))).unwrap_err();
    assert_eq!(error.code, "INTERFACE_EXISTS");
    assert!(shell("ip -o addr show dev kbr7").is_empty());
}

#[test]
fn containers_reach_each_other_and_their_gateway_at_once() {
    let mut host = machine();
    let (one, two) = (container(&mut host, &bridge(7), 2), container(&mut host, &bridge(7), 3));
    let shown = one.shell("ip addr; ip route; ip -6 route");
    for part in [
        "02:00:00:01:07:02",
        "mtu 1400",
        "10.7.0.2/24 brd 10.7.0.255",
        "fd00:7::2/64",
        "default via 10.7.0.1",
        "default via fd00:7::1",
        "127.0.0.1/8",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("tentative"), "{shown}");
    for address in ["10.7.0.3", "10.7.0.1", "fd00:7::3", "fd00:7::1"] {
        let shown = one.shell(&format!("ping -c1 -W2 {address}"));
        assert!(shown.contains(" 0% packet loss"), "{shown}");
    }
    detach(two.fd(), "eth0").unwrap();
    detach(two.fd(), "eth0").unwrap();
    assert!(!shell("ip link").contains("v7x3"));
    // Nobody but the descriptor holds a container's namespace, and its end at the bridge goes with it.
    drop(one);
    assert!((0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        !shell("ip link").contains("v7x2")
    }));
}

#[test]
fn a_container_tells_its_neighbours_once_whom_it_listens_to() {
    let mut host = machine();
    let _one = container(&mut host, &bridge(7), 2);
    let received = || shell("grep -o 'Ip6InMcastPkts.*' /proc/net/dev_snmp6/kbr7 | grep -o '[0-9]*$'");
    let settle = || std::thread::sleep(std::time::Duration::from_millis(1500));
    settle();
    let before: u32 = received().trim().parse().unwrap();
    let _two = container(&mut host, &bridge(7), 3);
    settle();
    let after: u32 = received().trim().parse().unwrap();
    // When its interface is up, and when its own address is sure; the kernel would say both again within a second.
    assert_eq!(after - before, 2);
}

#[test]
fn what_is_no_network_namespace_is_refused() {
    for (path, code) in [("/proc/self/ns/mnt", "NAMESPACE_INVALID"), ("/nowhere", "NOT_FOUND")] {
        assert_eq!(kapsel_network::namespace::open_path(path.as_ref()).unwrap_err().code, code);
    }
}

#[test]
fn a_container_that_begins_again_takes_the_place_of_its_dying_self() {
    let mut host = machine();
    let other = container(&mut host, &bridge(7), 3);
    for _ in 0..10 {
        let place = container(&mut host, &bridge(7), 2);
        // At once, where the kernel looks at cables when it is asked: one packet, that nobody repeats.
        let count = if since(6, 9) { "-c1" } else { "-c1 -w5" };
        let shown = other.shell(&format!("ping {count} -W2 10.7.0.2"));
        assert!(shown.contains("bytes from"), "{shown}");
        drop(place);
    }
}

#[test]
fn without_communication_only_the_gateway_is_reached() {
    let mut host = machine();
    let mut bridge = bridge(7);
    bridge["communication"] = json!(false);
    let one = container(&mut host, &bridge, 2);
    let _two = container(&mut host, &bridge, 3);
    assert!(one.shell("ping -c1 -W1 10.7.0.3").contains("100% packet loss"));
    assert!(one.shell("ping -c1 -W2 10.7.0.1").contains(" 0% packet loss"));
}

#[test]
fn an_interface_that_cannot_be_made_leaves_nothing() {
    let mut host = machine();
    let place = container(&mut host, &bridge(7), 2);
    let before = shell("ip -o link | wc -l");
    let mut twice: Interface = parse(&interface(&bridge(7), 3));
    let error = attach(&mut host, place.fd(), &twice).unwrap_err();
    assert_eq!(error.code, "INTERFACE_EXISTS", "{error}");
    assert!(error.message.contains("eth0") && error.message.contains("kbr7"), "{error}");
    twice.name = "eth1".to_owned();
    twice.gateways = vec!["192.0.2.1".parse().unwrap()];
    let error = attach(&mut host, place.fd(), &twice).unwrap_err();
    assert!(error.message.contains("192.0.2.1"), "{error}");
    // The kernel has words of its own for this one.
    assert!(error.message.contains("("), "{error}");
    assert_eq!(shell("ip -o link | wc -l"), before);
    assert!(!place.shell("ip -o link").contains("eth1"));
    twice.name = "a/b".to_owned();
    assert_eq!(attach(&mut host, place.fd(), &twice).unwrap_err().code, "INTERFACE_INVALID");
}

#[test]
fn a_second_network_can_take_the_default_route_and_give_it_back() {
    let mut host = machine();
    let place = container(&mut host, &bridge(7), 2);
    let mut second = interface(&bridge(8), 2);
    second["name"] = json!("eth1");
    attach(&mut host, place.fd(), &parse(&second)).unwrap();
    let defaults = || place.shell("ip route show default; ip -6 route show default");
    assert!(defaults().contains("10.8.0.1 dev eth1") && !defaults().contains("10.7.0.1"), "{}", defaults());
    detach(place.fd(), "eth1").unwrap();
    route(place.fd(), "eth0", &["10.7.0.1".parse().unwrap(), "fd00:7::1".parse().unwrap()]).unwrap();
    assert!(defaults().contains("10.7.0.1") && defaults().contains("fd00:7::1"), "{}", defaults());
}

#[test]
fn without_an_ipv6_address_there_is_none_at_all() {
    let mut host = machine();
    let mut bridge = bridge(7);
    bridge["addresses"] = json!(["10.7.0.1/24"]);
    let mut interface = interface(&bridge, 2);
    interface["addresses"] = json!(["10.7.0.2/24"]);
    interface["gateways"] = json!(["10.7.0.1"]);
    let place = Place::new();
    attach(&mut host, place.fd(), &parse(&interface)).unwrap();
    assert!(!place.shell("ip -6 addr show dev eth0").contains("inet6"));
    assert!(!shell("ip -6 addr").contains("fe80"), "{}", shell("ip -6 addr"));
}

/// A router's advertisement, with a prefix to make addresses of, to everybody at an interface. A router is a neighbour:
/// what could have come by another is ignored (RFC 4861, section 6.1.2).
const ADVERTISE: &str = "
import socket, struct
out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
router = struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0)
prefix = struct.pack('!BBBBIII16s', 3, 4, 64, 0xC0, 1800, 1800, 0, socket.inet_pton(socket.AF_INET6, '2001:db8::'))
out.sendto(router + prefix, ('ff02::1', 0, 0, socket.if_nametoindex('eth0')))
";

#[test]
fn nobody_believes_a_container_that_says_it_is_a_router() {
    let mut host = machine();
    for (network, families) in [(7, 2), (8, 1)] {
        let only = |list: &mut Value| list.as_array_mut().unwrap().truncate(families);
        let mut bridge = bridge(network);
        only(&mut bridge["addresses"]);
        let places = [2, 3].map(|number| {
            let mut interface = interface(&bridge, number);
            only(&mut interface["addresses"]);
            only(&mut interface["gateways"]);
            let place = Place::new();
            attach(&mut host, place.fd(), &parse(&interface)).unwrap();
            place
        });
        let [liar, victim] = places;
        let sent = liar.shell("ip addr add fe80::bad/64 dev eth0 nodad");
        assert_eq!(sent + &output(liar.command("python3").args(["-c", ADVERTISE])), "");
        // What comes later has come: the advertisement has, too.
        for end in ["1", "3"] {
            let shown = liar.shell(&format!("ping -c1 -W2 10.{network}.0.{end}"));
            assert!(shown.contains(" 0% packet loss"), "{shown}");
        }
        for found in [victim.shell("ip -6 route; ip -6 addr"), shell("ip -6 route; ip -6 addr")] {
            assert!(!found.contains("fe80::bad") && !found.contains("2001:db8:"), "{found}");
        }
    }
}

#[test]
fn macvlan_is_at_the_parents_network() {
    let mut host = machine();
    shell("ip link add parent type veth peer name far; ip link set parent up; ip link set far up");
    let interface = |number: u8| {
        json!({
            "driver": "macvlan", "parent": "parent", "mode": "bridge", "name": "eth0",
            "mac": format!("02:00:00:02:00:{number:02x}"), "addresses": [format!("10.9.0.{number}/24")],
        })
    };
    let (one, two) = (Place::new(), Place::new());
    attach(&mut host, one.fd(), &parse(&interface(2))).unwrap();
    attach(&mut host, two.fd(), &parse(&interface(3))).unwrap();
    assert!(one.shell("ping -c1 -W2 10.9.0.3").contains(" 0% packet loss"));
    let mut lost = interface(4);
    lost["parent"] = json!("nowhere");
    lost["name"] = json!("eth1");
    let error = attach(&mut host, one.fd(), &parse(&lost)).unwrap_err();
    assert_eq!(error.code, "INTERFACE_NOT_FOUND");
    assert!(error.message.contains("nowhere"));
}

#[test]
fn a_rate_is_kept_at_both_ends() {
    let mut host = machine();
    let mut interface = interface(&bridge(7), 2);
    interface["rate"] = json!(1_250_000);
    let place = Place::new();
    attach(&mut host, place.fd(), &parse(&interface)).unwrap();
    for shown in [shell("tc qdisc show dev v7x2"), place.shell("tc qdisc show dev eth0")] {
        assert!(shown.contains("tbf") && shown.contains("rate 10Mbit burst 128Kb"), "{shown}");
    }
    interface["rate"] = json!(10_000_000_000u64);
    interface["peer"] = json!("v7x3");
    let place = Place::new();
    attach(&mut host, place.fd(), &parse(&interface)).unwrap();
    assert!(place.shell("tc qdisc show dev eth0").contains("rate 80Gbit"));
}

#[test]
fn a_machine_that_forwards_learns_its_routes_still() {
    let _host = machine();
    shell("ip link add wide type veth peer name other; echo 1 > /proc/sys/net/ipv6/conf/wide/accept_ra");
    shell("echo 0 > /proc/sys/net/ipv6/conf/other/accept_ra");
    let parameters = Parameters::open().unwrap();
    forward(&parameters, true).unwrap();
    forward(&parameters, true).unwrap();
    let read = |path: &str| shell(&format!("cat /proc/sys/net/{path}"));
    assert_eq!(read("ipv4/ip_forward"), "1\n");
    assert_eq!(read("ipv6/conf/all/forwarding"), "1\n");
    assert_eq!(read("ipv6/conf/wide/accept_ra"), "2\n");
    assert_eq!(read("ipv6/conf/other/accept_ra"), "0\n");
}
