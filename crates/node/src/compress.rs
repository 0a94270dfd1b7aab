//! Compressing: from one descriptor to another, on threads of its own. The executable has no compressor: it is to be small.

use std::fs::File;
use std::os::fd::{FromRawFd, RawFd};

use kapsel_storage::Compression;
use kapsel_storage::compress::{Compressed, compress as pack};
use napi::bindgen_prelude::{Env, Object};
use napi_derive::napi;

use crate::outcome::Failure;
use crate::settle::on_a_thread;

/// See `CompressOptions` in src/native.ts.
#[napi(object, object_to_js = false)]
pub struct CompressOptions {
    /// Read to its end; closed here.
    pub input: RawFd,
    /// Written; closed here.
    pub output: RawFd,
    /// `gzip` or `zstd`.
    pub compression: String,
    /// The method's own measure.
    pub level: Option<i32>,
}

/// What came out.
#[napi(object, object_from_js = false)]
pub struct CompressedBlob {
    /// `sha256:HEX`.
    pub digest: String,
    /// Bytes.
    pub size: f64,
}

/// Resolves when everything has been written.
#[napi]
pub fn compress(env: &Env, options: CompressOptions) -> napi::Result<Object<'_>> {
    // SAFETY: `src/native.ts` gives both away: nothing else closes or uses these numbers from here on.
    let [input, mut output] = [options.input, options.output].map(|fd| unsafe { File::from_raw_fd(fd) });
    on_a_thread(env, move || {
        let compression = match &options.compression[..] {
            "gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            other => return Err(Failure::invalid(format!("there is no compression '{other}'"))),
        };
        let Compressed { digest, size } = pack(input, compression, options.level, &mut output)?;
        Ok(CompressedBlob { digest: digest.to_string(), size: size as f64 })
    })
}
