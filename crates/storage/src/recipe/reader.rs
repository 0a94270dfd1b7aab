//! A recipe's blocks and records, read with bounds: whatever the file says, one clear error, and memory within limits.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{BLOCK, BYTES, EACH_SAVED, HEADER, Kind, MAGIC, MOST_SAVED, NAMED, PIECE};
use crate::error::{Error, Result};
use crate::tar::PATH_MAX;

/// An open recipe.
pub struct Recipe {
    file: File,
    /// What was replaced: for each path, up to which name it was meant, and where its content is.
    saved: HashMap<Vec<u8>, Vec<(u64, u64)>>,
    buffer: Vec<u8>,
}

/// One thing that the body says.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Bytes of the tar.
    Bytes(&'a [u8]),
    /// The file that is meant from here on.
    Named(&'a [u8]),
    /// Bytes of it.
    Piece { offset: u64, length: u64 },
}

/// A block's place.
struct Place {
    kind: Kind,
    raw: usize,
    packed: usize,
    /// Where its bytes are, and the next block.
    at: u64,
}

impl Place {
    fn next(&self) -> u64 {
        self.at + self.packed as u64
    }
}

impl Recipe {
    /// Looks through the whole recipe, without decompressing more than the names of what was replaced.
    pub fn open(file: File) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        file.read_exact_at(&mut magic, 0).map_err(unreadable)?;
        if magic != *MAGIC {
            return Err(damaged("it is none, or of another version"));
        }
        let mut recipe = Recipe { file, saved: HashMap::new(), buffer: Vec::new() };
        let (mut at, mut memory) = (MAGIC.len() as u64, 0);
        loop {
            let place = recipe.place(at)?;
            at = place.next();
            match place.kind {
                Kind::Saved => {
                    let block = recipe.unpacked(&place)?;
                    let (limit, path) = number_and_rest(&block)?;
                    memory += path.len() + EACH_SAVED;
                    if path.len() > PATH_MAX || memory > MOST_SAVED {
                        return Err(damaged("it names more than a recipe may"));
                    }
                    recipe.saved.entry(path.to_vec()).or_default().push((limit, at));
                    recipe.buffer = block;
                }
                Kind::Body | Kind::Content => {}
                Kind::End => return Ok(recipe),
            }
        }
    }

    /// Gives every record of the body, in order.
    pub fn records(&mut self, mut each: impl FnMut(&mut Self, Record<'_>) -> Result<()>) -> Result<()> {
        let mut at = MAGIC.len() as u64;
        loop {
            let place = self.place(at)?;
            at = place.next();
            match place.kind {
                Kind::Body => {
                    let block = self.unpacked(&place)?;
                    let mut rest = &block[..];
                    while !rest.is_empty() {
                        let record = record(&mut rest).ok_or_else(|| damaged("a record is cut off"))?;
                        each(self, record)?;
                    }
                    self.buffer = block;
                }
                Kind::Saved | Kind::Content => {}
                Kind::End => return Ok(()),
            }
        }
    }

    /// Where the content is of what `path` meant when the name was given as the `named`-th, counted from 0; `None`: in the tree.
    pub fn saved(&self, path: &[u8], named: u64) -> Option<Content> {
        let all = self.saved.get(path)?;
        all.iter().find(|(limit, _)| named < *limit).map(|&(_, at)| Content { at, block: Vec::new() })
    }

    fn place(&self, at: u64) -> Result<Place> {
        let mut header = [0; HEADER];
        self.file.read_exact_at(&mut header, at).map_err(unreadable)?;
        let kind = match header[0] {
            b'B' => Kind::Body,
            b'S' => Kind::Saved,
            b'C' => Kind::Content,
            b'E' => Kind::End,
            _ => return Err(damaged("a block is of no known kind")),
        };
        let [_, raw @ .., e, f, g, h] = header;
        let (raw, packed) = (u32::from_le_bytes(raw) as usize, u32::from_le_bytes([e, f, g, h]) as usize);
        // What cannot be compressed grows a little.
        if raw > BLOCK || packed > lz4_flex::block::get_maximum_output_size(BLOCK) {
            return Err(damaged("a block is larger than one may be"));
        }
        Ok(Place { kind, raw, packed, at: at + HEADER as u64 })
    }

    /// A block's bytes, in memory that is given back through `buffer`.
    fn unpacked(&mut self, place: &Place) -> Result<Vec<u8>> {
        let mut packed = vec![0; place.packed];
        self.file.read_exact_at(&mut packed, place.at).map_err(unreadable)?;
        let mut block = std::mem::take(&mut self.buffer);
        block.resize(place.raw, 0);
        let wrong = |_| damaged("a block cannot be decompressed");
        let length = lz4_flex::block::decompress_into(&packed, &mut block).map_err(wrong)?;
        if length != place.raw {
            return Err(damaged("a block is not as long as it says"));
        }
        Ok(block)
    }
}

/// The bytes of a file that is no longer in the tree. They are asked for from front to back, as a tar has them.
pub struct Content {
    /// The block that comes next.
    at: u64,
    /// The one before it; empty: there is none.
    block: Vec<u8>,
}

impl Content {
    /// Fills `bytes` with those at `offset`.
    pub fn read(&mut self, recipe: &mut Recipe, mut offset: u64, mut bytes: &mut [u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (start, data) = match self.block.is_empty() {
                true => (0, &[][..]),
                false => number_and_rest(&self.block)?,
            };
            if offset >= start.saturating_add(data.len() as u64) {
                let place = recipe.place(self.at)?;
                if place.kind == Kind::Content {
                    self.at = place.next();
                    self.block = recipe.unpacked(&place)?;
                    continue;
                }
                // Behind the last data there is only a hole.
                bytes.fill(0);
                return Ok(());
            }
            if offset < start {
                let hole = usize::try_from(start - offset).unwrap_or(usize::MAX).min(bytes.len());
                bytes[..hole].fill(0);
                (offset, bytes) = (offset + hole as u64, &mut bytes[hole..]);
                continue;
            }
            let from = (offset - start) as usize;
            let count = (data.len() - from).min(bytes.len());
            bytes[..count].copy_from_slice(&data[from..from + count]);
            (offset, bytes) = (offset + count as u64, &mut bytes[count..]);
        }
        Ok(())
    }
}

fn number_and_rest(block: &[u8]) -> Result<(u64, &[u8])> {
    let (number, rest) = block.split_first_chunk().ok_or_else(|| damaged("a block is cut off"))?;
    Ok((u64::from_le_bytes(*number), rest))
}

fn record<'a>(rest: &mut &'a [u8]) -> Option<Record<'a>> {
    let (&kind, after) = rest.split_first()?;
    *rest = after;
    let value = number(rest)?;
    let mut bytes = || {
        let (bytes, after) = rest.split_at_checked(usize::try_from(value).ok()?)?;
        *rest = after;
        Some(bytes)
    };
    match kind {
        BYTES => bytes().map(Record::Bytes),
        NAMED => bytes().map(Record::Named),
        PIECE => {
            let length = number(rest)?;
            value.checked_add(length)?;
            Some(Record::Piece { offset: value, length })
        }
        _ => None,
    }
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

pub(super) fn damaged(how: &str) -> Error {
    let text = format!("the layer's recipe is damaged ({how}): remove the image and pull it again");
    Error::new("RECIPE_DAMAGED", text)
}

fn unreadable(cause: io::Error) -> Error {
    if cause.kind() == io::ErrorKind::UnexpectedEof {
        return damaged("it ends too early");
    }
    Error::io("LAYER_UNREADABLE", "cannot read the layer's recipe", &cause)
}
