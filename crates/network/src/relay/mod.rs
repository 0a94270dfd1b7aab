//! Published ports as the host's programs see them: taken. What the packet filter does not carry on to the container, such
//! as a connection to `[::1]`, which cannot leave the host's loopback, or one that comes while somebody has flushed the
//! rules, arrives here and is relayed.
//!
//! One descriptor for somebody's loop, as the name server.

mod datagrams;
mod holder;
mod stream;
mod target;

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, listen, setsockopt, socket,
    sockopt,
};

pub use holder::{Holder, holder};
pub(crate) use target::begin;

use self::{datagrams::Datagrams, stream::Stream};
use crate::{
    error::{Error, Result},
    hub::outside,
    keyed::Keyed,
    poll::{CLOCK, EDGE, Poll, READ, WRITE},
};

/// Connections at once; others wait.
const MOST: usize = 256;
/// How long nobody is let in when there are too many, or too few descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What is relayed; SCTP is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port of the host and what is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its transport.
    pub transport: Transport,
    /// Where the host listens; the unspecified address of a family is all addresses of that family and of no other.
    pub host: SocketAddr,
    /// The container's side, of either family.
    pub target: SocketAddr,
}

/// Ports that are held, and what comes to them.
#[derive(Debug)]
pub struct Relay {
    poll: Poll,
    held: Keyed<Held>,
    /// Each has two keys: of the client's socket, which is even, and the next one.
    streams: Keyed<Stream>,
    next: u64,
}

#[derive(Debug)]
enum Held {
    Listener(Port, TcpListener),
    Datagrams(Port, Datagrams),
}

impl Held {
    fn port(&self) -> &Port {
        match self {
            Self::Listener(port, _) | Self::Datagrams(port, _) => port,
        }
    }
}

impl Relay {
    /// Holds nothing yet.
    pub fn new() -> Result<Self> {
        let poll = Poll::new().map_err(|error| wrong("cannot begin to relay", &error))?;
        Ok(Self { poll, held: Keyed::new(), streams: Keyed::new(), next: 0 })
    }

    /// Takes a port of the calling thread's network namespace; `PORT_TAKEN` where somebody has it, with who.
    pub fn hold(&mut self, port: Port) -> Result<()> {
        self.try_hold(port).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => taken(&port),
            io::ErrorKind::AddrNotAvailable => Error::new(
                "ADDRESS_NOT_AVAILABLE",
                format!("cannot publish at {}: this machine has no such address", port.host),
            ),
            io::ErrorKind::PermissionDenied => wrong(
                &format!(
                    "cannot publish at {}; as root run: sysctl -w net.ipv4.ip_unprivileged_port_start={}",
                    port.host,
                    port.host.port()
                ),
                &error,
            ),
            _ => wrong(&format!("cannot publish at {}", port.host), &error),
        })
    }

    fn try_hold(&mut self, port: Port) -> io::Result<()> {
        let fd = outside(move || open(&port))?;
        let key = self.number();
        let held = match port.transport {
            Transport::Tcp => {
                self.poll.add(&fd, key, READ)?;
                Held::Listener(port, TcpListener::from(fd))
            }
            Transport::Udp => {
                let datagrams = Datagrams::new(UdpSocket::from(fd), port.target)?;
                self.poll.add(&datagrams, key, READ)?;
                Held::Datagrams(port, datagrams)
            }
        };
        self.held.insert(key, held);
        Ok(())
    }

    /// Lets go of a port. Connections that have come to it go on.
    pub fn release(&mut self, transport: Transport, host: SocketAddr) {
        self.held.retain(|held| (held.port().transport, held.port().host) != (transport, host));
    }

    /// The ports that are held.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.held.values().map(Held::port)
    }

    /// Does what there is to do; to be called when the descriptor is readable. It never waits.
    pub fn on_ready(&mut self) {
        for key in self.poll.ready() {
            match self.held.get_mut(key) {
                _ if key == CLOCK => self.watch_listeners(READ),
                Some(Held::Datagrams(_, datagrams)) => datagrams.on_ready(),
                Some(Held::Listener(..)) => self.accept(key),
                None => self.carry(key & !1),
            }
        }
    }

    fn accept(&mut self, key: u64) {
        let Some(Held::Listener(port, listener)) = self.held.get_mut(key) else { return };
        if self.streams.len() >= MOST {
            return self.pause();
        }
        let (client, from) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => return self.pause(),
        };
        if client.set_nonblocking(true).is_err() {
            return;
        }
        let Ok(target) = target::reach(SockType::Stream, port.target, from) else { return };
        let target = TcpStream::from(target);
        let key = self.number();
        // Told of every change and never twice of the same: the end of one side must not wake us until the other has read.
        let edges = READ | WRITE | EDGE;
        if self.poll.add(&client, key, edges).is_ok() && self.poll.add(&target, key + 1, edges).is_ok() {
            self.streams.insert(key, Stream::new(client, target));
        }
    }

    /// Lets those who come wait. We would be told of them again and again, until somebody closes something.
    fn pause(&mut self) {
        self.watch_listeners(0);
        self.poll.ring(Some(Instant::now() + PAUSE));
    }

    fn watch_listeners(&self, interest: u32) {
        for (key, held) in self.held.iter() {
            if let Held::Listener(_, listener) = held {
                let _ = self.poll.set(listener, key, interest);
            }
        }
    }

    fn carry(&mut self, key: u64) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        match stream.carry() {
            stream::State::Waiting => {}
            // It had its turn: to be told of it anew, after the others.
            stream::State::Busy => {
                let _ = self.poll.set(stream.client(), key, READ | WRITE | EDGE);
            }
            stream::State::Over => drop(self.streams.remove(key)),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 2;
        self.next
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

/// A socket that waits at the host's side.
fn open(port: &Port) -> io::Result<OwnedFd> {
    let kind = match port.transport {
        Transport::Tcp => SockType::Stream,
        Transport::Udp => SockType::Datagram,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd;
    match port.host {
        SocketAddr::V4(host) => {
            fd = socket(AddressFamily::Inet, kind, flags, None)?;
            reuse(&fd, port)?;
            bind(fd.as_raw_fd(), &SockaddrIn::from(host))?;
        }
        SocketAddr::V6(host) => {
            fd = socket(AddressFamily::Inet6, kind, flags, None)?;
            reuse(&fd, port)?;
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
            bind(fd.as_raw_fd(), &SockaddrIn6::from(host))?;
        }
    }
    if port.transport == Transport::Tcp {
        listen(&fd, Backlog::new(128).unwrap_or(Backlog::MAXCONN))?;
    }
    Ok(fd)
}

/// Connections of the last who had the port may still be ending. Of datagrams, two could have the port then.
fn reuse(fd: &OwnedFd, port: &Port) -> io::Result<()> {
    if port.transport == Transport::Tcp {
        setsockopt(fd, sockopt::ReuseAddr, &true)?;
    }
    Ok(())
}

fn taken(port: &Port) -> Error {
    let protocol = match port.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    let (transport, host) = (port.transport, port.host);
    let by = outside(move || holder(transport, host)).map_or_else(
        || "another program".to_owned(),
        |Holder { pid, name }| format!("{name} (process {pid})"),
    );
    let mut error = Error::new("PORT_TAKEN", format!("port {}/{protocol} is taken by {by}", port.host));
    error.errno = libc::EADDRINUSE;
    error
}

fn wrong(what: &str, error: &io::Error) -> Error {
    let errno = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    Error::system(errno, what)
}
