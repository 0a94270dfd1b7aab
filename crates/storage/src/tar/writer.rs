//! Entries → blocks: ustar, with a pax header where ustar has no room. The same entries give the same bytes.

use std::io::{self, Write};

use super::{BLOCK, Entry, Kind};

/// Writes one tar.
pub struct Writer<W> {
    out: W,
    /// Bytes of the current file still to come.
    left: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// A tar that goes to `out`.
    pub fn new(out: W) -> Self {
        Writer { out, left: 0, padding: 0 }
    }

    /// Begins an entry. A file's `size` bytes must follow through [`Write`].
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_entry()?;
        let mut pax = Vec::new();
        let mut path = entry.path.clone();
        if entry.kind == Kind::Directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let (prefix, name) = split(&path).unwrap_or_else(|| {
            record(&mut pax, b"path", &path);
            (&[], &path[..path.len().min(100)])
        });
        if entry.link.len() > 100 {
            record(&mut pax, b"linkpath", &entry.link);
        }
        for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
            if id > 0o7777777 {
                record(&mut pax, key, id.to_string().as_bytes());
            }
        }
        if entry.size > 0o77777777777 {
            record(&mut pax, b"size", entry.size.to_string().as_bytes());
        }
        let seconds = u64::try_from(entry.mtime.seconds).ok().filter(|&s| s <= 0o77777777777);
        if seconds.is_none() || entry.mtime.nanoseconds > 0 {
            record(&mut pax, b"mtime", decimal_time(entry.mtime).as_bytes());
        }
        for (key, value) in &entry.xattrs {
            record(&mut pax, &[b"SCHILY.xattr.", &encoded(key)[..]].concat(), value);
        }
        if !pax.is_empty() {
            let mut block = header(b"PaxHeaders/0", b'x', 0o644, pax.len() as u64);
            seal(&mut block);
            self.out.write_all(&block)?;
            self.out.write_all(&pax)?;
            self.pad(pax.len())?;
        }
        let flag = match entry.kind {
            Kind::File => b'0',
            Kind::HardLink => b'1',
            Kind::Symlink => b'2',
            Kind::CharDevice => b'3',
            Kind::BlockDevice => b'4',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
        };
        let size = if entry.kind == Kind::File { entry.size } else { 0 };
        let mut block = header(name, flag, entry.mode, size & 0o77777777777);
        octal(&mut block[108..116], u64::from(entry.uid & 0o7777777));
        octal(&mut block[116..124], u64::from(entry.gid & 0o7777777));
        octal(&mut block[136..148], seconds.unwrap_or(0));
        let link = &entry.link[..entry.link.len().min(100)];
        block[157..157 + link.len()].copy_from_slice(link);
        octal(&mut block[329..337], u64::from(entry.device.0));
        octal(&mut block[337..345], u64::from(entry.device.1));
        block[345..345 + prefix.len()].copy_from_slice(prefix);
        seal(&mut block);
        self.out.write_all(&block)?;
        self.left = size;
        self.padding = (size as usize).wrapping_neg() % BLOCK;
        Ok(())
    }

    /// Ends the tar and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_entry()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn end_entry(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other(format!("{} bytes of the last file are missing", self.left)));
        }
        let padding = std::mem::take(&mut self.padding);
        self.out.write_all(&[0; BLOCK][..padding])
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK][..written.wrapping_neg() % BLOCK])
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::other("more bytes than the file's header says"));
        }
        let count = self.out.write(bytes)?;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn header(name: &[u8], flag: u8, mode: u32, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    octal(&mut block[100..108], u64::from(mode));
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], size);
    octal(&mut block[136..148], 0);
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block
}

fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    octal(&mut block[148..155], sum);
}

/// Digits and a NUL.
fn octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    field[..width].copy_from_slice(format!("{value:0width$o}").as_bytes());
    field[width] = 0;
}

/// A prefix of up to 155 bytes and a name of up to 100, parted at a slash.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((&[], path));
    }
    let from = path.len() - 101;
    let slash = from + path[from..path.len() - 1].iter().position(|&c| c == b'/')?;
    (1..=155).contains(&slash).then(|| (&path[..slash], &path[slash + 1..]))
}

/// Appends `LENGTH KEY=VALUE\n`, whose length counts itself.
fn record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    pax.extend_from_slice(format!("{length} ").as_bytes());
    pax.extend_from_slice(key);
    pax.push(b'=');
    pax.extend_from_slice(value);
    pax.push(b'\n');
}

/// A record's key ends at the first equals sign: GNU tar's way to have one in it.
fn encoded(xattr: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(xattr.len());
    for &byte in xattr {
        match byte {
            b'=' => key.extend_from_slice(b"%3D"),
            b'%' => key.extend_from_slice(b"%25"),
            _ => key.push(byte),
        }
    }
    key
}

/// Seconds with a fraction; before 1970 both count backwards.
fn decimal_time(time: super::Time) -> String {
    let (sign, seconds, nanoseconds) = match (time.seconds, time.nanoseconds) {
        (s, n) if s >= 0 => ("", s.unsigned_abs(), n),
        (s, 0) => ("-", s.unsigned_abs(), 0),
        (s, n) => ("-", s.unsigned_abs() - 1, 1_000_000_000 - n),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
