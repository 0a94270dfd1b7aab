//! A layer's recipe: everything of its tar that is no file's content, in order, with references to the files of its tree.
//! Tree and recipe together give back the tar, bit for bit.
//!
//! A recipe is [`MAGIC`], then blocks: a kind, the length before and after compression (little-endian `u32`), and the
//! bytes, packed by LZ4. Each block stands for itself, so that a reader may skip one.
//!
//! - `B`, the tar: records of a kind, a number (LEB128) and what belongs to it.
//!   0: so many bytes, which follow. 1: the name of the file that is meant from here on, of so many bytes.
//!   2: an offset in that file, then how many bytes of it.
//! - `S`, what is no longer in the tree, since a later entry of the same tar took its place: a number (`u64`) and a name.
//!   Whoever was meant by that name in fewer than so many naming records has its bytes in the blocks that follow:
//! - `C`: an offset (`u64`) and bytes. What no such block has is a hole.
//! - `E`: the end. Without it a part is missing.

pub(crate) mod assemble;
mod reader;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use crate::error::{Error, Result};

/// How a recipe begins; the number is the format's version.
const MAGIC: &[u8; 16] = b"kapsel recipe 1\n";

/// Bytes of a block before compression, at the most.
const BLOCK: usize = 1 << 20;

/// Bytes of a block's header.
const HEADER: usize = 9;

/// Memory for the names of what was replaced, when a recipe is read; no image comes near.
const MOST_SAVED: usize = 64 << 20;

/// What one takes beside its name, about.
const EACH_SAVED: usize = 96;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Body = b'B' as isize,
    Saved = b'S' as isize,
    Content = b'C' as isize,
    End = b'E' as isize,
}

const BYTES: u8 = 0;
const NAMED: u8 = 1;
const PIECE: u8 = 2;

/// Writes a recipe while its layer is unpacked.
pub(crate) struct Writer {
    out: Box<dyn Write>,
    body: Vec<u8>,
    /// Bytes that are no file's and not in the body yet.
    literal: Vec<u8>,
    /// The file that is named where a byte of it comes.
    next: Option<Vec<u8>>,
    /// A piece of the file named last that is not in the body yet: offset and length.
    piece: Option<(u64, u64)>,
    /// Names given.
    named: u64,
    /// Memory that a reader needs for what was replaced.
    saved: usize,
}

impl Writer {
    pub fn new(out: Box<dyn Write>) -> Result<Self> {
        let mut writer = Writer {
            out,
            body: Vec::with_capacity(BLOCK),
            literal: Vec::new(),
            next: None,
            piece: None,
            named: 0,
            saved: 0,
        };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    /// Bytes of the tar that are no file's content.
    pub fn literal(&mut self, mut bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.end_piece()?;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK / 4 - self.literal.len()));
            self.literal.extend_from_slice(now);
            bytes = later;
            if self.literal.len() == BLOCK / 4 {
                self.end_literal()?;
            }
        }
        Ok(())
    }

    /// The pieces from here on are of the file at this path: relative, and no component of it is a symbolic link.
    pub fn file(&mut self, path: &[u8]) {
        self.next = Some(path.to_vec());
    }

    /// Bytes of the tar that are the current file's, at this offset.
    pub fn piece(&mut self, offset: u64, length: u64) -> Result<()> {
        if self.next.is_none()
            && let Some((start, before)) = &mut self.piece
            && *start + *before == offset
        {
            *before += length;
            return Ok(());
        }
        self.end_piece()?;
        self.end_literal()?;
        if let Some(path) = self.next.take() {
            self.named += 1;
            self.record(NAMED, path.len() as u64, &path)?;
        }
        self.piece = Some((offset, length));
        Ok(())
    }

    /// The file at this path is about to go: keeps what is in it.
    pub fn save(&mut self, path: &[u8], file: &File) -> Result<()> {
        self.saved += path.len() + EACH_SAVED;
        if self.saved > MOST_SAVED {
            return Err(Error::new(
                "LAYER_LIMIT",
                "the layer replaces more files of its own than any image does",
            ));
        }
        self.block(Kind::Saved, &[&self.named.to_le_bytes(), path].concat())?;
        let mut block = Vec::new();
        let mut at = 0;
        while let Some((start, end)) = data(file, at).map_err(unreadable)? {
            at = start;
            while at < end {
                block.clear();
                block.extend_from_slice(&at.to_le_bytes());
                let room = usize::try_from(end - at).unwrap_or(BLOCK).min(BLOCK - 8);
                block.resize(8 + room, 0);
                file.read_exact_at(&mut block[8..], at).map_err(unreadable)?;
                self.block(Kind::Content, &block)?;
                at += room as u64;
            }
        }
        Ok(())
    }

    /// Ends it.
    pub fn finish(mut self) -> Result<()> {
        self.end_piece()?;
        self.end_literal()?;
        self.end_body()?;
        self.put(&[Kind::End as u8, 0, 0, 0, 0, 0, 0, 0, 0])?;
        self.out.flush().map_err(unwritable)
    }

    fn end_piece(&mut self) -> Result<()> {
        let Some((offset, length)) = self.piece.take() else { return Ok(()) };
        let mut more = Vec::new();
        number(&mut more, length);
        self.record(PIECE, offset, &more)
    }

    fn end_literal(&mut self) -> Result<()> {
        if self.literal.is_empty() {
            return Ok(());
        }
        let literal = std::mem::take(&mut self.literal);
        self.record(BYTES, literal.len() as u64, &literal)?;
        self.literal = literal;
        self.literal.clear();
        Ok(())
    }

    fn record(&mut self, kind: u8, value: u64, more: &[u8]) -> Result<()> {
        if self.body.len() + 1 + 10 + more.len() > BLOCK {
            self.end_body()?;
        }
        self.body.push(kind);
        number(&mut self.body, value);
        self.body.extend_from_slice(more);
        Ok(())
    }

    fn end_body(&mut self) -> Result<()> {
        if self.body.is_empty() {
            return Ok(());
        }
        let mut body = std::mem::take(&mut self.body);
        self.block(Kind::Body, &body)?;
        body.clear();
        self.body = body;
        Ok(())
    }

    fn block(&mut self, kind: Kind, bytes: &[u8]) -> Result<()> {
        let packed = lz4_flex::block::compress(bytes);
        let mut header = [kind as u8; HEADER];
        header[1..5].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        header[5..].copy_from_slice(&(packed.len() as u32).to_le_bytes());
        self.put(&header)?;
        self.put(&packed)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(unwritable)
    }
}

fn unwritable(cause: io::Error) -> Error {
    Error::io("UNPACK_FAILED", "cannot write the layer's recipe", &cause)
}

fn unreadable(cause: io::Error) -> Error {
    Error::io("UNPACK_FAILED", "cannot keep a file that the layer replaces", &cause)
}

/// The next run of data from `at` on; `None` where only a hole is left.
pub(crate) fn data(file: &File, at: u64) -> io::Result<Option<(u64, u64)>> {
    let seek = |at: u64, whence| {
        let at = i64::try_from(at).map_err(|_| Errno::ENXIO)?;
        lseek(file, at, whence).map(i64::unsigned_abs)
    };
    match seek(at, Whence::SeekData) {
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
        Ok(start) => Ok(Some((start, seek(start, Whence::SeekHole)?))),
    }
}

/// LEB128: seven bits a byte, the lowest first.
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
