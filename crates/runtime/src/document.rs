//! The JSON documents that a verb takes on a descriptor.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Take};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

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
        Err(error) => Err(unreadable(&error)),
        Ok(_) if json.len() as u64 > LONGEST => Err(too_long()),
        Ok(_) => Ok(json),
    }
}

/// Documents that come one after the other, each on a line, when they are ready.
pub struct Lines(Take<BufReader<File>>);

impl Lines {
    /// Of a pipe; of a memfd from its start, however far a program that we were before has read it.
    pub fn of(fd: OwnedFd) -> Self {
        let mut file = File::from(fd);
        let _ = file.seek(SeekFrom::Start(0));
        Self(BufReader::new(file).take(LONGEST + 1))
    }

    /// Whether a part of the next has been read already; otherwise [`as_fd`](AsFd::as_fd) tells when there is something.
    pub fn has_some(&self) -> bool {
        !self.0.get_ref().buffer().is_empty()
    }

    /// Waits for the next; none where whoever writes them has gone, or has no more.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut json = Vec::new();
        self.0.read_until(b'\n', &mut json).map_err(|error| unreadable(&error))?;
        if self.0.limit() == 0 {
            return Err(too_long());
        }
        Ok((!json.is_empty()).then_some(json))
    }
}

impl AsFd for Lines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().get_ref().as_fd()
    }
}

fn unreadable(error: &std::io::Error) -> Error {
    Error::io("cannot read the document on fd 3", error)
}

fn too_long() -> Error {
    Error::new("DOCUMENT_TOO_LONG", "the document on fd 3 is longer than 16 MiB")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn documents_come_a_line_each() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut lines = Lines::of(reader.into());
        let mut writer = writer;
        writer.write_all(b"{\"a\":1}\n{").unwrap();
        assert!(!lines.has_some());
        assert_eq!(lines.next().unwrap().as_deref(), Some(&b"{\"a\":1}\n"[..]));
        assert!(lines.has_some());
        writer.write_all(b"\"b\":2}").unwrap();
        drop(writer);
        assert_eq!(lines.next().unwrap().as_deref(), Some(&b"{\"b\":2}"[..]));
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn a_document_without_an_end_is_refused() {
        let endless = File::open("/dev/zero").unwrap();
        assert_eq!(Lines::of(endless.into()).next().unwrap_err().code, "DOCUMENT_TOO_LONG");
    }
}
