//! Making and removing a cgroup's directory and the parents it needs, against others who do the same.

use std::{
    ffi::{CStr, CString},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::{errno::Errno, sys::stat::Mode, unistd::mkdir};

use crate::{
    Error, Mount,
    directory::{Directory, remove_tree},
    mounts,
};

/// How often a parent may vanish under our hands before we give up: each time another engine has removed it between
/// our two calls of mkdir.
const ATTEMPTS: usize = 1000;

/// Marks a parent that an engine made, so that whoever leaves it last removes it, and nobody removes one that the
/// user made. One directly below the root stays, as Docker's /docker does: making it anew for each container would
/// cost half a millisecond on ten hierarchies.
const MADE: &CStr = c"user.kapsel";

/// The path of a cgroup below a hierarchy's root, checked.
pub(crate) fn components(path: &str) -> Result<Vec<&str>, Error> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let walks = parts.iter().any(|part| matches!(*part, "." | "..") || part.contains(['\0', '\n']));
    if !path.starts_with('/') || parts.is_empty() || walks {
        return Err(Error::InvalidPath { path: path.to_owned() });
    }
    Ok(parts)
}

/// Where a hierarchy has the cgroup.
pub(crate) fn full(mount: &Mount, parts: &[&str]) -> PathBuf {
    parts.iter().fold(mount.path.clone(), |path, part| path.join(part))
}

/// Makes a cgroup in one hierarchy. A stale one of that name without processes is replaced; of what was made for one
/// that fails nothing is left.
pub(crate) fn make(mount: &'static Mount, parts: &[&str]) -> Result<Directory, Error> {
    let full = full(mount, parts);
    let made = make_leaf(mount, parts, &full).and_then(|()| {
        let opened = Directory::open(mount, full.clone());
        opened.map_err(|error| Error::io(format!("open {}", full.display()), error)).inspect_err(|_| {
            let _ = remove_tree(&full);
        })
    });
    made.inspect_err(|_| remove_parents(mount, &full))
}

fn make_leaf(mount: &'static Mount, parts: &[&str], full: &Path) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        match mkdir(full, MODE) {
            Ok(()) => return Ok(()),
            Err(Errno::ENOENT) => make_parents(mount, &parts[..parts.len() - 1])?,
            Err(Errno::EEXIST) => {
                remove_stale(mount, full).map_err(|error| failed("replace cgroup", full, error))?;
            }
            Err(error) => return Err(failed("make cgroup", full, error)),
        }
    }
    Err(failed("make cgroup", full, Errno::ENOENT))
}

/// Removes what a dead engine left; what lives is left whole, nested cgroups without processes included.
fn remove_stale(mount: &'static Mount, full: &Path) -> Result<(), Errno> {
    let processes = Directory::open(mount, full.to_owned()).and_then(|stale| stale.processes());
    match processes {
        Ok(processes) if processes.is_empty() => remove_tree(full),
        Ok(_) => Err(Errno::EBUSY),
        Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)) {
            Errno::ENOENT => Ok(()),
            error => Err(error),
        },
    }
}

/// Removes a cgroup without processes from every hierarchy, with the parents that an engine made and nobody uses.
pub(crate) fn discard(path: &str) -> Result<(), Error> {
    let parts = components(path)?;
    for mount in mounts()?.1 {
        let full = full(mount, &parts);
        match remove_stale(mount, &full) {
            // It is in use, or not ours to remove.
            Err(Errno::EBUSY | Errno::EACCES | Errno::EPERM | Errno::EROFS) => {}
            Err(error) => return Err(failed("remove cgroup", &full, error)),
            Ok(()) => remove_parents(mount, &full),
        }
    }
    Ok(())
}

const MODE: Mode = Mode::from_bits_truncate(0o755);

fn make_parents(mount: &Mount, parts: &[&str]) -> Result<(), Error> {
    let mut path = mount.path.clone();
    for part in parts {
        path.push(part);
        match mkdir(&path, MODE) {
            // Without user attributes (Linux before 5.7) the parent merely stays.
            Ok(()) if path.parent() == Some(&mount.path) => {}
            Ok(()) => mark(&path),
            Err(Errno::EEXIST) => {}
            // The parent made a moment ago is gone again: start over.
            Err(Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(failed("make cgroup", &path, error)),
        }
    }
    Ok(())
}

/// Removes the parents of a removed cgroup that an engine made and nobody uses.
pub(crate) fn remove_parents(mount: &Mount, cgroup: &Path) {
    for parent in cgroup.ancestors().skip(1).take_while(|parent| *parent != mount.path) {
        if !is_marked(parent) || std::fs::remove_dir(parent).is_err() {
            return;
        }
    }
}

fn failed(verb: &str, path: &Path, error: Errno) -> Error {
    Error::io(format!("{verb} {}", path.display()), io::Error::from(error))
}

fn mark(path: &Path) {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return };
    // SAFETY: both strings end in NUL and the value's length is that of its buffer.
    unsafe { libc::setxattr(path.as_ptr(), MADE.as_ptr(), c"1".as_ptr().cast(), 1, 0) };
}

fn is_marked(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: both strings end in NUL; a null buffer of size 0 asks for the value's length only.
    unsafe { libc::getxattr(path.as_ptr(), MADE.as_ptr(), std::ptr::null_mut(), 0) > 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_leave_the_hierarchy_is_refused() {
        for path in ["", "/", "kapsel/a", "/kapsel/../a", "/./a", "/a\0b", "/a\nb"] {
            assert!(components(path).is_err(), "{path:?}");
        }
        assert_eq!(components("/kapsel//a/").unwrap(), ["kapsel", "a"]);
    }
}
