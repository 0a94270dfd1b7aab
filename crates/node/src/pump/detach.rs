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

#[cfg(test)]
mod tests {
    use super::DetachKeys;

    fn scan(keys: &[u8], pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut scanner = DetachKeys::new(Some(keys)).unwrap();
        let mut passed = Vec::new();
        let detached = pieces.iter().any(|piece| scanner.scan(piece, &mut passed));
        (passed, detached)
    }

    #[test]
    fn the_sequence_detaches_wherever_it_is_cut() {
        assert_eq!(scan(&[16, 17], &[b"ls\n\x10\x11rest"]), (b"ls\n".to_vec(), true));
        assert_eq!(scan(&[16, 17], &[b"\x10", b"\x11"]), (vec![], true));
        assert_eq!(scan(b"q", &[b"abq"]), (b"ab".to_vec(), true));
    }

    #[test]
    fn a_false_beginning_reaches_the_program() {
        assert_eq!(scan(&[16, 17], &[b"\x10a\x11"]), (b"\x10a\x11".to_vec(), false));
        assert_eq!(scan(&[16, 17], &[b"\x10", b"\x10", b"\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(scan(b"aab", &[b"aaab"]), (b"a".to_vec(), true));
        assert_eq!(scan(b"abac", &[b"ababac"]), (b"ab".to_vec(), true));
    }

    #[test]
    fn no_keys_detach_nothing() {
        assert!(DetachKeys::new(Some(b"")).is_none());
        assert!(DetachKeys::new(None).is_some());
    }
}
