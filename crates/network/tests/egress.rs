//! Guards, tried with real connections and forged frames between namespaces: a container (10.1.0.2) that is guarded, its
//! neighbour (10.1.0.3), the host with its bridge (10.1.0.1), and the world behind the host (192.0.2.1).

mod common;

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use common::{Place, bridge, container, machine, output, shell};
use kapsel_network::{
    egress::{Guard, Link},
    namespace::inside,
    netlink::Socket,
};

const HOST: [&str; 2] = ["10.1.0.1:80", "[fd00:1::1]:80"];
const NEIGHBOUR: [&str; 2] = ["10.1.0.3:80", "[fd00:1::3]:80"];
const WORLD: [&str; 3] = ["192.0.2.1:80", "[2001:db8::1]:80", "169.254.169.254:80"];
const OWN: [&str; 2] = ["10.1.0.2:80", "[fd00:1::2]:80"];

struct World {
    _socket: Socket,
    container: Place,
    neighbour: Place,
    outside: Place,
}

fn link() -> Link {
    Link {
        peer: "v1x2".into(),
        mac: "02:00:00:01:01:02".parse().unwrap(),
        addresses: ["10.1.0.2/24", "fd00:1::2/64"].map(|text| text.parse().unwrap()).to_vec(),
    }
}

/// Everybody serves at port 80, by connections and by datagrams.
fn world() -> World {
    let mut socket = machine();
    let network = bridge(1);
    let container = container(&mut socket, &network, 2);
    let neighbour = common::container(&mut socket, &network, 3);
    let outside = Place::new();
    let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&outside.0));
    let said = shell(&format!(
        "ip link add up0 type veth peer name eth0 netns {path} && ip addr add 192.0.2.2/24 dev up0
        ip addr add 2001:db8::2/64 dev up0 nodad && ip link set up0 up && ip route add 169.254.169.254 via 192.0.2.1
        sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"
    ));
    assert_eq!(said, "");
    let said = outside.shell(
        "ip link set lo up && ip addr add 192.0.2.1/24 dev eth0 && ip addr add 169.254.169.254/32 dev eth0
        ip addr add 2001:db8::1/64 dev eth0 nodad && ip link set eth0 up
        ip route add default via 192.0.2.2 && ip route add default via 2001:db8::2",
    );
    assert_eq!(said, "");
    for (place, addresses) in [
        (Some(&outside), &WORLD[..]),
        (None, &HOST),
        (Some(&neighbour), &NEIGHBOUR),
        (Some(&container), &OWN),
    ] {
        addresses.iter().for_each(|address| serve(place, address));
    }
    // Links that have just been made lose their first packets.
    WORLD[..2].iter().for_each(|address| assert!(is_open(None, address)));
    World { _socket: socket, container, neighbour, outside }
}

fn within<T: Send>(place: Option<&Place>, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    match place {
        Some(place) => inside(place.fd(), || Ok(work())).unwrap(),
        None => work(),
    }
}

fn serve(place: Option<&Place>, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let listener = within(place, || TcpListener::bind(address)).unwrap();
    let socket = within(place, || UdpSocket::bind(address)).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 100];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    let _ = stream.write_all(&buffer[..count]);
                }
            });
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 100];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..count], from);
        }
    });
}

fn connect(place: Option<&Place>, address: &str) -> io::Result<TcpStream> {
    let address = address.parse().unwrap();
    within(place, || TcpStream::connect_timeout(&address, Duration::from_secs(3)))
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    stream.write_all(b"hello")?;
    let mut buffer = [0; 5];
    stream.read_exact(&mut buffer)
}

fn datagram(place: Option<&Place>, address: &str, patience: u64) -> io::Result<()> {
    let address: SocketAddr = address.parse().unwrap();
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = within(place, || UdpSocket::bind(any))?;
    socket.set_read_timeout(Some(Duration::from_millis(patience)))?;
    socket.connect(address)?;
    socket.send(b"hello")?;
    socket.recv(&mut [0; 5]).map(drop)
}

fn is_open(place: Option<&Place>, address: &str) -> bool {
    let by_connection = connect(place, address).and_then(|mut stream| echo(&mut stream)).is_ok();
    let by_datagram = datagram(place, address, 3000).is_ok();
    assert_eq!(by_connection, by_datagram, "{address}");
    by_connection
}

/// Said, and not by silence.
fn refusal(place: &Place, address: &str) -> Option<[ErrorKind; 2]> {
    let by_connection = connect(Some(place), address).err()?.kind();
    let by_datagram = datagram(Some(place), address, 3000).err()?.kind();
    Some([by_connection, by_datagram])
}

fn assert_refused(place: &Place, address: &str) {
    let kind =
        if address.starts_with('[') { ErrorKind::PermissionDenied } else { ErrorKind::HostUnreachable };
    assert_eq!(refusal(place, address), Some([kind; 2]), "{address}");
}

fn all() -> impl Iterator<Item = &'static str> {
    WORLD.iter().chain(&HOST).chain(&NEIGHBOUR).copied()
}

#[test]
fn nothing_is_reached_that_is_not_named_and_everybody_is_answered() {
    let world = world();
    let own = Some(&world.container);
    all().for_each(|address| assert!(is_open(own, address), "{address} before"));
    let mut guard = Guard::new("kapsel-1", &[]).unwrap();
    guard.add(&link()).unwrap();
    all().for_each(|address| assert_refused(&world.container, address));
    assert!(
        world.container.shell("ping -c1 -W1 10.1.0.1; ping -c1 -W1 192.0.2.1").contains("100% packet loss")
    );
    Guard::new("kapsel-1", &[]).unwrap_err();
    // Those who begin are answered, by neighbours', the host's and the world's way.
    for place in [None, Some(&world.neighbour), Some(&world.outside)] {
        OWN.iter().for_each(|address| assert!(is_open(place, address), "{address}"));
    }
    assert!(
        world
            .neighbour
            .shell("ping -c1 -W2 10.1.0.2 && ping -c1 -W2 fd00:1::2 && echo all")
            .ends_with("all\n")
    );
    // Nobody can take it away but its owner.
    assert!(
        shell("nft flush ruleset; nft delete table netdev kapsel-1; nft list tables").contains("kapsel-1")
    );
    assert_refused(&world.container, HOST[0]);
    guard.remove(&link()).unwrap();
    guard.remove(&link()).unwrap();
    all().for_each(|address| assert!(is_open(own, address), "{address} after"));
    guard.add(&link()).unwrap();
    assert_refused(&world.container, HOST[0]);
    drop(guard);
    assert!(is_open(own, HOST[0]));
    assert_eq!(shell("nft list tables"), "");
}

#[test]
fn what_is_named_is_reached_and_nothing_beside_it() {
    let world = world();
    let allowed =
        ["192.0.2.0/25", "192.0.2.64/26", "192.0.2.128/25", "10.1.0.3/32", "2001:db8::/64", "::/128"];
    let mut guard = Guard::new("kapsel-1", &allowed.map(|text| text.parse().unwrap())).unwrap();
    guard.add(&link()).unwrap();
    let own = Some(&world.container);
    for address in [WORLD[0], WORLD[1], NEIGHBOUR[0]] {
        assert!(is_open(own, address), "{address}");
    }
    for address in [WORLD[2], HOST[0], HOST[1], NEIGHBOUR[1]] {
        assert_refused(&world.container, address);
    }
    let everything = ["0.0.0.0/0", "10.0.0.0/8", "::/0"].map(|text| text.parse().unwrap());
    let mut guard = (drop(guard), Guard::new("kapsel-2", &everything).unwrap()).1;
    guard.add(&link()).unwrap();
    all().for_each(|address| assert!(is_open(own, address), "{address}"));
}

#[test]
fn what_is_pinned_is_reached_for_a_while_and_what_has_begun_goes_on() {
    let world = world();
    let mut guard = Guard::new("kapsel-1", &[]).unwrap();
    guard.add(&link()).unwrap();
    let own = Some(&world.container);
    assert_refused(&world.container, WORLD[0]);
    guard.pin("2001:db8::1".parse().unwrap(), Duration::from_secs(600)).unwrap();
    guard.pin("192.0.2.1".parse().unwrap(), Duration::from_secs(5)).unwrap();
    let mut stream = connect(own, WORLD[0]).unwrap();
    echo(&mut stream).unwrap();
    let begun = Instant::now();
    while refusal(&world.container, WORLD[0]).is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "a pin that does not end");
    }
    assert_refused(&world.container, WORLD[0]);
    echo(&mut stream).unwrap();
    assert!(is_open(own, WORLD[1]));
}

/// Sends a frame from a container as whoever has all rights in it.
fn forge(container: &Place, frame: &str) {
    let script = format!(
        "
import socket, struct
def checksum(data):
    data += b'\\0' * (len(data) % 2)
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def ip(source, target, protocol, payload):
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, socket.inet_aton(source), socket.inet_aton(target))
    return head[:10] + struct.pack('!H', checksum(head)) + head[12:] + payload
def udp(port, data): return struct.pack('!HHHH', 9999, port, 8 + len(data), 0) + data
def tcp(port, flags, data): return struct.pack('!HHIIBBHHH', 9999, port, 7, 7, 0x50, flags, 999, 0, 0) + data
def mac(text): return bytes.fromhex(text.replace(':', ''))
own, bridge, neighbour = mac('02:00:00:01:01:02'), mac('02:00:00:00:00:01'), mac('02:00:00:01:01:03')
everybody = b'\\xff' * 6
def arp(operation, mac, address): return struct.pack('!HHBBH', 1, 0x800, 6, 4, operation) + mac + socket.inet_aton(address) + everybody + socket.inet_aton('10.1.0.3')
def ip6(source, target, payload):
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    total = checksum(ends + struct.pack('!II', len(payload), 58) + payload)
    payload = payload[:2] + struct.pack('!H', total) + payload[4:]
    return struct.pack('!IHBB', 6 << 28, len(payload), 58, 255) + ends + payload
def advertisement(address, mac): return struct.pack('!BBHI', 136, 0, 0, 0x20000000) + socket.inet_pton(socket.AF_INET6, address) + b'\\x02\\x01' + mac
ip4, arps, ipv6 = b'\\x08\\0', b'\\x08\\x06', b'\\x86\\xdd'
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(('eth0', 0))
raw.send({frame})
"
    );
    assert_eq!(output(container.command("python3").args(["-c", &script])), "", "{frame}");
}

#[test]
fn forged_frames_are_not_heard() {
    let world = world();
    let forge = |frame: &str| forge(&world.container, frame);
    // What arrives at the world and at the neighbour, whoever says that he sent it.
    let listen = |place: &Place, address: &str| {
        let socket = within(Some(place), || UdpSocket::bind(address)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket
    };
    let far = listen(&world.outside, "192.0.2.1:99");
    let near = listen(&world.neighbour, "10.1.0.3:99");
    let at_host = UdpSocket::bind("10.1.0.1:99").unwrap();
    at_host.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let heard = |socket: &UdpSocket| socket.recv(&mut [0; 9]).is_ok();
    let honest = "bridge + own + ip4 + ip('10.1.0.2', '192.0.2.1', 17, udp(99, b'x'))";
    let as_neighbour = "bridge + own + ip4 + ip('10.1.0.3', '192.0.2.1', 17, udp(99, b'x'))";
    let neighbours_mac = "bridge + neighbour + ip4 + ip('10.1.0.2', '192.0.2.1', 17, udp(99, b'x'))";
    let to_neighbour = "neighbour + own + ip4 + ip('10.1.0.2', '10.1.0.3', 17, udp(99, b'x'))";
    let to_host = "bridge + own + ip4 + ip('10.1.0.2', '10.1.0.1', 17, udp(99, b'x'))";
    let tagged = "neighbour + own + b'\\x81\\0\\0\\0' + ip4 + ip('10.1.0.2', '10.1.0.3', 17, udp(99, b'x'))";
    for (frame, socket) in [(honest, &far), (as_neighbour, &far), (to_neighbour, &near), (to_host, &at_host)]
    {
        forge(frame);
        assert!(heard(socket), "without a guard: {frame}");
    }
    // Neighbours believe what they are told of addresses that they know, but not within a second of being told.
    let known = || world.neighbour.shell("ip neigh | grep -v ^fe80 | cut -d' ' -f1,5 | sort");
    let learn = || {
        let neighbour = &world.neighbour;
        neighbour.shell(
            "ip neigh flush all; for to in 10.1.0.1 10.1.0.2 fd00:1::1 fd00:1::2; do ping -c1 -W2 $to; done",
        );
        thread::sleep(Duration::from_millis(1200));
    };
    let truth = "10.1.0.1 02:00:00:00:00:01\n10.1.0.2 02:00:00:01:01:02\n\
                 fd00:1::1 02:00:00:00:00:01\nfd00:1::2 02:00:00:01:01:02\n";
    let lies = [
        "everybody + own + arps + arp(2, own, '10.1.0.1')",
        "everybody + own + arps + arp(1, neighbour, '10.1.0.2')",
        "neighbour + own + ipv6 + ip6('fe80::ff:fe01:102', 'fe80::ff:fe01:103', advertisement('fd00:1::1', own))",
    ];
    for lie in lies {
        learn();
        assert_eq!(known(), truth);
        forge(lie);
        assert_ne!(known(), truth, "without a guard: {lie}");
    }
    let mut guard = Guard::new("kapsel-1", &["192.0.2.1/32".parse().unwrap()]).unwrap();
    guard.add(&link()).unwrap();
    forge(honest);
    assert!(heard(&far), "what is allowed");
    for (frame, socket) in [
        (as_neighbour, &far),
        (neighbours_mac, &far),
        (to_neighbour, &near),
        (to_host, &at_host),
        (tagged, &near),
    ] {
        forge(frame);
        assert!(!heard(socket), "{frame}");
    }
    learn();
    lies.iter().for_each(|lie| forge(lie));
    assert_eq!(known(), truth);
    // An acknowledgement that nothing was said to, with a secret in it.
    let count = "cat /proc/net/snmp | grep ^Tcp: | tail -1 | cut -d' ' -f11";
    let before = world.neighbour.shell(count);
    forge("neighbour + own + ip4 + ip('10.1.0.2', '10.1.0.3', 6, tcp(80, 0x18, b'secret'))");
    forge("bridge + own + ip4 + ip('10.1.0.2', '10.1.0.3', 6, tcp(80, 0x18, b'secret'))");
    assert_eq!(world.neighbour.shell(count), before);
}
