//! The map of a sparse file: where the stored bytes belong. All of GNU's ways to write one end here.

use super::header::number;
use super::pax::decimal;
use super::{BLOCK, TarError};

/// A run of stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

/// Runs one file may have; 4 MiB of map.
const MAX_EXTENTS: usize = 256 << 10;

/// Checks that a map is in order, without overlap, within `size`, and has `stored` bytes in all.
pub fn check(map: &[Extent], size: u64, stored: u64) -> Result<(), TarError> {
    let (mut end, mut total) = (0u64, 0u64);
    for extent in map {
        let next = extent.offset.checked_add(extent.length);
        match next {
            Some(next) if extent.offset >= end && next <= size => end = next,
            _ => return Err(TarError::Invalid("a sparse file's map is out of order".to_owned())),
        }
        total += extent.length;
    }
    if total != stored {
        return Err(TarError::Invalid(format!("a sparse file's map has {total} bytes, the tar {stored}")));
    }
    Ok(())
}

/// Adds to `map` what an old GNU header (4 runs at 386) or extension block (21 at 0) says; true if another block follows.
pub fn old_gnu(map: &mut Vec<Extent>, block: &[u8; BLOCK], extension: bool) -> Result<bool, TarError> {
    let (start, count, more) = if extension { (0, 21, 504) } else { (386, 4, 482) };
    for run in block[start..start + 24 * count].chunks_exact(24) {
        if run[0] == 0 {
            break;
        }
        let part = |field| number(field).and_then(|n| u64::try_from(n).ok()).ok_or_else(malformed);
        add(map, part(&run[..12])?, part(&run[12..])?)?;
    }
    Ok(block[more] != 0)
}

/// Reads a 1.0 map, a block at a time: decimal lines, first the number of runs, then offset and length of each.
#[derive(Debug, Default)]
pub struct TextMap {
    count: Option<u64>,
    offset: Option<u64>,
    line: Vec<u8>,
    /// What was read so far.
    pub map: Vec<Extent>,
}

impl TextMap {
    /// Takes the next block; true if it was the last.
    pub fn block(&mut self, block: &[u8; BLOCK]) -> Result<bool, TarError> {
        for &byte in block {
            if self.count == Some(self.map.len() as u64) {
                return Ok(true);
            }
            if byte != b'\n' {
                self.line.push(byte);
                if self.line.len() > 20 {
                    return Err(malformed());
                }
                continue;
            }
            let value = decimal(&self.line).ok_or_else(malformed)?;
            self.line.clear();
            match (self.count, self.offset.take()) {
                (None, _) => self.count = Some(value),
                (_, None) => self.offset = Some(value),
                (_, Some(offset)) => add(&mut self.map, offset, value)?,
            }
        }
        Ok(self.count == Some(self.map.len() as u64))
    }
}

fn add(map: &mut Vec<Extent>, offset: u64, length: u64) -> Result<(), TarError> {
    if map.len() == MAX_EXTENTS {
        return Err(TarError::Limit(format!("a sparse file has more than {MAX_EXTENTS} runs of data")));
    }
    map.push(Extent { offset, length });
    Ok(())
}

fn malformed() -> TarError {
    TarError::Invalid("a sparse file's map is malformed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_must_be_in_order_and_add_up() {
        let run = |offset, length| Extent { offset, length };
        assert!(check(&[run(0, 5), run(10, 5)], 20, 10).is_ok());
        assert!(check(&[run(0, 5), run(4, 5)], 20, 10).is_err());
        assert!(check(&[run(18, 5)], 20, 5).is_err());
        assert!(check(&[run(u64::MAX, 5)], 20, 5).is_err());
        assert!(check(&[run(0, 5)], 20, 6).is_err());
        assert!(check(&[], 20, 0).is_ok());
    }

    #[test]
    fn a_text_map_may_span_blocks() {
        let mut text = b"60\n".to_vec();
        (0..60).for_each(|i| text.extend(format!("{}\n1\n", 100_000 + 10 * i).bytes()));
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        let mut reader = TextMap::default();
        let ends: Vec<bool> =
            text.chunks_exact(BLOCK).map(|b| reader.block(b.try_into().unwrap()).unwrap()).collect();
        assert_eq!(ends, [false, true]);
        assert_eq!(reader.map.len(), 60);
    }

    #[test]
    fn a_text_map_of_rubbish_is_refused() {
        assert!(TextMap::default().block(&[b'1'; BLOCK]).is_err());
        assert!(TextMap::default().block(&[b'\n'; BLOCK]).is_err());
    }
}
