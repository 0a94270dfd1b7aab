//! The tar format: reading (POSIX ustar and pax, GNU, V7, sparse files) and writing. No I/O happens in here:
//! bytes come in as slices and go out as events, so that every case can be tested without a file.

mod header;
mod pax;
mod reader;
mod sparse;
pub mod writer;

pub use reader::{Event, Reader};

/// Size of a header and the unit data is padded to.
pub const BLOCK: usize = 512;

/// Longest path and link target, as the kernel's PATH_MAX; longer ones no program in a container could name.
pub const PATH_MAX: usize = 4096;

/// Longest single name, as the kernel's NAME_MAX.
pub const NAME_MAX: usize = 255;

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of an earlier file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// Seconds and nanoseconds since 1970; nanoseconds count forward, also before 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// 0 to 999 999 999.
    pub nanoseconds: u32,
}

/// One entry, whatever way its facts were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As in the tar: possibly absolute, with `..`, or ending in a slash.
    pub path: Vec<u8>,
    /// What it makes.
    pub kind: Kind,
    /// Permissions with setuid, setgid and sticky bits, nothing else.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file once unpacked, holes included; 0 for all else.
    pub size: u64,
    /// Bytes of a file that are in the tar.
    pub stored: u64,
    /// Last modification.
    pub mtime: Time,
    /// Last access, where the tar says.
    pub atime: Option<Time>,
    /// Target of a symbolic or hard link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes (`SCHILY.xattr.*`).
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry with nothing in it, owned by root, of 1970.
    pub fn new(path: &[u8], kind: Kind) -> Self {
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink => 0o777,
            _ => 0o644,
        };
        Entry {
            path: path.to_vec(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            stored: 0,
            mtime: Time::default(),
            atime: None,
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }

    /// A regular file of `size` bytes.
    pub fn file(path: &[u8], size: u64) -> Self {
        Entry { size, stored: size, ..Entry::new(path, Kind::File) }
    }
}

/// What is wrong with a tar. The entry, where one is known, is named in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TarError {
    /// It ends in the middle of something.
    Truncated(String),
    /// It is not a tar, or a damaged one.
    Invalid(String),
    /// Something in it is larger than anything needs.
    Limit(String),
}

/// A name for a message: quoted, with everything that could disturb a terminal or a log line escaped, and not too long.
pub fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(&name[..name.len().min(200)]);
    let cut = if name.len() > 200 { "…" } else { "" };
    format!("'{}{cut}'", text.escape_debug())
}

#[cfg(test)]
mod tests;
