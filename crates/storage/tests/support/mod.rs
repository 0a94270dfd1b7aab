//! What the tests of this crate share: tars made entry by entry, and a tree as a list of facts to compare.
#![allow(dead_code)] // each test program uses its own part

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kapsel_storage::Result;
use kapsel_storage::layer::Written;
use kapsel_storage::tar::writer::Writer;
use kapsel_storage::tar::{Entry, Kind};
use kapsel_storage::unpack::{Limits, Mode, Options, Unpacked, unpack};
use sha2::Digest as _;

/// Owners, devices and trusted.* xattrs need root; the project's tests run as root where they can.
pub fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// An entry and its data.
pub type Made = (Entry, Vec<u8>);

pub fn file(path: &str, data: &str) -> Made {
    (Entry::file(path.as_bytes(), data.len() as u64), data.as_bytes().to_vec())
}

pub fn directory(path: &str) -> Made {
    (Entry::new(path.as_bytes(), Kind::Directory), Vec::new())
}

pub fn link(kind: Kind, path: &str, target: &str) -> Made {
    (Entry { link: target.as_bytes().to_vec(), ..Entry::new(path.as_bytes(), kind) }, Vec::new())
}

pub fn node(kind: Kind, path: &str, device: (u32, u32)) -> Made {
    (Entry { device, ..Entry::new(path.as_bytes(), kind) }, Vec::new())
}

pub fn tar(entries: &[Made]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.entry(entry).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap()
}

pub fn options(into: &Path) -> Options {
    Options {
        into: into.to_owned(),
        mode: Mode::Layer,
        digest: None,
        diff_id: None,
        rootless: !nix::unistd::geteuid().is_root(),
        limits: Limits::default(),
    }
}

pub fn unpack_bytes(bytes: Vec<u8>, options: &Options) -> Result<Unpacked> {
    unpack(Cursor::new(bytes), options, None)
}

/// Unpacks a tar, gives its recipe, and proves that both together are the tar again.
pub fn unpack_and_back(tar: &[u8], options: &Options) -> tempfile::NamedTempFile {
    let recipe = tempfile::NamedTempFile::new().unwrap();
    let unpacked = unpack(Cursor::new(tar.to_vec()), options, Some(recipe.reopen().unwrap())).unwrap();
    let (written, bytes) = layer(&options.into, recipe.path()).unwrap();
    assert_eq!(bytes.len(), tar.len());
    assert!(bytes == tar, "the tar came back changed");
    assert_eq!((written.diff_id, written.unpacked_size), (unpacked.diff_id, unpacked.unpacked_size));
    recipe
}

/// The tar of a layer.
pub fn layer(tree: &Path, recipe: &Path) -> Result<(Written, Vec<u8>)> {
    let tree = std::fs::File::open(tree).unwrap().into();
    let recipe = std::fs::File::open(recipe).unwrap();
    let mut bytes = Vec::new();
    let written = kapsel_storage::layer::write(tree, recipe, None, &mut bytes)?;
    Ok((written, bytes))
}

/// Runs a program to its end; panics with its words where it fails.
pub fn run(program: &str, arguments: &[&str]) -> Output {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|cause| panic!("{program}: {cause}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// What there is to know of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub kind: char,
    pub mode: u32,
    pub owner: (u32, u32),
    pub size: u64,
    pub device: u64,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// A file's bytes or their sha256 where they are many; a link's target.
    pub content: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of the same inode.
    pub first: PathBuf,
    /// Whether it takes less room than its size.
    pub sparse: bool,
}

/// All of a tree, by path relative to its top, which is "".
pub fn facts(top: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut all = BTreeMap::new();
    let mut first = BTreeMap::new();
    visit(top, Path::new(""), &mut first, &mut all);
    all
}

fn visit(
    top: &Path,
    relative: &Path,
    first: &mut BTreeMap<(u64, u64), PathBuf>,
    all: &mut BTreeMap<PathBuf, Facts>,
) {
    // Joining "" would end the path in a slash, which follows a link.
    let path = if relative == Path::new("") { top.to_owned() } else { top.join(relative) };
    let metadata = path.symlink_metadata().unwrap();
    let kind = metadata.file_type();
    let kind = match kind {
        _ if kind.is_dir() => 'd',
        _ if kind.is_symlink() => 'l',
        _ if kind.is_char_device() => 'c',
        _ if kind.is_block_device() => 'b',
        _ if kind.is_fifo() => 'p',
        _ => '-',
    };
    let content = match kind {
        '-' => {
            let bytes = std::fs::read(&path).unwrap();
            if bytes.len() > 64 { sha2::Sha256::digest(&bytes).to_vec() } else { bytes }
        }
        'l' => path.read_link().unwrap().as_os_str().as_bytes().to_vec(),
        _ => Vec::new(),
    };
    all.insert(
        relative.to_owned(),
        Facts {
            kind,
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            size: if kind == 'd' { 0 } else { metadata.size() },
            device: metadata.rdev(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            content,
            xattrs: xattrs(&path),
            first: first.entry((metadata.dev(), metadata.ino())).or_insert(relative.to_owned()).clone(),
            sparse: metadata.blocks() * 512 < metadata.size(),
        },
    );
    if kind == 'd' {
        let mut names: Vec<_> = path.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names.iter().for_each(|name| visit(top, &relative.join(name), first, all));
    }
}

/// The extended attributes of a file, a link's own.
pub fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut names = vec![0u8; 64 << 10];
    // SAFETY: the kernel writes at most `names.len()` bytes to `names`.
    let length = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(length).unwrap_or(0));
    let names = names.split(|&c| c == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let c_name = std::ffi::CString::new(name).unwrap();
            let mut value = vec![0u8; 64 << 10];
            // SAFETY: the kernel writes at most `value.len()` bytes to `value`.
            let length = unsafe {
                libc::lgetxattr(path.as_ptr(), c_name.as_ptr(), value.as_mut_ptr().cast(), value.len())
            };
            value.truncate(usize::try_from(length).unwrap());
            (name.to_vec(), value)
        })
        .collect()
}

pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: both names end with a NUL and `value` has as many bytes as it says.
    let result =
        unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// The example program that confines itself and unpacks; `cargo test` builds it, with one `--test` it must be there.
pub fn unpacker() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().unwrap().parent().unwrap().join("examples/unpack");
    assert!(program.exists(), "build it first: cargo build -p kapsel-storage --example unpack");
    program
}
