//! What an ELF file says about what it needs to start (System V gABI, chapter 5). 64 bits, little-endian: this
//! machine's kind and no other, which is also all that its loader would load.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;

const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// Longest string read; paths are no longer.
const STRING: usize = 4096;

/// A program or library.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Elf {
    /// The loader that starts it; libraries and static programs have none.
    pub interpreter: Option<String>,
    /// Libraries it asks for.
    pub needed: Vec<String>,
    /// Directories for it and what it loads; not used where there is a runpath.
    pub rpath: Vec<String>,
    /// Directories for what it asks for itself.
    pub runpath: Vec<String>,
}

/// Reads `path`; `None`: not an ELF file of this machine's kind.
pub fn read(path: &Path) -> io::Result<Option<Elf>> {
    let file = File::open(path)?;
    let mut header = [0; 64];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    // Class 2: 64 bits. Data 1: little-endian. Types 2 and 3: what can be loaded, unlike objects and core files.
    let loadable = header.starts_with(b"\x7fELF\x02\x01") && matches!(u16_at(&header, 16), 2 | 3);
    if !loadable || u16_at(&header, 18) != MACHINE {
        return Ok(None);
    }
    let (offset, size, count) = (u64_at(&header, 32), u16_at(&header, 54), u16_at(&header, 56));
    if size != 56 {
        return Err(damaged("its program headers have an unknown size"));
    }
    let mut table = vec![0; usize::from(count) * 56];
    file.read_exact_at(&mut table, offset)?;
    let segments: Vec<Segment> = table.chunks_exact(56).map(Segment::parse).collect();
    let mut elf = Elf::default();
    if let Some(segment) = segments.iter().find(|segment| segment.kind == PT_INTERP) {
        elf.interpreter = Some(string(&file, segment.offset)?);
    }
    if let Some(segment) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) {
        dynamic(&file, segment, &segments, &mut elf)?;
    }
    Ok(Some(elf))
}

fn dynamic(file: &File, segment: &Segment, segments: &[Segment], elf: &mut Elf) -> io::Result<()> {
    if segment.size > 1 << 20 {
        return Err(damaged("its dynamic section is too large"));
    }
    let mut table = vec![0; segment.size as usize];
    file.read_exact_at(&mut table, segment.offset)?;
    let entries: Vec<(u64, u64)> = table
        .chunks_exact(16)
        .map(|entry| (u64_at(entry, 0), u64_at(entry, 8)))
        .take_while(|&(tag, _)| tag != 0)
        .collect();
    let Some(&(_, address)) = entries.iter().find(|&&(tag, _)| tag == DT_STRTAB) else { return Ok(()) };
    let strings = segments
        .iter()
        .find(|load| {
            load.kind == PT_LOAD && address.checked_sub(load.address).is_some_and(|at| at < load.size)
        })
        .map(|load| address - load.address + load.offset)
        .ok_or_else(|| damaged("its string table is nowhere"))?;
    for (tag, value) in entries {
        if let DT_NEEDED | DT_RPATH | DT_RUNPATH = tag {
            let at = strings.checked_add(value).ok_or_else(|| damaged("a string is nowhere"))?;
            let text = string(file, at)?;
            let split = || text.split(':').map(str::to_owned).collect();
            match tag {
                DT_NEEDED => elf.needed.push(text),
                DT_RPATH => elf.rpath = split(),
                _ => elf.runpath = split(),
            }
        }
    }
    Ok(())
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

impl Segment {
    fn parse(header: &[u8]) -> Self {
        let kind = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        Segment { kind, offset: u64_at(header, 8), address: u64_at(header, 16), size: u64_at(header, 32) }
    }
}

/// Up to a NUL.
fn string(file: &File, offset: u64) -> io::Result<String> {
    let mut bytes = vec![0; STRING];
    let mut length = 0;
    loop {
        let count = file.read_at(&mut bytes[length..], offset + length as u64)?;
        if let Some(end) = bytes[length..length + count].iter().position(|&c| c == 0) {
            bytes.truncate(length + end);
            return String::from_utf8(bytes).map_err(|_| damaged("a string is not UTF-8"));
        }
        length += count;
        if count == 0 || length == STRING {
            return Err(damaged("a string has no end"));
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the ELF file is damaged: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_asks_for_the_c_library_by_a_loader() {
        let elf = read(&std::env::current_exe().unwrap()).unwrap().unwrap();
        assert!(elf.interpreter.unwrap().contains("ld-linux"));
        assert!(elf.needed.contains(&"libc.so.6".to_owned()));
    }

    #[test]
    fn other_files_are_none() {
        assert_eq!(read(Path::new("/etc/passwd")).unwrap(), None);
        assert_eq!(read(Path::new("/dev/null")).unwrap(), None);
    }

    #[test]
    fn damaged_files_give_errors_and_no_panic() {
        let whole = std::fs::read("/bin/true").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("elf");
        for at in (0..1024).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at.max(6)] = 0xff;
            bytes.truncate(whole.len() - at);
            std::fs::write(&path, bytes).unwrap();
            let _ = read(&path);
        }
    }
}
