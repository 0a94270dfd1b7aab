//! The detach keys: a sequence of bytes that, typed in a row, lets go of a terminal instead of reaching it.

/// Docker's ctrl-p, ctrl-q.
const DEFAULT: &[u8] = &[16, 17];

/// How much of the sequence has been typed; those bytes are held back.
pub struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// None where the sequence is empty: then nothing detaches.
    pub fn new(keys: Option<&[u8]>) -> Option<Self> {
        let keys = keys.unwrap_or(DEFAULT).to_vec();
        (!keys.is_empty()).then_some(Self { keys, matched: 0 })
    }

    /// Passes on what was typed but for a sequence that may be complete with the next byte. True where it is
    /// complete: what follows it is dropped.
    pub fn scan(&mut self, typed: &[u8], passed: &mut Vec<u8>) -> bool {
        for &byte in typed {
            while self.matched > 0 && byte != self.keys[self.matched] {
                // The held bytes were no beginning; the longest end of them that still is one stays held.
                let held = &self.keys[..self.matched];
                let keep =
                    (0..held.len()).rev().find(|&length| held.ends_with(&self.keys[..length])).unwrap_or(0);
                passed.extend_from_slice(&held[..held.len() - keep]);
                self.matched = keep;
            }
            if byte == self.keys[self.matched] {
                self.matched += 1;
            } else {
                passed.push(byte);
            }
            if self.matched == self.keys.len() {
                return true;
            }
        }
        false
    }
}
