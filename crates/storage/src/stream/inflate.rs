//! The inflating thread: finds out how the tar is packed, unpacks it, and says in one line where it is damaged.

use std::io::{self, BufRead, ErrorKind, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use flate2::bufread::GzDecoder;
use zstd::stream::read::Decoder;
use zstd::zstd_safe::get_error_name;
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge as WINDOW_TOO_LARGE;

use super::chunk::{Chunk, Pool};
use super::{CHUNK, Compression, Hash, PLAIN_CHUNKS};
use crate::error::{Error, Result};

/// How far back a zstd frame may look, as a power of two: 128 MiB, which are memory of whoever reads it. It is what `zstd -d`
/// and `--long` go to without a number (RFC 8878, 3.1.1.1.2, wants 8 MiB at least); Go's reader would take 512.
const ZSTD_WINDOW: u32 = 27;

/// Takes pieces as they came until they end, and gives pieces of the tar to the hasher and to the caller.
pub fn run(
    from: Receiver<Result<Arc<Chunk>>>,
    hasher: &Sender<Hash>,
    caller: &Sender<Result<Arc<Chunk>>>,
    most: u64,
) -> Compression {
    let mut out = Out { pool: Pool::new(PLAIN_CHUNKS, CHUNK), hasher, caller, left: most };
    let mut input = Compressed { from, chunk: None, at: 0, error: None };
    let mut compression = Compression::None;
    let mut inflate = || {
        compression = detect(input.fill_buf()?)?;
        match compression {
            Compression::None => plain(&mut input, &mut out),
            Compression::Gzip => gzip(&mut input, &mut out),
            Compression::Zstd => {
                let mut decoder = Decoder::with_buffer(&mut input)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                out.drain(&mut decoder)
            }
        }
    };
    if let Err(stop) = inflate() {
        let error = match (input.error.take(), stop) {
            (Some(error), _) | (None, Stop::Failed(error)) => error,
            (None, Stop::Damaged(cause)) => damaged(&cause),
            (None, Stop::Unwanted) => return compression,
        };
        let _ = caller.send(Err(error));
    }
    compression
}

/// Why inflating stopped before the end.
enum Stop {
    /// The decompressor's complaint.
    Damaged(io::Error),
    /// Our own.
    Failed(Error),
    /// The caller has gone: it has its error already.
    Unwanted,
}

impl From<io::Error> for Stop {
    fn from(cause: io::Error) -> Self {
        Stop::Damaged(cause)
    }
}

fn damaged(cause: &io::Error) -> Error {
    if cause.kind() == ErrorKind::UnexpectedEof {
        return Error::new(
            "LAYER_TRUNCATED",
            "the layer ends in the middle of its compressed data: fetch it again",
        );
    }
    // The library has nothing but a text for it.
    if cause.to_string() == get_error_name(0usize.wrapping_sub(WINDOW_TOO_LARGE as usize)) {
        let text = "the layer is packed by zstd with a window of more than 128 MiB: pack it again \
                    with --long=27 at most";
        return Error::new("LAYER_LIMIT", text);
    }
    Error::new("LAYER_CORRUPT", format!("the layer's compressed data is damaged ({cause}): fetch it again"))
}

fn detect(start: &[u8]) -> std::result::Result<Compression, Stop> {
    let known = |name| {
        Err(Stop::Failed(Error::new(
            "COMPRESSION_UNSUPPORTED",
            format!(
                "the layer is compressed with {name}: only gzip and zstd can be read, pack it again with one of them"
            ),
        )))
    };
    match start {
        [0x1f, 0x8b, 8, ..] => Ok(Compression::Gzip),
        // A frame, or a frame to be skipped, which may come first.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => known("xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..] => known("bzip2"),
        _ => Ok(Compression::None),
    }
}

/// Nothing to inflate: the pieces go on as they are, and are hashed already.
fn plain(input: &mut Compressed, out: &mut Out<'_>) -> std::result::Result<(), Stop> {
    while !input.fill_buf()?.is_empty() {
        if let Some(chunk) = input.chunk.take() {
            out.count(chunk.len())?;
            out.caller.send(Ok(chunk)).map_err(|_| Stop::Unwanted)?;
        }
    }
    Ok(())
}

/// Members follow each other; what follows the last and is none, gzip itself ignores.
fn gzip(input: &mut Compressed, out: &mut Out<'_>) -> std::result::Result<(), Stop> {
    while input.at_gzip_member()? {
        out.drain(&mut GzDecoder::new(&mut *input))?;
    }
    loop {
        let count = input.fill_buf()?.len();
        if count == 0 {
            return Ok(());
        }
        input.consume(count);
    }
}

/// The two receivers of the tar.
struct Out<'a> {
    pool: Pool,
    hasher: &'a Sender<Hash>,
    caller: &'a Sender<Result<Arc<Chunk>>>,
    left: u64,
}

impl Out<'_> {
    fn drain(&mut self, decoder: &mut impl Read) -> std::result::Result<(), Stop> {
        loop {
            let mut chunk = self.pool.take();
            let mut end = false;
            while !end && chunk.len() < CHUNK {
                let count = decoder.read(chunk.room())?;
                chunk.grow(count);
                end = count == 0;
            }
            if !chunk.is_empty() {
                self.count(chunk.len())?;
                let chunk = Arc::new(chunk);
                self.hasher.send(Hash::Plain(chunk.clone())).map_err(|_| Stop::Unwanted)?;
                self.caller.send(Ok(chunk)).map_err(|_| Stop::Unwanted)?;
            }
            if end {
                return Ok(());
            }
        }
    }

    fn count(&mut self, bytes: usize) -> std::result::Result<(), Stop> {
        match self.left.checked_sub(bytes as u64) {
            Some(left) => self.left = left,
            None => {
                let text =
                    "the layer is larger than allowed once decompressed: it may be a decompression bomb";
                return Err(Stop::Failed(Error::new("LAYER_LIMIT", text)));
            }
        }
        Ok(())
    }
}

/// The pieces as one reader, without copying them together.
struct Compressed {
    from: Receiver<Result<Arc<Chunk>>>,
    chunk: Option<Arc<Chunk>>,
    at: usize,
    /// Why the input could not be read: kept aside because decompressors pass on only `io::Error`.
    error: Option<Error>,
}

impl Compressed {
    /// The next two bytes are gzip's magic. They may lie in two pieces.
    fn at_gzip_member(&mut self) -> io::Result<bool> {
        Ok(match self.fill_buf()? {
            [0x1f, 0x8b, ..] => true,
            // The decoder complains if the byte after it is another.
            [0x1f] => true,
            _ => false,
        })
    }
}

impl BufRead for Compressed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.as_ref().is_none_or(|chunk| self.at == chunk.len()) {
            self.at = 0;
            self.chunk = match self.from.recv() {
                Ok(Ok(chunk)) => Some(chunk),
                Ok(Err(error)) => {
                    self.error = Some(error);
                    return Err(ErrorKind::Other.into());
                }
                Err(_) => None,
            };
        }
        Ok(self.chunk.as_ref().map_or(&[], |chunk| &chunk[self.at..]))
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Compressed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}
