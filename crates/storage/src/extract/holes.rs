//! Blocks of zeros are not written: a file that was sparse is so again, whatever its tar says of it, and takes no room.

/// The unit of most file systems, and of memory.
const BLOCK: usize = 4096;

/// The runs of `bytes`, which begin at `offset` of a file, that are worth writing, and where each begins.
pub fn data(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() && is_hole(block(offset, bytes, at)) {
            at += block(offset, bytes, at).len();
        }
        let start = at;
        while at < bytes.len() && !is_hole(block(offset, bytes, at)) {
            at += block(offset, bytes, at).len();
        }
        (start < at).then(|| (offset + start as u64, &bytes[start..at]))
    })
}

/// From `at` to the end of that block of the file.
fn block(offset: u64, bytes: &[u8], at: usize) -> &[u8] {
    let within = ((offset + at as u64) % BLOCK as u64) as usize;
    &bytes[at..bytes.len().min(at + BLOCK - within)]
}

/// A part of a block may be a hole as well: the rest of it, or the file's end, comes later or came before.
fn is_hole(block: &[u8]) -> bool {
    block[0] == 0 && block == &[0; BLOCK][..block.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(offset: u64, bytes: &[u8]) -> Vec<(u64, usize)> {
        data(offset, bytes).map(|(start, bytes)| (start, bytes.len())).collect()
    }

    #[test]
    fn only_whole_blocks_between_data_are_left_out() {
        let mut bytes = vec![0; 5 * BLOCK];
        assert_eq!(runs(0, &bytes), []);
        bytes[BLOCK + 7] = 1;
        assert_eq!(runs(0, &bytes), [(4096, BLOCK)]);
        // Blocks are the file's, not the piece's.
        assert_eq!(runs(100, &bytes), [(4096, BLOCK)]);
        bytes[4 * BLOCK] = 1;
        assert_eq!(runs(0, &bytes), [(4096, BLOCK), (4 * 4096, BLOCK)]);
        assert_eq!(runs(0, &bytes[..BLOCK + 8]), [(4096, 8)]);
        assert_eq!(runs(0, b""), []);
    }
}
