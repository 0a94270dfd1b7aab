//! A little of the disk kept aside: where it is full, even what gives room back has to be written down first.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes. A removal writes some ten pages of 4 KiB to the log; the trees that it frees are larger.
const SIZE: u32 = 512 << 10;

/// The file beside the database that holds the room.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// Takes the room where it has not been taken yet and the disk has it.
    pub fn keep(database: &Path) -> Self {
        let mut name = database.as_os_str().to_owned();
        name.push("-reserve");
        let reserve = Self { path: name.into() };
        if fs::metadata(&reserve.path).is_ok_and(|file| file.len() == u64::from(SIZE)) {
            return reserve;
        }
        // A file system that cannot promise room, or has none: then there is no reserve.
        if reserve.fill().is_err() {
            reserve.spend();
        }
        reserve
    }

    /// Gives the room back to the disk; false where there is none.
    pub fn spend(&self) -> bool {
        let had_some = fs::metadata(&self.path).is_ok_and(|file| file.len() > 0);
        had_some && OpenOptions::new().write(true).truncate(true).open(&self.path).is_ok()
    }

    fn fill(&self) -> io::Result<()> {
        let file: File =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        // SAFETY: the descriptor is open.
        match unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, SIZE.into()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
