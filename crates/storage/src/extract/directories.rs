//! Directories get their modes and times last: making things in them needs the one and spoils the other.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::paths::{Paths, within};
use super::{attributes, named};
use crate::error::{Error, Result};
use crate::tar::Time;

/// Memory for all of them; a quarter of a million directories of an ordinary image.
const MOST: usize = 64 << 20;

/// What one takes beside its path, about.
const EACH: usize = 128;

/// What a directory gets in the end.
pub struct Finish {
    /// Permissions with setuid, setgid and sticky bits.
    pub mode: u32,
    /// Last modification.
    pub mtime: Time,
    /// Last access.
    pub atime: Time,
    /// `system.posix_acl_default`: what is made in it must not inherit what its own entry does not say.
    pub acl: Option<Vec<u8>>,
}

impl Finish {
    /// What a directory gets that no entry describes. The time is fixed: the same tar gives the same tree.
    pub fn implied() -> Self {
        Finish { mode: 0o755, mtime: Time::default(), atime: Time::default(), acl: None }
    }
}

/// Directories that are not finished yet.
#[derive(Default)]
pub struct Directories {
    /// Sorted by path, so that backwards comes the child before the parent.
    pending: BTreeMap<Vec<u8>, Finish>,
    /// Memory they take, about.
    taken: usize,
}

impl Directories {
    /// The directory at this path is to be finished so; the last word counts.
    pub fn remember(&mut self, path: Vec<u8>, finish: Finish) -> Result<()> {
        let length = path.len();
        self.taken += finish.acl.as_ref().map_or(0, Vec::len);
        if self.pending.insert(path, finish).is_none() {
            self.taken += length + EACH;
        }
        if self.taken > MOST {
            return Err(Error::new("LAYER_LIMIT", "the layer has more directories than any image needs"));
        }
        Ok(())
    }

    /// What was at this path, and below it, is gone.
    pub fn forget(&mut self, top: &[u8]) {
        self.pending.retain(|path, _| !within(path, top));
        self.taken = self.pending.keys().map(|path| path.len() + EACH).sum();
    }

    /// Finishes all of them.
    pub fn finish(self, paths: &Paths, rootless: bool) -> Result<()> {
        for (path, finish) in self.pending.into_iter().rev() {
            let directory = match paths.directory(&path) {
                Ok(directory) => directory,
                // Something else took its name since, over a symlink in its path: then it has nothing to keep.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                Err(errno) => return Err(named("finish", &path, errno)),
            };
            let directory = directory.as_fd();
            if let Some(acl) = &finish.acl {
                attributes::set_default_acl(directory, acl, rootless)
                    .map_err(|errno| named("set the default ACL of", &path, errno))?;
            }
            attributes::chmod(directory, finish.mode)
                .map_err(|errno| named("set the mode of", &path, errno))?;
            attributes::times(directory, finish.mtime, finish.atime)
                .map_err(|errno| named("set the times of", &path, errno))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_without_end_are_refused_and_those_that_are_gone_do_not_count() {
        let mut directories = Directories::default();
        for round in 0..10 {
            for i in 0..3000 {
                let path = format!("top/{i}/{}", "d".repeat(4000)).into_bytes();
                directories
                    .remember(path, Finish::implied())
                    .unwrap_or_else(|error| panic!("{round}: {error}"));
            }
            directories.forget(b"top");
        }
        let mut add = |i: u32| {
            directories.remember(format!("{i}/{}", "d".repeat(4000)).into_bytes(), Finish::implied())
        };
        assert_eq!((0..20_000).find_map(|i| add(i).err()).unwrap().code, "LAYER_LIMIT");
    }
}
