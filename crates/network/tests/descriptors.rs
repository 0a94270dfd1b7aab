//! A process that has no descriptors left is not woken again and again by those who want to connect. One test, as the limit
//! is the whole process's.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::Command,
    time::Duration,
};

use kapsel_network::{
    names::{Server, Settings, Sockets},
    relay::{Port, Relay, Transport},
};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};

fn is_ready(of: &impl AsFd, patience: i32) -> bool {
    let mut waited = libc::pollfd { fd: of.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that outlives the call.
    unsafe { libc::poll(&raw mut waited, 1, patience) > 0 }
}

/// No descriptor above those that there are, or as many as before.
fn limit(to: Option<u64>) {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: an rlimit that outlives both calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut now);
        now.rlim_cur = to.unwrap_or(now.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const now), 0);
    }
}

fn try_it(part: &mut impl AsFd, on_ready: &mut impl FnMut(), client: &OwnedFd, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let SocketAddr::V4(address) = address else { unreachable!() };
    limit(Some(1));
    connect(client.as_raw_fd(), &SockaddrIn::from(address)).unwrap();
    assert!(is_ready(part, 10_000), "somebody connects");
    on_ready();
    assert!(!is_ready(part, 0), "and cannot be let in");
    limit(None);
}

#[test]
fn who_cannot_be_let_in_does_not_wake_us_all_the_time() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("these tests run as root");
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    let client = || socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let (first, second) = (client(), client());
    let target = TcpListener::bind("127.0.0.2:80").unwrap();
    target.set_nonblocking(true).unwrap();
    let (host, behind) = ("127.0.0.1:8080", "127.0.0.2:80");
    let mut relay = Relay::new().unwrap();
    let port =
        Port { transport: Transport::Tcp, host: host.parse().unwrap(), target: behind.parse().unwrap() };
    relay.hold(port).unwrap();
    let settings = Settings {
        records: Vec::new(),
        upstreams: Vec::new(),
        patience: Duration::from_secs(1),
        filter: None,
    };
    let sockets = Sockets::open("127.0.0.11:53".parse().unwrap()).unwrap();
    let mut server = Server::new(sockets, settings).unwrap();

    {
        let mut watched = relay.as_fd().try_clone_to_owned().unwrap();
        try_it(&mut watched, &mut || relay.on_ready(), &first, host);
        let mut watched = server.as_fd().try_clone_to_owned().unwrap();
        try_it(&mut watched, &mut || server.on_ready(), &second, "127.0.0.11:53");
    }
    // Later they are.
    while target.accept().is_err() {
        assert!(is_ready(&relay, 10_000));
        relay.on_ready();
    }
    let query = b"\0\x0c\xab\xcd\x01\0\0\x01\0\0\0\0\0\0";
    let mut asked = std::net::TcpStream::from(second);
    std::io::Write::write_all(&mut asked, query).unwrap();
    asked.set_nonblocking(true).unwrap();
    let mut answer = [0; 14];
    while std::io::Read::read(&mut asked, &mut answer).is_err() {
        assert!(is_ready(&server, 10_000));
        server.on_ready();
    }
    assert_eq!(answer[2..4], [0xab, 0xcd]);
}
