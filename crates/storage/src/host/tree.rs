//! Paths of this machine, collected with every symbolic link on the way, so that they lead the same way in the image.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::{Source, unreadable};
use crate::error::{Error, Result};

/// Links the kernel follows in one path (MAXSYMLINKS).
const LINKS: usize = 40;

/// What was collected.
#[derive(Default)]
pub struct Tree {
    sources: BTreeMap<PathBuf, Source>,
}

impl Tree {
    /// Adds `path` and the links on its way; gives its path without links. Directories on the way are not sources:
    /// they change whenever anything in them does.
    pub fn add(&mut self, path: &Path) -> Result<PathBuf> {
        let mut left: Vec<OsString> = Vec::new();
        push(&mut left, path);
        let mut real = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                real.pop();
                continue;
            }
            real.push(&name);
            let refused = |cause: std::io::Error| unreadable(&real, &cause);
            let metadata = real.symlink_metadata().map_err(refused)?;
            if metadata.is_symlink() {
                let target = real.read_link().map_err(refused)?;
                self.insert(&real, &metadata, Some(target.clone()));
                links += 1;
                if links > LINKS {
                    return Err(refused(std::io::Error::from_raw_os_error(libc::ELOOP)));
                }
                match target.is_absolute() {
                    true => real = PathBuf::from("/"),
                    false => drop(real.pop()),
                }
                push(&mut left, &target);
            } else if left.is_empty() && metadata.is_file() {
                self.insert(&real, &metadata, None);
            } else if !metadata.is_dir() {
                let text = format!(
                    "'{}' is neither file nor directory: it cannot be in the host image",
                    real.display()
                );
                return Err(Error::new("HOST_UNREADABLE", text));
            }
        }
        Ok(real)
    }

    /// Adds a link that this machine does not have.
    pub fn link(&mut self, path: PathBuf, target: PathBuf) {
        let link = Source {
            path: path.clone(),
            size: 0,
            mtime: "0.000000000".to_owned(),
            inode: 0,
            link: Some(target),
        };
        self.sources.entry(path).or_insert(link);
    }

    /// Whether something below a directory was added.
    pub fn reaches(&self, directory: &Path) -> bool {
        self.sources.range(directory.to_owned()..).next().is_some_and(|(path, _)| path.starts_with(directory))
    }

    /// Everything, sorted by path.
    pub fn into_sources(self) -> Vec<Source> {
        self.sources.into_values().collect()
    }

    /// The files collected so far.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.sources.keys().map(PathBuf::as_path)
    }

    fn insert(&mut self, path: &Path, metadata: &std::fs::Metadata, link: Option<PathBuf>) {
        let source = Source {
            path: path.to_owned(),
            size: metadata.size(),
            mtime: mtime(metadata),
            inode: metadata.ino(),
            link,
        };
        self.sources.insert(path.to_owned(), source);
    }
}

/// As [`Source::mtime`] has it.
pub fn mtime(metadata: &std::fs::Metadata) -> String {
    format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec())
}

/// Puts the components of `path` on a stack, the first on top.
fn push(stack: &mut Vec<OsString>, path: &Path) {
    stack.extend(path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    }));
}
