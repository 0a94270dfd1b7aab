//! Cables that are laid before anybody knows for which container.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use common::{Place, bridge, container, interface, machine, parse, shell, since};
use kapsel_network::attach::attach;
use kapsel_network::bridge::{ensure, remove};
use kapsel_network::cable::lay;
use kapsel_network::description::{Cable, Interface, Uplink};
use kapsel_network::namespace::inside;
use kapsel_network::netlink::Socket;
use kapsel_network::sysctl::Parameters;
use serde_json::{Value, json};

fn make(host: &mut Socket, bridge: &Value) {
    ensure(host, &Parameters::open().unwrap(), &parse(bridge)).unwrap();
}

/// The cable of the container with the given number, laid.
fn laid(host: &mut Socket, bridge: &Value, number: u8) -> Place {
    let place = Place::new();
    assert!(lay(host, place.fd(), &cable(bridge, number)).unwrap());
    place
}

fn cable(bridge: &Value, number: u8) -> Cable {
    parse(&json!({"bridge": bridge, "peer": interface(bridge, number)["peer"], "name": "eth0", "mtu": 1400}))
}

fn on_laid(bridge: &Value, number: u8) -> Interface {
    let mut interface: Interface = parse(&interface(bridge, number));
    let Uplink::Bridge { laid, .. } = &mut interface.uplink else { unreachable!() };
    *laid = Some("eth0".to_owned());
    interface
}

/// What is there, without numbers that no two interfaces share.
fn shown(place: &Place) -> String {
    let all = place.shell(
        "ip -br link; ip -br addr; ip route; ip -6 route; cd /proc/sys/net/ipv6/conf/eth0;
         cat accept_ra accept_dad mldv2_unsolicited_report_interval",
    );
    all.split_whitespace().filter(|word| !word.contains("@if")).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_container_on_a_laid_cable_is_as_any_other() {
    let mut host = machine();
    let other = container(&mut host, &bridge(7), 2);
    let place = laid(&mut host, &bridge(7), 3);
    // Nothing passes, and nobody in there has an address.
    assert!(shell("ip link show v7x3").contains("NO-CARRIER"));
    assert!(!place.shell("ip addr show eth0").contains("inet"));
    attach(&mut host, place.fd(), &on_laid(&bridge(7), 3)).unwrap();
    for address in ["10.7.0.2", "10.7.0.1", "fd00:7::2", "fd00:7::1"] {
        let shown = place.shell(&format!("ping -c1 -W2 {address}"));
        assert!(shown.contains(" 0% packet loss"), "{shown}");
    }
    let numbers = [("7.0.3", "7.0.2"), ("7::3", "7::2"), ("07:03", "07:02"), ("703/", "702/")];
    let as_the_other = |text: String| numbers.iter().fold(text, |text, (one, two)| text.replace(one, two));
    assert_eq!(as_the_other(shown(&place)), shown(&other));
    for part in ["hairpin on", "isolated off"] {
        assert!(shell("ip -d link show v7x3").contains(part), "{part}");
    }
    let behind = shell("bridge fdb show dev v7x3");
    assert!(behind.contains("02:00:00:01:07:03") && behind.contains("sticky"), "{behind}");
}

#[test]
fn it_may_get_another_name() {
    let mut host = machine();
    make(&mut host, &bridge(7));
    let place = laid(&mut host, &bridge(7), 3);
    let mut interface = on_laid(&bridge(7), 3);
    interface.name = "wan".to_owned();
    attach(&mut host, place.fd(), &interface).unwrap();
    assert!(!place.shell("ip link").contains("eth0"));
    assert!(place.shell("ping -c1 -W2 10.7.0.1").contains(" 0% packet loss"));
    assert_eq!(place.shell("cat /proc/sys/net/ipv6/conf/wan/accept_ra"), "0\n");
}

#[test]
fn containers_that_may_not_see_each_other_do_not() {
    let mut host = machine();
    let mut bridge = bridge(7);
    bridge["communication"] = json!(false);
    let one = container(&mut host, &bridge, 2);
    let two = laid(&mut host, &bridge, 3);
    attach(&mut host, two.fd(), &on_laid(&bridge, 3)).unwrap();
    assert!(one.shell("ping -c1 -W1 10.7.0.3").contains("100% packet loss"));
    assert!(two.shell("ping -c1 -W1 10.7.0.2").contains("100% packet loss"));
    assert!(two.shell("ping -c1 -W2 10.7.0.1").contains(" 0% packet loss"));
}

#[test]
fn without_its_bridge_none_is_laid_and_nothing_made() {
    let mut host = machine();
    let place = Place::new();
    assert!(!lay(&mut host, place.fd(), &cable(&bridge(7), 3)).unwrap());
    shell("ip link add kbr7 type bridge");
    assert!(!lay(&mut host, place.fd(), &cable(&bridge(7), 3)).unwrap(), "it is not complete");
    shell("ip link del kbr7");
    assert!(!shell("ip link").contains("v7x3") && !place.shell("ip link").contains("eth0"));
    let mut wrong = cable(&bridge(7), 3);
    wrong.name = "a/b".to_owned();
    assert_eq!(lay(&mut host, place.fd(), &wrong).unwrap_err().code, "INTERFACE_INVALID");
}

#[test]
fn what_others_did_to_it_is_mended() {
    let mut host = machine();
    let own = bridge(7);
    let gone = "ip link del v7x3";
    let loose = "ip link set v7x3 nomaster";
    let moved = "ip link add other type bridge; ip link set v7x3 master other";
    for harm in ["", gone, loose, moved] {
        make(&mut host, &own);
        let place = laid(&mut host, &own, 3);
        if harm.is_empty() {
            remove(&mut host, "kbr7").unwrap();
        }
        assert_eq!(shell(harm), "");
        attach(&mut host, place.fd(), &on_laid(&own, 3)).unwrap();
        let shown = place.shell("ping -c1 -W2 10.7.0.1");
        assert!(shown.contains(" 0% packet loss"), "{harm}: {shown}");
        assert_eq!(place.shell("ip -o link").lines().count(), 2, "{harm}");
        shell("ip link del v7x3");
    }
}

#[test]
fn a_container_that_cannot_be_attached_leaves_nothing_of_it() {
    let mut host = machine();
    make(&mut host, &bridge(7));
    let place = laid(&mut host, &bridge(7), 3);
    let mut interface = on_laid(&bridge(7), 3);
    interface.gateways = vec!["192.0.2.1".parse().unwrap()];
    let error = attach(&mut host, place.fd(), &interface).unwrap_err();
    assert!(error.message.contains("192.0.2.1"), "{error}");
    assert!(!shell("ip link").contains("v7x3") && !place.shell("ip link").contains("eth0"));
}

/// Whether a segment longer than an IPv4 packet can say goes between two containers of a network.
fn has_long_segments(host: &mut Socket, bridge: &Value) -> bool {
    let (one, two) = (container(host, bridge, 2), container(host, bridge, 3));
    let sink = inside(two.fd(), || {
        let listener = TcpListener::bind("0.0.0.0:80").unwrap();
        Ok(std::thread::spawn(move || {
            std::io::copy(&mut listener.accept().unwrap().0, &mut std::io::sink()).unwrap()
        }))
    });
    let mut watcher = Command::new("tcpdump")
        .args(["-ni", "v7x3", "-c1", "greater 66000"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // "listening on"
    BufReader::new(watcher.stderr.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    let mut has_seen = false;
    let mut sent = 0;
    let mut stream = inside(one.fd(), || Ok(TcpStream::connect("10.7.0.3:80").unwrap())).unwrap();
    let chunk = vec![0; 1 << 20];
    while !has_seen && sent < 1000 {
        stream.write_all(&chunk).unwrap();
        sent += 1;
        has_seen = watcher.try_wait().unwrap().is_some();
    }
    drop(stream);
    let _ = watcher.kill();
    watcher.wait().unwrap();
    assert_eq!(sink.unwrap().join().unwrap(), sent << 20);
    has_seen
}

#[test]
fn what_stays_at_one_bridge_goes_in_long_segments() {
    let mut host = machine();
    let mut inner = bridge(7);
    inner["internal"] = json!(true);
    assert_eq!(has_long_segments(&mut host, &inner), since(6, 3));
    // Where something leads out, the machine would have to cut them up.
    drop(host);
    let mut host = machine();
    assert!(!has_long_segments(&mut host, &bridge(7)));
}
