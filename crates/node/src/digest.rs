//! What Node's own `node:crypto` has too, which takes longer to load than all the manifests of a pull to hash.

use kapsel_storage::Digest;
use napi_derive::napi;

/// `sha256:` and 64 hexadecimal digits.
#[napi]
pub fn sha256(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}
