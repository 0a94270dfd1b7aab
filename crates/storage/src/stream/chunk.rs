//! Pieces of memory that go round: a piece dropped by its last user is filled again. Whoever wants one while all are
//! in use waits, which is what bounds memory and slows a fast producer down.

use std::ops::Deref;
use std::sync::mpsc::{Receiver, Sender, channel};

/// A fixed number of pieces.
pub struct Pool {
    free: Receiver<Vec<u8>>,
    home: Sender<Vec<u8>>,
}

/// A piece, filled up to its length.
pub struct Chunk {
    bytes: Vec<u8>,
    length: usize,
    home: Sender<Vec<u8>>,
}

impl Pool {
    /// `count` pieces of `size` bytes.
    pub fn new(count: usize, size: usize) -> Self {
        let (home, free) = channel();
        for _ in 0..count {
            // Cannot fail: the receiver is right here.
            let _ = home.send(vec![0; size]);
        }
        Pool { free, home }
    }

    /// An empty piece, once there is one.
    pub fn take(&self) -> Chunk {
        // `home` keeps the channel open, so that this only ever waits.
        let bytes = self.free.recv().unwrap_or_default();
        Chunk { bytes, length: 0, home: self.home.clone() }
    }
}

impl Chunk {
    /// What is not filled yet.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.length..]
    }

    /// `count` bytes of the room were filled.
    pub fn grow(&mut self, count: usize) {
        self.length += count;
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // The pool may be gone: then so is the memory.
        let _ = self.home.send(std::mem::take(&mut self.bytes));
    }
}
