//! One query on its way to somebody who knows the answer: byte for byte but for its number, from a socket of its own, so
//! that nobody can answer it who has not seen it.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    time::Instant,
};

use nix::sys::socket::SockType;

use super::{connection::Connection, message::Question};
use crate::{hub::outside, relay::begin};

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// By a datagram from there.
    Datagram(SocketAddr),
    /// By the connection of this key.
    Connection(u64),
}

/// A query that waits for its answer.
#[derive(Debug)]
pub(super) struct Forward {
    pub asker: Asker,
    pub query: Vec<u8>,
    pub question: Question,
    /// How many times it has been sent.
    pub tries: usize,
    /// When the next one is tried.
    pub until: Instant,
    /// The query with the number that it is forwarded with.
    pub sent: Vec<u8>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Datagram(UdpSocket),
    Connection(Connection),
    None,
}

impl Forward {
    pub fn new(asker: Asker, query: Vec<u8>, question: Question, until: Instant) -> Self {
        Self { asker, sent: query.clone(), query, question, tries: 0, until, way: Way::None }
    }

    /// Sends it, the way it came. The caller watches [`Forward::as_fd`] then.
    pub fn send(&mut self, upstream: SocketAddr) -> io::Result<()> {
        self.way = Way::None;
        self.sent[..2].copy_from_slice(&random()?);
        if let Asker::Connection(_) = self.asker {
            let mut connection =
                Connection::new(outside(move || begin(SockType::Stream, upstream, None))?.into());
            connection.say(&self.sent).map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.way = Way::Connection(connection);
            return Ok(());
        }
        // The kernel gives us nobody else's datagrams.
        let socket = UdpSocket::from(outside(move || begin(SockType::Datagram, upstream, None))?);
        socket.send(&self.sent)?;
        self.way = Way::Datagram(socket);
        Ok(())
    }

    /// What has come; an error where nothing will come this way.
    pub fn receive(&mut self) -> io::Result<Vec<Vec<u8>>> {
        match &mut self.way {
            Way::Datagram(socket) => {
                let mut buffer = vec![0; 65535];
                match socket.recv(&mut buffer) {
                    Ok(count) => {
                        buffer.truncate(count);
                        Ok(vec![buffer])
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
                    Err(error) => Err(error),
                }
            }
            Way::Connection(connection) => {
                let gone = |_| io::ErrorKind::BrokenPipe;
                connection.flush().map_err(gone)?;
                Ok(connection.receive().map_err(gone)?)
            }
            Way::None => Ok(Vec::new()),
        }
    }

    /// Whether it is still being sent.
    pub fn is_behind(&self) -> bool {
        matches!(&self.way, Way::Connection(connection) if connection.is_behind())
    }

    /// The socket that is to be watched.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::Datagram(socket) => Some(socket.as_fd()),
            Way::Connection(connection) => Some(connection.stream.as_fd()),
            Way::None => None,
        }
    }
}

/// A number that nobody can guess.
fn random() -> io::Result<[u8; 2]> {
    let mut bytes = [0; 2];
    // SAFETY: there is room for the two bytes that are asked for; the kernel gives so few at once or none.
    match unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), 2, 0) } {
        2 => Ok(bytes),
        _ => Err(io::Error::last_os_error()),
    }
}
