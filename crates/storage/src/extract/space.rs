//! Room on the disk, looked at while it is used: a full disk stops more than the unpacker.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::statvfs::fstatvfs;

use super::paths::Parent;

/// How much is written between two looks at the free space.
const STEP: u64 = 4 << 20;

/// What is left free for others, or a 64th of a small disk.
const LEFT: u64 = 64 << 20;

/// The disk that a layer is unpacked to.
pub struct Space {
    root: Rc<Parent>,
    /// Bytes until the free space is looked at again.
    unseen: Cell<u64>,
}

impl Space {
    /// Of the file system of this directory.
    pub fn new(root: Rc<Parent>) -> Rc<Self> {
        Rc::new(Space { root, unseen: Cell::new(0) })
    }

    /// Tells of bytes about to be written. Gives how many there is room for where that is not enough.
    pub fn take(&self, bytes: u64) -> nix::Result<Option<u64>> {
        if let Some(unseen) = self.unseen.get().checked_sub(bytes) {
            self.unseen.set(unseen);
            return Ok(None);
        }
        let disk = fstatvfs(&*self.root)?;
        let unit = disk.fragment_size() as u64;
        let free = (disk.blocks_available() as u64 * unit)
            .saturating_sub(LEFT.min(disk.blocks() as u64 * unit / 64));
        // File systems without blocks of their own say 0 of 0.
        if bytes > free && disk.blocks() > 0 {
            return Ok(Some(free));
        }
        self.unseen.set(STEP.min(free - bytes.min(free)));
        Ok(None)
    }
}

/// A file that fills the same disk.
pub struct Watched {
    pub file: File,
    pub space: Rc<Space>,
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.space.take(bytes.len() as u64)? {
            Some(_) => Err(Errno::ENOSPC.into()),
            None => self.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
