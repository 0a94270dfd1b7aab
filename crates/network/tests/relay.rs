//! Ports that are held and relayed, over real sockets, each test in its own network namespace.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use kapsel_network::relay::{Port, Relay, Transport, holder};
use nix::sched::{CloneFlags, unshare};

fn alone() {
    unshare(CloneFlags::CLONE_NEWNET).expect("these tests run as root");
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
}

/// A thread that runs a relay until its owner goes.
struct Loop(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Loop {
    fn start(mut relay: Relay) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut idle = 0_u32;
            while !seen.load(Ordering::Relaxed) {
                let mut waited =
                    libc::pollfd { fd: relay.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: one pollfd that outlives the call.
                if unsafe { libc::poll(&raw mut waited, 1, 20) } > 0 {
                    relay.on_ready();
                    idle += 1;
                }
            }
            assert!(idle < 100_000, "woken {idle} times: something is told again and again");
        });
        Self(over, Some(thread))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap();
    }
}

fn port(transport: Transport, host: &str, target: &str) -> Port {
    Port { transport, host: host.parse().unwrap(), target: target.parse().unwrap() }
}

/// Gives back in capitals what has come when the other side has said everything.
fn server(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut said = Vec::new();
                if stream.read_to_end(&mut said).is_ok() {
                    said.make_ascii_uppercase();
                    let _ = stream.write_all(&said);
                }
            });
        }
    });
}

fn ask(address: &str, words: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let words = words.to_vec();
    let written = thread::spawn(move || {
        writer.write_all(&words).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    written.join().unwrap();
    answer
}

#[test]
fn connections_are_relayed_with_both_their_ends() {
    alone();
    server("127.0.0.2:80");
    let mut relay = Relay::new().unwrap();
    relay.hold(port(Transport::Tcp, "[::1]:8080", "127.0.0.2:80")).unwrap();
    relay.hold(port(Transport::Tcp, "0.0.0.0:8080", "127.0.0.2:80")).unwrap();
    relay.hold(port(Transport::Tcp, "127.0.0.1:8081", "127.0.0.2:81")).unwrap();
    let _loop = Loop::start(relay);
    assert_eq!(ask("[::1]:8080", b"hello"), b"HELLO");
    assert_eq!(ask("127.0.0.1:8080", b""), b"");
    let much = vec![b'x'; 8 << 20];
    assert!(ask("[::1]:8080", &much) == much.to_ascii_uppercase());
    // Nobody is there.
    let mut refused = TcpStream::connect("127.0.0.1:8081").unwrap();
    assert!(!matches!(refused.read(&mut [0; 8]), Ok(1..)));
    // Clients that go in the middle, and one that never reads.
    for _ in 0..50 {
        let mut stream = TcpStream::connect("[::1]:8080").unwrap();
        stream.write_all(&[b'x'; 100_000]).unwrap();
    }
    let mut deaf = TcpStream::connect("[::1]:8080").unwrap();
    deaf.set_nonblocking(true).unwrap();
    while deaf.write(&much).is_ok() {}
    thread::sleep(Duration::from_millis(100));
    assert_eq!(ask("[::1]:8080", b"still"), b"STILL");
}

#[test]
fn datagrams_find_their_way_back() {
    alone();
    let target = UdpSocket::bind("127.0.0.2:53").unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 65535];
        while let Ok((count, from)) = target.recv_from(&mut buffer) {
            buffer[..count].make_ascii_uppercase();
            target.send_to(&buffer[..count], from).unwrap();
        }
    });
    let mut relay = Relay::new().unwrap();
    relay.hold(port(Transport::Udp, "[::]:5353", "127.0.0.2:53")).unwrap();
    let _loop = Loop::start(relay);
    let clients: Vec<_> = (0..20)
        .map(|number| {
            let client = UdpSocket::bind("[::1]:0").unwrap();
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            client.connect("[::1]:5353").unwrap();
            client.send(format!("client {number}").as_bytes()).unwrap();
            client
        })
        .collect();
    for (number, client) in clients.iter().enumerate() {
        let mut buffer = [0; 100];
        let count = client.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..count], *format!("CLIENT {number}").as_bytes());
    }
}

#[test]
fn a_port_is_somebodys_or_nobodys() {
    alone();
    let own = std::process::id();
    let _listener = TcpListener::bind("127.0.0.1:8080").unwrap();
    let mut relay = Relay::new().unwrap();
    for host in ["127.0.0.1:8080", "0.0.0.0:8080"] {
        let error = relay.hold(port(Transport::Tcp, host, "127.0.0.2:80")).unwrap_err();
        assert_eq!((error.code, error.errno), ("PORT_TAKEN", libc::EADDRINUSE));
        assert!(error.message.starts_with(&format!("port {host}/tcp is taken by ")), "{error}");
        assert!(error.message.ends_with(&format!("(process {own})")), "{error}");
    }
    let absent = relay.hold(port(Transport::Tcp, "192.0.2.1:8080", "127.0.0.2:80")).unwrap_err();
    assert_eq!(absent.code, "ADDRESS_NOT_AVAILABLE");
    // Another family, another address, another transport.
    relay.hold(port(Transport::Tcp, "[::]:8080", "127.0.0.2:80")).unwrap();
    relay.hold(port(Transport::Tcp, "127.0.0.3:8080", "127.0.0.2:80")).unwrap();
    relay.hold(port(Transport::Udp, "0.0.0.0:8080", "127.0.0.2:80")).unwrap();
    assert_eq!(relay.ports().count(), 3);
    let host: SocketAddr = "0.0.0.0:8080".parse().unwrap();
    assert!(UdpSocket::bind(host).is_err(), "others must find it taken");
    assert_eq!(holder(Transport::Udp, host).unwrap().pid, own);
    relay.release(Transport::Udp, host);
    assert!(UdpSocket::bind(host).is_ok());
    assert_eq!(holder(Transport::Udp, host), None);
}
