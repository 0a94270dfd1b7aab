//! What must not be lost for the recipe's sake: the content of files that a later entry of the same tar replaces.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::paths::{Paths, Place, joined};
use super::space::Watched;
use super::{kind, named};
use crate::directory::names;
use crate::error::{Error, Result};
use crate::recipe::Writer;

/// Memory for the names of hard links; more than any image has.
const MOST: usize = 64 << 20;

/// What one takes beside its path, about.
const EACH: usize = 64;

/// The recipe being written.
pub struct Kept {
    /// Its writer.
    pub recipe: Writer,
    /// Second names of files: the recipe does not speak of a file by them.
    links: BTreeSet<Vec<u8>>,
    /// Memory they take, about.
    taken: usize,
}

impl Kept {
    pub fn new(out: Watched) -> Result<Self> {
        Ok(Kept { recipe: Writer::new(Box::new(out))?, links: BTreeSet::new(), taken: 0 })
    }

    /// A hard link was made at this path.
    pub fn linked(&mut self, path: &[u8]) -> Result<()> {
        if self.links.insert(path.to_vec()) {
            self.taken += path.len() + EACH;
        }
        if self.taken > MOST {
            return Err(Error::new("LAYER_LIMIT", "the layer has more hard links than any image needs"));
        }
        Ok(())
    }

    /// What is at this place, and below it, is about to be removed.
    pub fn leaving(&mut self, paths: &Paths, place: &Place) -> Result<()> {
        let mut pending = Vec::new();
        self.one(place.directory.as_fd(), place.name(), &place.path, &mut pending)?;
        // By their paths, not by descriptors: of those a process has fewer than a path may have components.
        while let Some(path) = pending.pop() {
            let directory = paths.directory(&path).map_err(|errno| named("keep", &path, errno))?;
            let names = names(&directory).map_err(|errno| named("keep", &path, errno))?;
            for name in names {
                self.one(directory.as_fd(), &name, &joined(&path, &name), &mut pending)?;
            }
        }
        // All that begins with the path and a slash: zero is the character after it.
        let (first, end) = ([&place.path[..], b"/"].concat(), [&place.path[..], b"0"].concat());
        let mut gone: Vec<_> = self.links.range(first..end).cloned().collect();
        gone.push(place.path.clone());
        for path in gone {
            if self.links.remove(&path) {
                self.taken -= path.len() + EACH;
            }
        }
        Ok(())
    }

    fn one(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        pending: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let refused = |errno| named("keep", path, errno);
        let stat = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(refused)?;
        match kind(&stat) {
            SFlag::S_IFDIR => pending.push(path.to_vec()),
            SFlag::S_IFREG if stat.st_size > 0 && !self.links.contains(path) => {
                let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file = openat(parent, name, flags, Mode::empty()).map_err(refused)?;
                self.recipe.save(path, &File::from(file))?;
            }
            _ => {}
        }
        Ok(())
    }
}
