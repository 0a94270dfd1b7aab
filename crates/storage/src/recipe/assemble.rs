//! Tree + recipe → the tar. The tree came from somebody's layer: names are looked up beneath it, and no link is followed.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use super::reader::{Content, Recipe, Record, damaged};
use crate::error::{Error, Result};
use crate::tar::{PATH_MAX, shown};

/// Bytes that are read at once.
const STEP: usize = 256 << 10;

/// Writes the tar to `out`. `tree` is the layer's directory.
/// Codes: `RECIPE_DAMAGED`, `LAYER_DAMAGED`, `LAYER_UNREADABLE`, and what `out` gives.
pub fn assemble(tree: OwnedFd, recipe: File, out: &mut dyn Write) -> Result<()> {
    let mut recipe = Recipe::open(recipe)?;
    let mut tree = Tree { root: tree, parent: None };
    let (mut current, mut named) = (None, 0);
    let mut buffer = vec![0; STEP];
    recipe.records(|recipe, record| match record {
        Record::Bytes(bytes) => write(out, bytes),
        Record::Named(path) => {
            let source = match recipe.saved(path, named) {
                Some(content) => Source::Recipe(content),
                None => Source::Tree(tree.open(path)?),
            };
            current = Some((path.to_vec(), source));
            named += 1;
            Ok(())
        }
        Record::Piece { mut offset, mut length } => {
            let (path, source) = current.as_mut().ok_or_else(|| damaged("a file is meant and none named"))?;
            while length > 0 {
                let step = usize::try_from(length).unwrap_or(STEP).min(STEP);
                let bytes = &mut buffer[..step];
                match source {
                    Source::Recipe(content) => content.read(recipe, offset, bytes)?,
                    Source::Tree(file) => {
                        file.read_exact_at(bytes, offset).map_err(|cause| match cause.kind() {
                            std::io::ErrorKind::UnexpectedEof => changed(path, "is shorter than it was"),
                            _ => unreadable(path, &cause),
                        })?;
                    }
                }
                write(out, bytes)?;
                (offset, length) = (offset + step as u64, length - step as u64);
            }
            Ok(())
        }
    })
}

/// Where a file's bytes are.
enum Source {
    Tree(File),
    Recipe(Content),
}

struct Tree {
    root: OwnedFd,
    /// The directory looked into last, by its path.
    parent: Option<(Vec<u8>, OwnedFd)>,
}

impl Tree {
    fn open(&mut self, path: &[u8]) -> Result<File> {
        let slash = path.iter().rposition(|&c| c == b'/');
        let (parent, name) = slash.map_or((&b""[..], path), |slash| (&path[..slash], &path[slash + 1..]));
        let missing = |errno: Errno| match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV => changed(path, "is gone"),
            errno => unreadable(path, &errno.into()),
        };
        if name.is_empty() || matches!(name, b"." | b"..") || path.contains(&0) || path.len() >= PATH_MAX {
            return Err(damaged("a name leads nowhere"));
        }
        if self.parent.as_ref().is_none_or(|(known, _)| known != parent) {
            let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(
                ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_SYMLINKS
                    | ResolveFlag::RESOLVE_NO_XDEV,
            );
            let fd = openat2(&self.root, if parent.is_empty() { &b"."[..] } else { parent }, how)
                .map_err(missing)?;
            self.parent = Some((parent.to_vec(), fd));
        }
        let Some((_, directory)) = &self.parent else { return Err(changed(path, "is gone")) };
        // A pipe that stands there now is not waited for.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(directory, name, flags, Mode::empty()).map_err(missing)?);
        let metadata = file.metadata().map_err(|cause| unreadable(path, &cause))?;
        if metadata.is_file() { Ok(file) } else { Err(changed(path, "is no file any more")) }
    }
}

fn write(out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).map_err(|cause| Error::io("OUTPUT_FAILED", "cannot write the layer", &cause))
}

fn changed(path: &[u8], how: &str) -> Error {
    let text = format!("the layer's file {} {how}: remove the image and pull it again", shown(path));
    Error::new("LAYER_DAMAGED", text)
}

fn unreadable(path: &[u8], cause: &std::io::Error) -> Error {
    Error::io("LAYER_UNREADABLE", format!("cannot read the layer's file {}", shown(path)), cause)
}
