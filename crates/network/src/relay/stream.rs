//! Two connections whose bytes are each other's, and whose ends too.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
};

/// Bytes of one read.
const CHUNK: usize = 16 << 10;
/// Reads and writes before others have their turn.
const TURN: usize = 64;

/// A connection to the host's port and one to the container's.
#[derive(Debug)]
pub(super) struct Stream {
    client: TcpStream,
    target: TcpStream,
    there: Flow,
    back: Flow,
}

/// Whether a stream goes on.
pub(super) enum State {
    /// Until something happens at one of its sockets.
    Waiting,
    /// At once, there is more.
    Busy,
    /// No more.
    Over,
}

/// One direction.
#[derive(Debug, Default)]
struct Flow {
    kept: Vec<u8>,
    ended: bool,
    passed_on: bool,
}

impl Stream {
    /// Takes over two sockets that do not block.
    pub fn new(client: TcpStream, target: TcpStream) -> Self {
        Self { client, target, there: Flow::default(), back: Flow::default() }
    }

    pub fn client(&self) -> &TcpStream {
        &self.client
    }

    /// Carries what can be carried.
    pub fn carry(&mut self) -> State {
        for _ in 0..TURN {
            let there = self.there.step(&self.client, &self.target);
            let back = self.back.step(&self.target, &self.client);
            match (there, back) {
                (Ok(false), Ok(false)) if self.there.passed_on && self.back.passed_on => return State::Over,
                (Ok(false), Ok(false)) => return State::Waiting,
                (Ok(_), Ok(_)) => {}
                _ => return State::Over,
            }
        }
        State::Busy
    }
}

impl Flow {
    /// Reads or writes once; whether anything moved.
    fn step(&mut self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<bool> {
        if !self.kept.is_empty() {
            return match to.write(&self.kept) {
                Ok(count) => {
                    self.kept.drain(..count);
                    Ok(count > 0)
                }
                Err(error) => later(error),
            };
        }
        if self.ended {
            let moved = !self.passed_on;
            if moved {
                self.passed_on = true;
                to.shutdown(Shutdown::Write)?;
                self.kept = Vec::new();
            }
            return Ok(moved);
        }
        let mut bytes = [0; CHUNK];
        match from.read(&mut bytes) {
            Ok(0) => self.ended = true,
            Ok(count) => self.kept.extend_from_slice(&bytes[..count]),
            Err(error) => return later(error),
        }
        Ok(true)
    }
}

/// A socket that is not ready, or not connected yet, is for later.
fn later(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::NotConnected => Ok(false),
        ErrorKind::Interrupted => Ok(true),
        _ => Err(error),
    }
}
