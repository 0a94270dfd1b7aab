//! A sha256 digest as OCI descriptors write it. Computing one while bytes stream is `unpack`'s business.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::error::Error;

/// `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || {
            Error::new("DIGEST_INVALID", format!("'{text}' is not a digest: give sha256: and 64 hex digits"))
        };
        let hex = text.strip_prefix("sha256:").ok_or_else(invalid)?;
        // OCI image-spec, descriptor.md: the encoded portion is lower case.
        if hex.len() != 64 || !hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Digest(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_text() {
        let text = format!("sha256:{}", "0af9".repeat(16));
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        // FIPS 180-4, of nothing.
        assert!(Digest::of(b"").to_string().starts_with("sha256:e3b0c44298fc1c14"));
    }

    #[test]
    fn what_is_not_a_sha256_digest_is_refused() {
        for text in ["", "sha256:", "sha512:00", &format!("sha256:{}", "0AF9".repeat(16)), &"0".repeat(64)] {
            assert_eq!(text.parse::<Digest>().unwrap_err().code, "DIGEST_INVALID");
        }
    }
}
