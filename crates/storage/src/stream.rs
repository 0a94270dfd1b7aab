//! Bytes as they come → the tar in them, on three threads: one reads, one inflates, one hashes both sides.
//! The caller is the fourth, and gets the tar in pieces. Memory is what the two pools hold, whatever the stream is.

mod chunk;
mod inflate;

use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::{Error, Result};
use chunk::{Chunk, Pool};

/// Bytes of one piece: large enough that passing it on costs nothing, small enough to stay in the second-level cache.
const CHUNK: usize = 256 << 10;
/// Pieces of each pool, 1 MiB before and after inflating: more are no faster.
const COMPRESSED_CHUNKS: usize = 4;
const PLAIN_CHUNKS: usize = 4;

/// What the stream turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Of the bytes as they came.
    pub digest: Digest,
    /// How many they were.
    pub size: u64,
    /// Of the tar.
    pub diff_id: Digest,
    /// How many bytes it has.
    pub unpacked_size: u64,
}

/// How the tar is packed; found by its first bytes, never by what somebody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, of any number of members.
    Gzip,
    /// RFC 8878, of any number of frames.
    Zstd,
}

impl Compression {
    /// The OCI media type of a layer that is packed so.
    pub fn media_type(self) -> &'static str {
        match self {
            Compression::None => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// A running pipeline.
pub struct Stream {
    plain: Receiver<Result<Arc<Chunk>>>,
    inflater: JoinHandle<Compression>,
    hasher: JoinHandle<Verdict>,
}

/// What the hasher is given.
enum Hash {
    Compressed(Arc<Chunk>),
    Plain(Arc<Chunk>),
}

impl Stream {
    /// Starts the threads. `most` is how many bytes the tar may have.
    pub fn start(input: impl Read + Send + 'static, most: u64) -> Result<Self> {
        let (to_hasher, for_hasher) = channel();
        let (to_inflater, for_inflater) = channel();
        let (to_caller, plain) = channel();
        let compressed = Sides { hasher: to_hasher.clone(), next: to_inflater };
        spawn("read", move || read(input, &compressed))?;
        let inflater = spawn("inflate", move || inflate::run(for_inflater, &to_hasher, &to_caller, most))?;
        let hasher = spawn("hash", move || hash(&for_hasher))?;
        Ok(Stream { plain, inflater, hasher })
    }

    /// The next piece of the tar, or `None` at its end.
    pub fn next(&mut self) -> Result<Option<Arc<Chunk>>> {
        self.plain.recv().ok().transpose()
    }

    /// Once `next` gave `None`: what it all was.
    pub fn finish(self) -> Result<(Verdict, Compression)> {
        let lost = |_| Error::new("UNPACK_FAILED", "a thread of the unpacker ended without an answer");
        let compression = self.inflater.join().map_err(lost)?;
        Ok((self.hasher.join().map_err(lost)?, compression))
    }
}

/// Where the reader's pieces go.
struct Sides {
    hasher: Sender<Hash>,
    next: Sender<Result<Arc<Chunk>>>,
}

fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
    // The largest frame is zstd's and flate2's callers': far below this.
    let thread = Builder::new().name(name.to_owned()).stack_size(256 << 10).spawn(work);
    thread.map_err(|cause| Error::io("UNPACK_FAILED", "cannot start a thread", &cause))
}

/// Fills pieces until the input ends or nobody wants more.
fn read(mut input: impl Read, to: &Sides) {
    let pool = Pool::new(COMPRESSED_CHUNKS, CHUNK);
    loop {
        let mut chunk = pool.take();
        while chunk.len() < CHUNK {
            match input.read(chunk.room()) {
                Ok(0) => break,
                Ok(count) => chunk.grow(count),
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => {
                    let _ = to.next.send(Err(Error::io("UNPACK_FAILED", "cannot read the layer", &cause)));
                    return;
                }
            }
        }
        let last = chunk.len() < CHUNK;
        if !chunk.is_empty() {
            let chunk = Arc::new(chunk);
            let sent = to.hasher.send(Hash::Compressed(chunk.clone()));
            // Where nobody listens any more the caller has an error already.
            if sent.is_err() || to.next.send(Ok(chunk)).is_err() {
                return;
            }
        }
        if last {
            return;
        }
    }
}

/// Hashes both sides. Where the tar came plain there is only one.
fn hash(from: &Receiver<Hash>) -> Verdict {
    let (mut outer, mut inner) = (Sha256::new(), Sha256::new());
    let (mut size, mut unpacked_size) = (0, 0);
    let mut inflated = false;
    while let Ok(message) = from.recv() {
        match message {
            Hash::Compressed(chunk) => {
                outer.update(&chunk[..]);
                size += chunk.len() as u64;
            }
            Hash::Plain(chunk) => {
                inflated = true;
                inner.update(&chunk[..]);
                unpacked_size += chunk.len() as u64;
            }
        }
    }
    let digest = Digest(outer.finalize().into());
    if inflated {
        return Verdict { digest, size, diff_id: Digest(inner.finalize().into()), unpacked_size };
    }
    Verdict { digest, size, diff_id: digest, unpacked_size: size }
}
