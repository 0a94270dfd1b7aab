//! One block of a tar, packed by itself, so that many can be at once. gzip: deflate blocks that begin with what came
//! before as their dictionary and end at a byte, all in one member, as pigz has it. zstd: a frame each.

use std::sync::Arc;

use flate2::{Compress, Crc, FlushCompress, Status};

use crate::error::{Error, Result};
use crate::stream::Compression;

/// Bytes of a block: so small that two threads are busy with a small layer, so large that its seams cost under a percent.
const GZIP_BLOCK: usize = 512 << 10;
const ZSTD_BLOCK: usize = 4 << 20;

/// Bytes that a deflate block may look back.
const WINDOW: usize = 32 << 10;

/// RFC 1952: deflate, no flags, no time, no hint, no operating system: the same bytes at any time and place.
const GZIP_START: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A piece of the tar.
pub struct Block {
    pub bytes: Arc<Vec<u8>>,
    /// The piece before it.
    pub before: Option<Arc<Vec<u8>>>,
    pub last: bool,
}

/// A packed piece.
pub struct Packed {
    pub bytes: Arc<Vec<u8>>,
    /// gzip's, of what was packed.
    pub sum: Crc,
}

/// Packs in one way.
pub struct Packer {
    compression: Compression,
    level: i32,
}

impl Packer {
    /// `LEVEL_INVALID` where the method has no such level.
    pub fn new(compression: Compression, level: Option<i32>) -> Result<Self> {
        let (usual, allowed) = match compression {
            Compression::None => (0, 0..=0),
            // pigz's, which Docker runs, and what `docker push` uses itself.
            Compression::Gzip => (6, 0..=9),
            Compression::Zstd => (3, 1..=22),
        };
        let level = level.unwrap_or(usual);
        if !allowed.contains(&level) {
            let (least, most) = allowed.into_inner();
            let text = format!("level {level} is none of this compression: give {least} to {most}");
            return Err(Error::new("LEVEL_INVALID", text));
        }
        Ok(Packer { compression, level })
    }

    /// Bytes of a block, all but the last.
    pub fn block_size(&self) -> usize {
        match self.compression {
            Compression::Gzip => GZIP_BLOCK,
            Compression::None | Compression::Zstd => ZSTD_BLOCK,
        }
    }

    /// What comes first.
    pub fn start(&self) -> &'static [u8] {
        if self.compression == Compression::Gzip { &GZIP_START } else { &[] }
    }

    /// What comes last.
    pub fn end(&self, sum: &Crc) -> Vec<u8> {
        match self.compression {
            Compression::Gzip => [sum.sum().to_le_bytes(), sum.amount().to_le_bytes()].concat(),
            Compression::None | Compression::Zstd => Vec::new(),
        }
    }

    /// Packs a block.
    pub fn pack(&self, block: &Block) -> Result<Packed> {
        let mut sum = Crc::new();
        let bytes = match self.compression {
            Compression::None => block.bytes.clone(),
            Compression::Gzip => {
                sum.update(&block.bytes);
                let packed = self.deflate(block);
                Arc::new(packed.ok_or_else(|| Error::new("OUTPUT_FAILED", "a block cannot be compressed"))?)
            }
            Compression::Zstd => Arc::new(
                zstd::bulk::compress(&block.bytes, self.level)
                    .map_err(|cause| Error::io("OUTPUT_FAILED", "cannot compress", &cause))?,
            ),
        };
        Ok(Packed { bytes, sum })
    }

    fn deflate(&self, block: &Block) -> Option<Vec<u8>> {
        let mut deflate = Compress::new(flate2::Compression::new(self.level.unsigned_abs()), false);
        if let Some(before) = &block.before {
            deflate.set_dictionary(&before[before.len().saturating_sub(WINDOW)..]).ok()?;
        }
        let flush = if block.last { FlushCompress::Finish } else { FlushCompress::Sync };
        // Room for what cannot be compressed at all.
        let mut out = Vec::with_capacity(block.bytes.len() + block.bytes.len() / 1000 + 128);
        loop {
            let read = usize::try_from(deflate.total_in()).ok()?;
            let status = deflate.compress_vec(&block.bytes[read..], &mut out, flush).ok()?;
            let all = usize::try_from(deflate.total_in()).ok()? == block.bytes.len();
            match status {
                Status::StreamEnd => return Some(out),
                // With room left over nothing is held back.
                _ if all && !block.last && out.len() < out.capacity() => return Some(out),
                _ => out.reserve(4096),
            }
        }
    }
}
