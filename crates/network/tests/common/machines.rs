//! Machines at the two ends of a cable, and containers that say who they are and whom they see.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use kapsel_network::connect::{Connected, Connection, connect};
use kapsel_network::error::Result;
use kapsel_network::namespace::inside;
use serde_json::{Value, json};

use super::{Place, interface, machine, parse, shell};

/// How long is waited for what must come, and how much shorter for what must not: everything is on one machine.
pub const PATIENCE: Duration = Duration::from_secs(10);
pub const IMPATIENCE: Duration = Duration::from_millis(400);

/// The test's thread becomes a machine 192.0.2.1 and fd01::1, with another at the end of a cable, 192.0.2.9 and fd01::9,
/// which routes everything by the first.
pub fn machines() -> Place {
    machine();
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
pub struct Container {
    pub place: Place,
    pub network: u8,
    pub number: u8,
}

impl Container {
    pub fn start(bridge: &Value, number: u8, ports: Value) -> (Self, Result<Connected>) {
        let place = Place::new();
        let (connected, network) = connect_to(&place, bridge, number, ports);
        inside(place.fd(), || {
            serve(number);
            Ok(())
        })
        .unwrap();
        (Self { place, network, number }, connected)
    }

    pub fn new(bridge: &Value, number: u8, ports: Value) -> Self {
        let (container, connected) = Self::start(bridge, number, ports);
        connected.unwrap();
        container
    }

    pub fn v4(&self) -> String {
        format!("10.{}.0.{}", self.network, self.number)
    }

    pub fn v6(&self) -> String {
        format!("fd00:{}::{}", self.network, self.number)
    }
}

pub fn connect_to(place: &Place, bridge: &Value, number: u8, ports: Value) -> (Result<Connected>, u8) {
    let interface = interface(bridge, number);
    let network = interface["addresses"][0].as_str().unwrap().split('.').nth(1).unwrap().parse().unwrap();
    let namespace = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place.0));
    let connection = Connection {
        table: "kapsel".into(),
        container: format!("c{network}-{number}"),
        namespace: namespace.into(),
        interfaces: vec![parse(&interface)],
        ports: parse(&ports),
    };
    (connect(&connection), network)
}

/// Serves for as long as the test runs, from this thread's namespace.
pub fn serve(number: u8) {
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
pub fn ask(address: &str, port: u16) -> Option<String> {
    ask_for(address, port, PATIENCE)
}

pub fn ask_for(address: &str, port: u16, patience: Duration) -> Option<String> {
    let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

pub fn ask_udp(address: &str, port: u16) -> Option<String> {
    let address: IpAddr = address.parse().unwrap();
    let socket = UdpSocket::bind(if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"?", SocketAddr::new(address, port)).ok()?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

pub fn ask_from(place: &Place, address: &str, port: u16) -> Option<String> {
    inside(place.fd(), || Ok(ask(address, port))).unwrap()
}

/// Whether nobody answers there.
pub fn is_closed(address: &str, port: u16) -> bool {
    ask_for(address, port, IMPATIENCE).is_none()
}

pub fn is_closed_for(place: &Place, address: &str, port: u16) -> bool {
    inside(place.fd(), || Ok(is_closed(address, port))).unwrap()
}

/// One port of the host at port 80 of a container, for both families and protocols.
pub fn ports(network: u8, number: u8, host: u16) -> Value {
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
