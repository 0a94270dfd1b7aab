//! DNS over a stream (RFC 7766): two bytes of length before each message, in both directions, never waiting.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

/// Bytes that wait for a peer that does not read, after which it is taken for dead.
const UNREAD: usize = 256 << 10;

/// A stream with its unfinished message and its unsent ones.
#[derive(Debug)]
pub(super) struct Connection {
    pub stream: TcpStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
}

/// The peer is gone, or not worth waiting for.
#[derive(Debug)]
pub(super) struct Gone;

impl Connection {
    /// Takes over a stream that does not block.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new(), unsent: Vec::new() }
    }

    /// Reads once; the messages that are whole then.
    pub fn receive(&mut self) -> Result<Vec<Vec<u8>>, Gone> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err(Gone),
            Ok(count) => self.received.extend_from_slice(&bytes[..count]),
            Err(error) if is_for_later(error.kind()) => {}
            Err(_) => return Err(Gone),
        }
        let mut whole = Vec::new();
        while let Some(length) = self.received.first_chunk().map(|two| usize::from(u16::from_be_bytes(*two)))
        {
            let Some(message) = self.received.get(2..2 + length) else { break };
            whole.push(message.to_vec());
            self.received.drain(..2 + length);
        }
        Ok(whole)
    }

    /// Sends a message, or keeps it until the peer reads.
    pub fn say(&mut self, message: &[u8]) -> Result<(), Gone> {
        self.unsent.extend((message.len() as u16).to_be_bytes());
        self.unsent.extend_from_slice(message);
        self.flush()
    }

    /// Sends what has been kept.
    pub fn flush(&mut self) -> Result<(), Gone> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                // A connection in the making.
                Err(error) if is_for_later(error.kind()) || error.kind() == ErrorKind::NotConnected => break,
                Err(_) => return Err(Gone),
            }
        }
        if self.unsent.len() > UNREAD { Err(Gone) } else { Ok(()) }
    }

    /// Whether something waits for the peer.
    pub fn is_behind(&self) -> bool {
        !self.unsent.is_empty()
    }
}

fn is_for_later(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
