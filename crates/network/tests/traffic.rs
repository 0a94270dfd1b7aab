//! Who reaches whom: machines joined by cables, containers on them, published ports.

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use common::{Place, bridge, interface, parse, shell};
use kapsel_network::attach::attach;
use kapsel_network::connect::{Connected, Connection, connect};
use kapsel_network::error::Result;
use kapsel_network::namespace::inside;
use kapsel_network::netlink::{Family, Socket};
use kapsel_network::nftables::filter::Filter;
use serde_json::{Value, json};

/// How long is waited for what must come, and how much shorter for what must not: everything is on one machine.
const PATIENCE: Duration = Duration::from_secs(10);
const IMPATIENCE: Duration = Duration::from_millis(400);

/// The test's thread becomes a machine 192.0.2.1 and fd01::1, with another at the end of a cable, 192.0.2.9 and fd01::9,
/// which routes everything by the first.
fn machines() -> Place {
    common::machine();
    let far = Place::new();
    let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&far.0));
    // Two ends of one index are not taken for two by the kernel, which lets them wait a second for each other.
    let made = shell(&format!(
        "ip link add cable index 77 type veth peer name cable netns {path}
         ip addr add 192.0.2.1/24 dev cable; ip addr add fd01::1/64 dev cable nodad; ip link set cable up"
    ));
    let far_made = far.shell(
        "ip addr add 192.0.2.9/24 dev cable; ip addr add fd01::9/64 dev cable nodad; ip link set cable up
         ip link set lo up; ip route add default via 192.0.2.1; ip -6 route add default via fd01::1",
    );
    assert_eq!(made + &far_made, "");
    far
}

/// A container with a server that says who it is and whom it sees, on TCP and UDP port 80 of both families.
struct Container {
    place: Place,
    network: u8,
    number: u8,
}

impl Container {
    fn start(bridge: &Value, number: u8, ports: Value) -> (Self, Result<Connected>) {
        let place = Place::new();
        let (connected, network) = connect_to(&place, bridge, number, ports);
        inside(place.fd(), || {
            serve(number);
            Ok(())
        })
        .unwrap();
        (Self { place, network, number }, connected)
    }

    fn new(bridge: &Value, number: u8, ports: Value) -> Self {
        let (container, connected) = Self::start(bridge, number, ports);
        connected.unwrap();
        container
    }

    fn v4(&self) -> String {
        format!("10.{}.0.{}", self.network, self.number)
    }

    fn v6(&self) -> String {
        format!("fd00:{}::{}", self.network, self.number)
    }
}

fn connect_to(place: &Place, bridge: &Value, number: u8, ports: Value) -> (Result<Connected>, u8) {
    let interface = interface(bridge, number);
    let network = interface["addresses"][0].as_str().unwrap().split('.').nth(1).unwrap().parse().unwrap();
    let namespace = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place.0));
    let connection: Connection = parse(&json!({
        "table": "kapsel", "container": format!("c{network}-{number}"), "namespace": namespace,
        "interfaces": [interface], "ports": ports,
    }));
    (connect(&connection), network)
}

/// Serves for as long as the test runs, from this thread's namespace.
fn serve(number: u8) {
    let tcp = TcpListener::bind("[::]:80").unwrap();
    let udp = UdpSocket::bind("[::]:80").unwrap();
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let Ok(mut stream) = stream else { continue };
            let Ok(from) = stream.peer_addr() else { continue };
            let _ = write!(stream, "{number} {}", from.ip().to_canonical());
        }
    });
    std::thread::spawn(move || {
        while let Ok((_, from)) = udp.recv_from(&mut [0; 64]) {
            let _ = udp.send_to(format!("{number} {}", from.ip().to_canonical()).as_bytes(), from);
        }
    });
}

/// What the server at an address says, from this thread's namespace.
fn ask(address: &str, port: u16) -> Option<String> {
    ask_for(address, port, PATIENCE)
}

fn ask_for(address: &str, port: u16, patience: Duration) -> Option<String> {
    let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn ask_udp(address: &str, port: u16) -> Option<String> {
    let address: IpAddr = address.parse().unwrap();
    let socket = UdpSocket::bind(if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"?", SocketAddr::new(address, port)).ok()?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn ask_from(place: &Place, address: &str, port: u16) -> Option<String> {
    inside(place.fd(), || Ok(ask(address, port))).unwrap()
}

/// Whether nobody answers there.
fn is_closed(address: &str, port: u16) -> bool {
    ask_for(address, port, IMPATIENCE).is_none()
}

fn is_closed_for(place: &Place, address: &str, port: u16) -> bool {
    inside(place.fd(), || Ok(is_closed(address, port))).unwrap()
}

/// One port of the host at port 80 of a container, for both families and protocols.
fn ports(network: u8, number: u8, host: u16) -> Value {
    let mut ports = Vec::new();
    for protocol in ["tcp", "udp"] {
        for address in [format!("10.{network}.0.{number}"), format!("fd00:{network}::{number}")] {
            let port =
                json!({"protocol": protocol, "hostPort": host, "address": address, "containerPort": 80});
            ports.push(port);
        }
    }
    ports.into()
}

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
            filter.publish(&published(container)).unwrap();
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
