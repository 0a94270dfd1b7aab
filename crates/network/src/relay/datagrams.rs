//! Datagrams of a port, with a socket for each of those who send some, so that what comes back finds them.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use nix::sys::socket::SockType;

use super::target::reach;
use crate::{
    keyed::Keyed,
    poll::{CLOCK, Poll, READ},
};

/// Those who send at once.
const MOST: usize = 128;
/// Datagrams before others have their turn.
const TURN: usize = 64;
/// How long one may say nothing: conntrack's time for a stream of datagrams.
const IDLE: Duration = Duration::from_secs(120);
/// The key of the port's own socket.
const PORT: u64 = 0;

/// A port.
#[derive(Debug)]
pub(super) struct Datagrams {
    poll: Poll,
    port: UdpSocket,
    target: SocketAddr,
    peers: Keyed<Peer>,
    next: u64,
}

#[derive(Debug)]
struct Peer {
    address: SocketAddr,
    socket: UdpSocket,
    until: Instant,
}

impl Datagrams {
    /// Takes over a bound socket that does not block.
    pub fn new(port: UdpSocket, target: SocketAddr) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(&port, PORT, READ)?;
        Ok(Self { poll, port, target, peers: Keyed::new(), next: PORT })
    }

    pub fn on_ready(&mut self) {
        for key in self.poll.ready() {
            match key {
                PORT => self.on_port(),
                CLOCK => self.forget_the_idle(),
                key => self.on_peer(key),
            }
        }
        let next = self.peers.values().map(|peer| peer.until).min();
        self.poll.ring(next);
    }

    fn on_port(&mut self) {
        let mut bytes = [0; 65535];
        for _ in 0..TURN {
            let Ok((count, from)) = self.port.recv_from(&mut bytes) else { return };
            if let Some(peer) = self.peer(from) {
                peer.until = Instant::now() + IDLE;
                let _ = peer.socket.send(&bytes[..count]);
            }
        }
    }

    fn peer(&mut self, address: SocketAddr) -> Option<&mut Peer> {
        let known = self.peers.iter().find(|(_, peer)| peer.address == address).map(|(key, _)| key);
        if let Some(key) = known {
            return self.peers.get_mut(key);
        }
        if self.peers.len() >= MOST {
            return None;
        }
        let socket = UdpSocket::from(reach(SockType::Datagram, self.target, address).ok()?);
        self.next += 1;
        self.poll.add(&socket, self.next, READ).ok()?;
        self.peers.insert(self.next, Peer { address, socket, until: Instant::now() });
        self.peers.get_mut(self.next)
    }

    fn on_peer(&mut self, key: u64) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let mut bytes = [0; 65535];
        for _ in 0..TURN {
            // An error is that of the last one sent, such as that nobody listens.
            let Ok(count) = peer.socket.recv(&mut bytes) else { return };
            peer.until = Instant::now() + IDLE;
            let _ = self.port.send_to(&bytes[..count], peer.address);
        }
    }

    fn forget_the_idle(&mut self) {
        let now = Instant::now();
        self.peers.retain(|peer| peer.until > now);
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}
