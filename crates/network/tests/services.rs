//! Everything that serves a container, behind one descriptor.

mod common;

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use common::{bridge, container, machine, parse, shell};
use kapsel_network::{namespace::inside, services::Services};
use serde_json::json;

/// Serves until it is dropped.
struct Loop(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Loop {
    fn start(mut services: Services) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let fd = services.as_fd().as_raw_fd();
                let mut waited = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
                // SAFETY: one pollfd that outlives the call.
                if unsafe { libc::poll(&raw mut waited, 1, 20) } > 0 {
                    services.on_ready();
                }
            }
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

#[test]
fn a_container_that_serves_names_itself_has_port_53() {
    let mut socket = machine();
    let place = container(&mut socket, &bridge(1), 2);
    let records = tempfile::tempdir().unwrap();
    std::fs::write(records.path().join("db"), "10.1.0.3 db\n").unwrap();
    let names = json!({"records": [records.path()], "upstreams": [], "aside": true});
    let services = Services::start(place.fd(), &parse(&json!({ "names": names }))).unwrap();
    let serving = Loop::start(services);
    let own = inside(place.fd(), || {
        Ok((std::net::UdpSocket::bind("0.0.0.0:53").unwrap(), TcpListener::bind("0.0.0.0:53").unwrap()))
    });
    let _own = own.unwrap();
    let asked = place.shell("dig @127.0.0.11 +short db; dig @127.0.0.11 +short +tcp db; nft flush ruleset");
    assert_eq!(asked, "10.1.0.3\n10.1.0.3\n");
    assert_eq!(place.shell("dig @127.0.0.11 +short db"), "10.1.0.3\n");
    drop(serving);
    assert_eq!(place.shell("nft list tables"), "");
}

#[test]
fn a_container_finds_names_reaches_what_they_stand_for_and_is_found_at_its_ports() {
    let mut socket = machine();
    let network = bridge(1);
    let web = container(&mut socket, &network, 2);
    let db = container(&mut socket, &network, 3);
    let other = container(&mut socket, &network, 4);
    for (place, address) in [(&web, "10.1.0.2:80"), (&db, "10.1.0.3:80"), (&other, "10.1.0.4:80")] {
        let listener = inside(place.fd(), || Ok(TcpListener::bind(address).unwrap())).unwrap();
        thread::spawn(move || {
            listener.incoming().flatten().for_each(|mut peer| peer.write_all(b"hello").unwrap())
        });
    }
    let records = tempfile::tempdir().unwrap();
    std::fs::write(records.path().join("db"), "10.1.0.3 db\n").unwrap();
    std::fs::write(records.path().join("other"), "10.1.0.4 other\n").unwrap();
    let port = |host: &str| json!({"protocol": "tcp", "hostAddress": host, "hostPort": 8080, "address": "10.1.0.2", "containerPort": 80});
    let mut description = json!({
        "names": {"records": [records.path()], "upstreams": []},
        "egress": {
            "table": "kapsel-web", "names": ["db"],
            "links": [{"peer": "v1x2", "mac": "02:00:00:01:01:02", "addresses": ["10.1.0.2/24"]}],
        },
        "ports": [port("0.0.0.0"), port("::"),
            {"protocol": "sctp", "hostPort": 8080, "address": "10.1.0.2", "containerPort": 80}],
    });
    let serving = Loop::start(Services::start(web.fd(), &parse(&description)).unwrap());
    let reach = "python3 -c 'import socket,sys; print(socket.create_connection((sys.argv[1], 80), 3).recv(5).decode())'";
    let asked =
        web.shell(&format!("{reach} 10.1.0.3 2>&1 | tail -1; dig @127.0.0.11 +short db; {reach} 10.1.0.3"));
    let lines: Vec<_> = asked.lines().collect();
    assert_eq!(lines, ["OSError: [Errno 113] No route to host", "10.1.0.3", "hello"]);
    let asked = web.shell(&format!("dig @127.0.0.11 +short other; {reach} 10.1.0.4 2>&1 | tail -1"));
    assert_eq!(asked.lines().collect::<Vec<_>>(), ["10.1.0.4", "OSError: [Errno 113] No route to host"]);
    for host in ["127.0.0.1:8080", "[::1]:8080"] {
        let mut said = String::new();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        stream.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello");
    }
    // Another container that wants the same; nothing of it is left.
    description["egress"]["table"] = "kapsel-db".into();
    let error = Services::start(db.fd(), &parse(&description)).unwrap_err();
    assert_eq!(error.code, "PORT_TAKEN", "{error}");
    assert_eq!(shell("nft list tables netdev"), "table netdev kapsel-web\n");
    assert_eq!(db.shell("ss -Hlun"), "");
    description["egress"]["names"] = json!(["a..b"]);
    description["ports"] = json!([]);
    assert_eq!(Services::start(db.fd(), &parse(&description)).unwrap_err().code, "NAME_INVALID");
    drop(serving);
    assert_eq!(shell("nft list tables; ss -Hltun"), "");
    assert_eq!(web.shell("ss -Hlun"), "");
}
