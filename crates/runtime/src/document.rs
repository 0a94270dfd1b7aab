//! The JSON document that a verb takes on a descriptor.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;

use crate::error::{Error, Result};

/// Longest document, in bytes: an OCI config is a few KiB, one with every option and a long environment some hundred.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Reads a document to its end; a memfd from its start, wherever its writer left off.
pub fn read(fd: OwnedFd) -> Result<Vec<u8>> {
    let mut file = File::from(fd);
    // A pipe cannot seek, and need not.
    let _ = file.seek(SeekFrom::Start(0));
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    // One more than there is, which is where the end is found.
    let mut json = Vec::with_capacity(size.min(LONGEST) as usize + 1);
    match file.take(LONGEST + 1).read_to_end(&mut json) {
        Err(error) => Err(Error::io("cannot read the document on fd 3", &error)),
        Ok(_) if json.len() as u64 > LONGEST => {
            Err(Error::new("DOCUMENT_TOO_LONG", "the document on fd 3 is longer than 16 MiB"))
        }
        Ok(_) => Ok(json),
    }
}
