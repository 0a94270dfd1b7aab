//! Who reaches whom: machines joined by cables, containers on them, published ports.

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

use common::machines::{
    Container, IMPATIENCE, PATIENCE, ask, ask_from, ask_udp, connect_to, is_closed, is_closed_for, machines,
    ports, serve,
};
use common::{Place, bridge, interface, parse, shell};
use kapsel_network::attach::attach;
use kapsel_network::namespace::inside;
use kapsel_network::netlink::{Family, Socket};
use kapsel_network::nftables::filter::Filter;
use serde_json::json;

#[test]
fn a_published_port_is_reached_from_everywhere_and_sees_who_comes() {
    everywhere("1");
}

#[test]
fn a_published_port_is_reached_where_bridges_are_not_filtered() {
    everywhere("0");
}

/// `filtered`: whether what a bridge carries goes through the packet filter too.
fn everywhere(filtered: &str) {
    let far = machines();
    // Missing where the module is, and then it is not filtered.
    shell(&format!("cd /proc/sys/net/bridge && for name in *-ip*tables; do echo {filtered} > $name; done"));
    let one = Container::new(&bridge(7), 2, ports(7, 2, 8080));
    let same = Container::new(&bridge(7), 3, json!([]));
    let other = Container::new(&bridge(8), 2, json!([]));
    // Another machine, with its own address.
    assert_eq!(ask_from(&far, "192.0.2.1", 8080).as_deref(), Some("2 192.0.2.9"));
    assert_eq!(ask_from(&far, "fd01::1", 8080).as_deref(), Some("2 fd01::9"));
    let udp = inside(far.fd(), || Ok((ask_udp("192.0.2.1", 8080), ask_udp("fd01::1", 8080)))).unwrap();
    assert_eq!(udp, (Some("2 192.0.2.9".into()), Some("2 fd01::9".into())));
    // The host, by every address of its own.
    assert_eq!(ask("127.0.0.1", 8080).as_deref(), Some("2 10.7.0.1"));
    assert_eq!(ask("192.0.2.1", 8080).as_deref(), Some("2 192.0.2.1"));
    assert_eq!(ask("10.7.0.1", 8080).as_deref(), Some("2 10.7.0.1"));
    assert_eq!(ask("fd01::1", 8080).as_deref(), Some("2 fd01::1"));
    assert_eq!(ask_udp("127.0.0.1", 8080).as_deref(), Some("2 10.7.0.1"));
    // Containers, by the host's port: of its own network, itself, of another network.
    for from in [&same, &one] {
        for address in ["192.0.2.1", "10.7.0.1", "fd01::1", "fd00:7::1"] {
            let gateway = if address.contains(':') { "2 fd00:7::1" } else { "2 10.7.0.1" };
            assert_eq!(
                ask_from(&from.place, address, 8080).as_deref(),
                Some(gateway),
                "{address} from {}",
                from.number
            );
        }
    }
    assert_eq!(ask_from(&other.place, "192.0.2.1", 8080).as_deref(), Some("2 10.8.0.2"));
    assert_eq!(ask_from(&other.place, "fd01::1", 8080).as_deref(), Some("2 fd00:8::2"));
    // Directly only from where it may.
    assert_eq!(ask_from(&same.place, &one.v4(), 80).as_deref(), Some("2 10.7.0.3"));
    assert_eq!(ask_from(&same.place, &one.v6(), 80).as_deref(), Some("2 fd00:7::3"));
    assert_eq!(ask(&one.v4(), 80).as_deref(), Some("2 10.7.0.1"));
    for address in [one.v4(), one.v6()] {
        assert!(is_closed_for(&other.place, &address, 80), "another network");
        assert!(is_closed_for(&far, &address, 80), "another machine");
    }
    // And no more once it is taken back.
    Filter::open("kapsel").unwrap().unpublish("c7-2", None).unwrap();
    assert!(is_closed_for(&far, "192.0.2.1", 8080));
    assert!(is_closed("127.0.0.1", 8080));
}

#[test]
fn a_port_of_one_address_is_only_there() {
    let far = machines();
    let mut local = ports(7, 2, 8080).as_array().unwrap()[0].clone();
    local["hostAddress"] = json!("127.0.0.1");
    let _one = Container::new(&bridge(7), 2, json!([local]));
    assert_eq!(ask("127.0.0.1", 8080).as_deref(), Some("2 10.7.0.1"));
    assert!(is_closed("192.0.2.1", 8080));
    assert!(is_closed_for(&far, "192.0.2.1", 8080));
}

/// A machine that sends what is for 127.0.0.1 to the host (CVE-2020-8558), or comes with that address.
fn lie(place: &Place, gateway: &str, device: &str) {
    place.shell(&format!(
        "for name in all {device}; do echo 1 > /proc/sys/net/ipv4/conf/$name/route_localnet; done
         ip addr del 127.0.0.1/8 dev lo; ip route flush table local dev lo; ip addr add 127.0.0.2/32 dev lo
         ip route add 127.0.0.1/32 via {gateway}"
    ));
}

#[test]
fn the_hosts_loopback_addresses_are_its_own() {
    let far = machines();
    let one = Container::new(&bridge(7), 2, json!([]));
    // As somebody would have it who publishes ports of 127.0.0.1 in other ways.
    shell("echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet");
    let _own = TcpListener::bind("127.0.0.1:81").unwrap();
    let trusting = UdpSocket::bind("0.0.0.0:82").unwrap();
    trusting.set_read_timeout(Some(IMPATIENCE)).unwrap();
    for (place, gateway, device) in [(&far, "192.0.2.1", "cable"), (&one.place, "10.7.0.1", "eth0")] {
        lie(place, gateway, device);
        assert!(
            inside(place.fd(), || Ok(TcpStream::connect_timeout(
                &"127.0.0.1:81".parse().unwrap(),
                IMPATIENCE
            )
            .is_err()))
            .unwrap()
        );
        inside(place.fd(), || {
            let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
            socket.send_to(b"?", format!("{gateway}:82")).unwrap();
            Ok(())
        })
        .unwrap();
        let received = trusting.recv_from(&mut [0; 8]);
        assert!(received.is_err(), "{received:?}");
    }
}

#[test]
fn who_sends_on_reaches_whom_the_port_leads_to_now() {
    let far = machines();
    let one = Container::new(&bridge(7), 2, json!([]));
    let two = Container::new(&bridge(7), 3, json!([]));
    let mut filter = Filter::open("kapsel").unwrap();
    let published = |container: &Container| {
        let ports: Vec<_> = parse(&ports(7, container.number, 8080));
        kapsel_network::connect::published("c", &ports)
    };
    for host in ["192.0.2.1", "fd01::1"] {
        // The same port of the sender all along.
        let socket = inside(far.fd(), || {
            let any = if host.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(SocketAddr::new(host.parse().unwrap(), 8080)).unwrap();
            Ok(socket)
        });
        let socket = socket.unwrap();
        let ask = || {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut buffer = [0; 64];
            socket.send(b"?").ok()?;
            let length = socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        assert_eq!(ask(), None, "refused");
        for container in [&one, &two] {
            filter.admit(&[], &published(container)).unwrap();
            assert!(ask().unwrap().starts_with(&container.number.to_string()));
            filter.unpublish("c", None).unwrap();
        }
        assert_eq!(ask(), None, "refused again");
    }
}

#[test]
fn a_container_reaches_other_machines_with_the_hosts_address() {
    let far = machines();
    inside(far.fd(), || {
        serve(9);
        Ok(())
    })
    .unwrap();
    let one = Container::new(&bridge(7), 2, json!([]));
    let mut plain = bridge(8);
    plain["masquerade"] = json!(false);
    let routed = Container::new(&plain, 2, json!([]));
    let mut closed = bridge(9);
    closed["internal"] = json!(true);
    let inner = Container::new(&closed, 2, ports(9, 2, 8080));
    let beside = Container::new(&closed, 3, json!([]));
    assert_eq!(ask_from(&one.place, "192.0.2.9", 80).as_deref(), Some("9 192.0.2.1"));
    assert_eq!(ask_from(&one.place, "fd01::9", 80).as_deref(), Some("9 fd01::1"));
    assert_eq!(ask_from(&routed.place, "192.0.2.9", 80).as_deref(), Some("9 10.8.0.2"));
    assert_eq!(ask_from(&routed.place, "fd01::9", 80).as_deref(), Some("9 fd00:8::2"));
    // An internal network reaches itself.
    assert!(is_closed_for(&inner.place, "192.0.2.9", 80));
    assert!(is_closed_for(&inner.place, "fd01::9", 80));
    assert_eq!(ask_from(&inner.place, &beside.v4(), 80).as_deref(), Some("3 10.9.0.2"));
    assert!(is_closed_for(&one.place, &inner.v4(), 80));
    assert!(is_closed_for(&far, "192.0.2.1", 8080), "not even by a port");
    assert_eq!(ask(&inner.v4(), 80).as_deref(), Some("2 10.9.0.1"));
}

#[test]
fn open_networks_reach_each_other_and_no_closed_one() {
    let _far = machines();
    let open = |number: u8| {
        let mut bridge = bridge(number);
        bridge["open"] = json!(true);
        bridge
    };
    let one = Container::new(&open(7), 2, json!([]));
    let two = Container::new(&open(8), 2, json!([]));
    let closed = Container::new(&bridge(9), 2, json!([]));
    assert_eq!(ask_from(&one.place, &two.v4(), 80).as_deref(), Some("2 10.7.0.2"));
    assert_eq!(ask_from(&two.place, &one.v6(), 80).as_deref(), Some("2 fd00:8::2"));
    assert!(is_closed_for(&one.place, &closed.v4(), 80));
    assert!(is_closed_for(&closed.place, &one.v4(), 80));
}

#[test]
fn a_taken_port_leaves_nothing_of_the_second_container() {
    let _far = machines();
    let _one = Container::new(&bridge(7), 2, ports(7, 2, 8080));
    let links = shell("ip -o link | wc -l");
    let rules = shell("nft list table inet kapsel");
    let (second, connected) = Container::start(&bridge(7), 3, ports(7, 3, 8080));
    let error = connected.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), ("PORT_IN_USE", "port 8080/tcp is published by c7-2"));
    assert_eq!(shell("ip -o link | wc -l"), links);
    assert_eq!(shell("nft list table inet kapsel"), rules);
    // Where it is the interface that cannot be made, the ports go again.
    let (result, _) = connect_to(&second.place, &bridge(7), 2, ports(7, 3, 9090));
    assert_eq!(result.unwrap_err().code, "INTERFACE_EXISTS");
    assert_eq!(shell("nft list table inet kapsel"), rules);
    assert_eq!(ask("127.0.0.1", 8080).as_deref(), Some("2 10.7.0.1"));
}

#[test]
fn who_takes_an_address_over_has_it_at_once() {
    let far = machines();
    // One that ends is there for a while, and nobody has heard of the next.
    let one = Container::new(&bridge(7), 2, ports(7, 2, 8080));
    assert_eq!(ask_from(&far, "192.0.2.1", 8080).as_deref(), Some("2 192.0.2.9"));
    let mut again = interface(&bridge(7), 2);
    again["peer"] = json!("again");
    let place = Place::new();
    let mut host = Socket::open(Family::Route).unwrap();
    attach(&mut host, place.fd(), &parse(&again)).unwrap();
    inside(place.fd(), || {
        serve(5);
        Ok(())
    })
    .unwrap();
    // It says nothing by itself, and what the first says takes nothing back.
    for _ in 0..2 {
        assert_eq!(ask_from(&far, "192.0.2.1", 8080).as_deref(), Some("5 192.0.2.9"));
        one.place.shell("ping -c1 -W1 10.7.0.1");
    }
}

#[test]
fn a_flushed_table_is_found_and_repaired() {
    let far = machines();
    let one = Container::new(&bridge(7), 2, ports(7, 2, 8080));
    shell("nft flush ruleset");
    assert!(is_closed_for(&far, "192.0.2.1", 8080));
    // The next container's start finds it, and says so.
    let (_two, connected) = Container::start(&bridge(7), 3, ports(7, 3, 8081));
    assert!(connected.unwrap().made);
    let mut all = kapsel_network::connect::published("c7-2", &parse::<Vec<_>>(&ports(7, 2, 8080)));
    all.extend(kapsel_network::connect::published("c7-3", &parse::<Vec<_>>(&ports(7, 3, 8081))));
    assert!(Filter::open("kapsel").unwrap().repair(&[parse(&bridge(7))], &all).unwrap());
    assert_eq!(ask_from(&far, "192.0.2.1", 8080).as_deref(), Some("2 192.0.2.9"));
    assert_eq!(ask_from(&far, "192.0.2.1", 8081).as_deref(), Some("3 192.0.2.9"));
    assert!(is_closed_for(&one.place, "192.0.2.9", 80));
}

#[test]
fn twenty_containers_have_each_their_own_port_80() {
    let far = machines();
    let containers: Vec<_> = (2..22)
        .map(|number| Container::new(&bridge(7), number, ports(7, number, 8000 + u16::from(number))))
        .collect();
    for container in &containers {
        let port = 8000 + u16::from(container.number);
        let said = Some(format!("{} 192.0.2.9", container.number));
        assert_eq!(ask_from(&far, "192.0.2.1", port), said);
        assert_eq!(ask("127.0.0.1", port), Some(format!("{} 10.7.0.1", container.number)));
    }
}
