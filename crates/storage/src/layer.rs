//! Tree + recipe → the layer's tar. One thread puts it together and writes it, another hashes it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::recipe::assemble::assemble;

/// Bytes that are hashed at once.
const BLOCK: usize = 256 << 10;

/// Blocks that may wait to be hashed.
const WAITING: usize = 8;

/// What was written; its JSON is what the `layer` verb answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// Of the tar.
    pub diff_id: Digest,
    /// Bytes of the tar.
    pub unpacked_size: u64,
}

/// Writes a layer's tar to `out`. `tree` is its directory, `diff_id` what the tar must hash to: that is known when all
/// is written, so whoever reads must wait for the verdict.
///
/// Codes: `RECIPE_DAMAGED`, `LAYER_DAMAGED`, `LAYER_UNREADABLE`, `OUTPUT_FAILED`, `DIFF_ID_MISMATCH`.
pub fn write(tree: OwnedFd, recipe: File, diff_id: Option<Digest>, out: &mut dyn Write) -> Result<Written> {
    let written = std::thread::scope(|scope| {
        let (hasher, blocks) = sync_channel(WAITING);
        let hashing = scope.spawn(move || hash(&blocks));
        let mut both = Both { out, bytes: Vec::with_capacity(BLOCK), hasher };
        let made = assemble(tree, recipe, &mut both)
            .and_then(|()| both.send().and_then(|()| both.out.flush()).map_err(|cause| unwritable(&cause)));
        drop(both);
        let hashed = hashing.join().map_err(|_| Error::new("OUTPUT_FAILED", "the hashing thread has ended"));
        made.and(hashed)
    })?;
    match diff_id {
        Some(expected) if expected != written.diff_id => {
            let text = format!(
                "the layer's tar is {}, not {expected}: its files were changed on disk, remove the image and pull it again",
                written.diff_id
            );
            Err(Error::new("DIFF_ID_MISMATCH", text))
        }
        _ => Ok(written),
    }
}

pub(crate) fn unwritable(cause: &io::Error) -> Error {
    Error::io("OUTPUT_FAILED", "cannot write the layer", cause)
}

/// The tar's two receivers.
struct Both<'a> {
    out: &'a mut dyn Write,
    bytes: Vec<u8>,
    hasher: SyncSender<Vec<u8>>,
}

impl Both<'_> {
    fn send(&mut self) -> io::Result<()> {
        self.out.write_all(&self.bytes)?;
        let bytes = std::mem::replace(&mut self.bytes, Vec::with_capacity(BLOCK));
        self.hasher.send(bytes).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Both<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() == BLOCK {
            self.send()?;
        }
        let count = bytes.len().min(BLOCK - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hash(from: &Receiver<Vec<u8>>) -> Written {
    let (mut sha256, mut unpacked_size) = (Sha256::new(), 0);
    while let Ok(bytes) = from.recv() {
        sha256.update(&bytes[..]);
        unpacked_size += bytes.len() as u64;
    }
    Written { diff_id: Digest(sha256.finalize().into()), unpacked_size }
}
