//! The layer of the host image: what was collected, with the directories and the few files around it that make a root
//! file system of it. Everything belongs to root; directories and our own files are of 1970.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Source, tree, unreadable};
use crate::error::{Error, Result};
use crate::tar::writer::Writer;
use crate::tar::{Entry, Kind, Time};

const DIRECTORIES: [(&str, u32); 12] = [
    ("/dev", 0o755),
    ("/etc", 0o755),
    ("/home", 0o755),
    ("/mnt", 0o755),
    ("/proc", 0o555),
    ("/root", 0o700),
    ("/run", 0o755),
    ("/sys", 0o555),
    ("/tmp", 0o1777),
    ("/usr/local/bin", 0o755),
    ("/var/log", 0o755),
    ("/var/tmp", 0o1777),
];

const FILES: [(&str, &str); 4] = [
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    ("/etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    (
        "/etc/os-release",
        "NAME=\"kapsel host image\"\nID=kapsel-host\nPRETTY_NAME=\"Programs of the host, by kapsel\"\n",
    ),
];

enum Node<'a> {
    Directory(u32),
    Text(&'a str),
    Source(&'a Source),
}

/// Writes everything in the order of paths.
pub fn write_tar(sources: &[Source], out: impl Write) -> Result<()> {
    let mut nodes: BTreeMap<PathBuf, Node<'_>> = BTreeMap::new();
    nodes.extend(FILES.map(|(path, text)| (path.into(), Node::Text(text))));
    nodes.extend(sources.iter().map(|source| (source.path.clone(), Node::Source(source))));
    for (path, mode) in DIRECTORIES {
        // Where /usr/local, say, is a link on this machine, it leads to what else was collected.
        if !Path::new(path).ancestors().any(|above| nodes.contains_key(above)) {
            nodes.insert(path.into(), Node::Directory(mode));
        }
    }
    let parents: Vec<PathBuf> =
        nodes.keys().flat_map(|path| path.ancestors().skip(1)).map(Path::to_owned).collect();
    for parent in parents {
        nodes.entry(parent).or_insert(Node::Directory(0o755));
    }
    let mut tar = Writer::new(out);
    let mut inodes = HashMap::new();
    for (path, node) in &nodes {
        match node {
            Node::Directory(mode) => begin(&mut tar, &entry(path, Kind::Directory, *mode))?,
            Node::Text(text) => {
                let size = text.len() as u64;
                begin(&mut tar, &Entry { size, stored: size, ..entry(path, Kind::File, 0o644) })?;
                tar.write_all(text.as_bytes()).map_err(|cause| unwritable(&cause))?;
            }
            Node::Source(source) => match &source.link {
                Some(target) => {
                    let link = target.as_os_str().as_bytes().to_vec();
                    begin(&mut tar, &Entry { link, ..entry(path, Kind::Symlink, 0o777) })?;
                }
                None => file(&mut tar, source, &mut inodes)?,
            },
        }
    }
    tar.finish().map(drop).map_err(|cause| unwritable(&cause))
}

fn file<'a>(
    tar: &mut Writer<impl Write>,
    source: &'a Source,
    inodes: &mut HashMap<(u64, u64), &'a Path>,
) -> Result<()> {
    let path = &source.path;
    let refused = |cause: std::io::Error| unreadable(path, &cause);
    let mut options = OpenOptions::new();
    let mut file: File = options.read(true).custom_flags(libc::O_NOFOLLOW).open(path).map_err(refused)?;
    let metadata = file.metadata().map_err(refused)?;
    let changed = || {
        let text = format!("'{}' changed while the host image was being made: try again", path.display());
        Error::new("HOST_CHANGED", text)
    };
    if (metadata.size(), metadata.ino(), tree::mtime(&metadata))
        != (source.size, source.inode, source.mtime.clone())
    {
        return Err(changed());
    }
    if let Some(first) = inodes.get(&(metadata.dev(), metadata.ino())) {
        return begin(tar, &Entry { link: relative(first), ..entry(path, Kind::HardLink, 0o644) });
    }
    inodes.insert((metadata.dev(), metadata.ino()), path);
    // In the image it belongs to root: what made it another's on execution must not make it root's.
    let own = |bit: u32, id: u32| if id == 0 { bit } else { 0 };
    let kept = 0o777 | own(0o4000, metadata.uid()) | own(0o2000, metadata.gid());
    let entry = Entry {
        size: source.size,
        stored: source.size,
        mtime: Time { seconds: metadata.mtime(), nanoseconds: 0 },
        ..entry(path, Kind::File, metadata.mode() & kept)
    };
    begin(tar, &entry)?;
    let mut buffer = vec![0; 128 << 10];
    let mut left = source.size;
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match file.read(&mut buffer[..most]).map_err(refused)? {
            0 => return Err(changed()),
            count => {
                tar.write_all(&buffer[..count]).map_err(|cause| unwritable(&cause))?;
                left -= count as u64;
            }
        }
    }
    Ok(())
}

fn begin(tar: &mut Writer<impl Write>, entry: &Entry) -> Result<()> {
    tar.entry(entry).map_err(|cause| unwritable(&cause))
}

fn entry(path: &Path, kind: Kind, mode: u32) -> Entry {
    let relative = relative(path);
    let path = if relative.is_empty() { &b"./"[..] } else { &relative };
    Entry { mode, ..Entry::new(path, kind) }
}

fn relative(path: &Path) -> Vec<u8> {
    path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes().to_vec()
}

fn unwritable(cause: &std::io::Error) -> Error {
    Error::io("HOST_WRITE_FAILED", "cannot write the host image", cause)
}
