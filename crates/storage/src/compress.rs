//! A tar → a layer's blob, packed on as many threads as there are. The bytes that come out do not depend on how many.

mod pack;

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::available_parallelism;

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::unwritable;
use crate::stream::Compression;
use pack::{Block, Packed, Packer};

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compressed {
    /// Of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
}

/// Compresses `input` to its end. `level` is the method's own measure of effort; `None`: its usual one.
/// Codes: `LEVEL_INVALID`, `OUTPUT_FAILED`.
pub fn compress(
    input: impl Read + Send,
    compression: Compression,
    level: Option<i32>,
    out: &mut dyn Write,
) -> Result<Compressed> {
    let packer = Packer::new(compression, level)?;
    let threads = available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        // What waits here is all the memory there is, beside a block in each hand.
        let (to_caller, in_order) = sync_channel::<Receiver<Result<Packed>>>(2 * threads);
        let (to_workers, jobs) = sync_channel::<Job>(0);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads {
            let (jobs, packer) = (jobs.clone(), &packer);
            scope.spawn(move || {
                // Whoever holds the lock while waiting is next.
                while let Some(job) = jobs.lock().ok().and_then(|jobs| jobs.recv().ok()) {
                    // Where nobody waits for it any more there is an error already.
                    let _ = job.reply.send(packer.pack(&job.block));
                }
            });
        }
        drop(jobs);
        let size = packer.block_size();
        let reader = scope.spawn(move || read(input, size, &to_caller, &to_workers));
        let written = collect(&packer, &in_order, out);
        drop(in_order);
        let lost = |_| Error::new("OUTPUT_FAILED", "a thread of the compressor ended without an answer");
        reader.join().map_err(lost)?.and(written)
    })
}

/// A block to be packed and where to.
struct Job {
    block: Block,
    reply: SyncSender<Result<Packed>>,
}

/// Cuts the input into blocks of `size` bytes, until it ends or nobody wants more.
fn read(
    mut input: impl Read,
    size: usize,
    to_caller: &SyncSender<Receiver<Result<Packed>>>,
    to_workers: &SyncSender<Job>,
) -> Result<()> {
    let mut before = None;
    loop {
        let mut bytes = Vec::with_capacity(size);
        let unreadable = |cause| Error::io("OUTPUT_FAILED", "cannot read the layer", &cause);
        (&mut input).take(size as u64).read_to_end(&mut bytes).map_err(unreadable)?;
        // A last block without a byte ends a tar that fills its blocks, and is all of an empty one.
        let last = bytes.len() < size;
        let bytes = Arc::new(bytes);
        let (reply, answer) = sync_channel(1);
        let block = Block { bytes: bytes.clone(), before: before.replace(bytes), last };
        if to_caller.send(answer).is_err() || to_workers.send(Job { block, reply }).is_err() || last {
            return Ok(());
        }
    }
}

/// Writes the blocks in the order in which they were cut.
fn collect(
    packer: &Packer,
    from: &Receiver<Receiver<Result<Packed>>>,
    out: &mut dyn Write,
) -> Result<Compressed> {
    let (mut sha256, mut size) = (Sha256::new(), 0);
    let mut put = |bytes: &[u8]| {
        sha256.update(bytes);
        size += bytes.len() as u64;
        out.write_all(bytes).map_err(|cause| unwritable(&cause))
    };
    let mut sum = flate2::Crc::new();
    put(packer.start())?;
    while let Ok(answer) = from.recv() {
        let lost = |_| Error::new("OUTPUT_FAILED", "a thread of the compressor ended without an answer");
        let packed = answer.recv().map_err(lost)??;
        put(&packed.bytes)?;
        sum.combine(&packed.sum);
    }
    put(&packer.end(&sum))?;
    out.flush().map_err(|cause| unwritable(&cause))?;
    Ok(Compressed { digest: Digest(sha256.finalize().into()), size })
}
