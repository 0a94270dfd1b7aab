//! One 512-byte header block: numbers, checksum, dialect, fields. What several blocks mean together is `reader`'s.

use super::{BLOCK, TarError, Time};

/// Which of the dialects a header is written in; they differ in what the last 167 bytes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Before 1988: those bytes mean nothing.
    V7,
    /// POSIX: a prefix of the name.
    Ustar,
    /// GNU: times and the map of a sparse file.
    Gnu,
}

/// A header block, checksum verified.
pub struct Header<'a> {
    block: &'a [u8; BLOCK],
    /// Its dialect.
    pub dialect: Dialect,
}

impl<'a> Header<'a> {
    /// `None` where the checksum says that this is no header.
    pub fn parse(block: &'a [u8; BLOCK]) -> Option<Self> {
        let stated = number(&block[148..156])?;
        // The checksum field counts as spaces. Ancient tars summed signed bytes.
        let (mut unsigned, mut signed) = (0i128, 0i128);
        for (i, &byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&i) { b' ' } else { byte };
            unsigned += i128::from(byte);
            signed += i128::from(byte as i8);
        }
        if stated != unsigned && stated != signed {
            return None;
        }
        let dialect = match &block[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar\0") => Dialect::Ustar,
            _ => Dialect::V7,
        };
        Some(Header { block, dialect })
    }

    /// The type flag.
    pub fn flag(&self) -> u8 {
        self.block[156]
    }

    /// The name, with the POSIX prefix where there is one.
    pub fn path(&self) -> Vec<u8> {
        let name = text(&self.block[0..100]);
        let prefix = match self.dialect {
            Dialect::Ustar => text(&self.block[345..500]),
            _ => &[],
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// The link's target.
    pub fn link(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    /// Permission bits.
    pub fn mode(&self) -> Result<u32, TarError> {
        Ok((self.field("mode", 100, 8)? & 0o7777) as u32)
    }

    /// Owner, unchecked.
    pub fn uid(&self) -> Result<i128, TarError> {
        self.field("uid", 108, 8)
    }

    /// Group, unchecked.
    pub fn gid(&self) -> Result<i128, TarError> {
        self.field("gid", 116, 8)
    }

    /// Bytes that follow, if the type has data.
    pub fn size(&self) -> Result<u64, TarError> {
        u64::try_from(self.field("size", 124, 12)?).map_err(|_| self.bad("size"))
    }

    /// Last modification.
    pub fn mtime(&self) -> Result<Time, TarError> {
        let seconds = i64::try_from(self.field("mtime", 136, 12)?).map_err(|_| self.bad("mtime"))?;
        Ok(Time { seconds, nanoseconds: 0 })
    }

    /// Major and minor number.
    pub fn device(&self) -> Result<(u32, u32), TarError> {
        if self.dialect == Dialect::V7 {
            return Ok((0, 0));
        }
        let part = |name, at| u32::try_from(self.field(name, at, 8)?).map_err(|_| self.bad(name));
        Ok((part("devmajor", 329)?, part("devminor", 337)?))
    }

    /// The raw block, for the GNU sparse map.
    pub fn block(&self) -> &'a [u8; BLOCK] {
        self.block
    }

    fn field(&self, name: &str, at: usize, length: usize) -> Result<i128, TarError> {
        number(&self.block[at..at + length]).ok_or_else(|| self.bad(name))
    }

    fn bad(&self, field: &str) -> TarError {
        TarError::Invalid(format!(
            "entry {} has a {field} that is no number of use",
            super::shown(&self.path())
        ))
    }
}

/// Up to the first NUL.
pub fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&c| c == 0).unwrap_or(field.len());
    &field[..end]
}

/// Octal digits between blanks or NULs, or GNU's base-256: a first byte with the top bit set, two's complement from the next.
pub fn number(field: &[u8]) -> Option<i128> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = if negative { i128::from(field[0] as i8) } else { i128::from(field[0] & 0x7f) };
        // Eleven more bytes at the most: 95 bits, which fit.
        return Some(field[1..].iter().fold(first, |value, &byte| (value << 8) | i128::from(byte)));
    }
    let start = field.iter().position(|&c| c != b' ' && c != 0).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(|&c| c == b' ' || c == 0).unwrap_or(digits.len());
    digits[..end]
        .iter()
        .try_fold(0i128, |value, &c| matches!(c, b'0'..=b'7').then(|| (value << 3) | i128::from(c - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_numbers_stand_between_blanks_and_nuls() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"77777777"), Some(0o77777777));
        assert_eq!(number(b"00009000"), None);
        assert_eq!(number(b"-0000001"), None);
    }

    #[test]
    fn base_256_numbers_are_large_or_negative() {
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0x80, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0]), Some(0x20 << 56));
        assert_eq!(number(&[0xff; 8]), Some(-1));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe]), Some(-2));
    }

    #[test]
    fn a_block_with_a_wrong_checksum_is_no_header() {
        assert!(Header::parse(&[b'x'; BLOCK]).is_none());
        assert!(Header::parse(&[0; BLOCK]).is_none());
    }
}
