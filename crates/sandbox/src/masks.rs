//! Masked paths appear empty, read-only paths cannot be written: what of /proc and /sys is nobody's business.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::errno::Errno;

use crate::{
    Error,
    devices::null,
    error::{At, Stage},
    resolve::{Kind, Root, kind_of},
    sys::mount::{Attributes, Context, attach, clone_tree, set_attributes},
};

const READ_ONLY: Attributes = Attributes { set: libc::MOUNT_ATTR_RDONLY, clear: 0, propagation: 0 };

/// Refuses paths that are not whole: whose place would they be?
pub(crate) fn check(masked: &[PathBuf], read_only: &[PathBuf]) -> Result<(), Error> {
    for (name, paths) in [("maskedPaths", masked), ("readonlyPaths", read_only)] {
        if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
            return Err(Error::config(format!(
                "linux.{name}: {:?} must be an absolute path",
                path.display()
            )));
        }
    }
    Ok(())
}

/// Hides files behind the null device, and directories behind one empty one that they share.
pub(crate) fn mask(root: &Root, paths: &[PathBuf]) -> Result<(), Error> {
    let (mut empty, mut nothing) = (None::<OwnedFd>, None::<OwnedFd>);
    for path in paths {
        let what = || format!("cannot mask {}", path.display());
        let Some(place) = existing(root, path)? else { continue };
        let cover = match kind_of(&place).at(Stage::Mask, what)? {
            Kind::Directory => &mut empty,
            Kind::File => &mut nothing,
        };
        let tree = match cover {
            // Cheaper than making one, and with its attributes.
            Some(cover) => clone_tree(Some(cover.as_fd()), c"", false).at(Stage::Mask, what)?,
            None if kind_of(&place) == Ok(Kind::Directory) => empty_directory().at(Stage::Mask, what)?,
            None => null_device(root)?,
        };
        attach(&tree, &place).at(Stage::Mask, what)?;
        // Only what is attached can be copied (before Linux 6.15).
        cover.get_or_insert(tree);
    }
    Ok(())
}

/// Covers each path with a read-only copy of itself.
pub(crate) fn make_read_only(root: &Root, paths: &[PathBuf]) -> Result<(), Error> {
    for path in paths {
        let Some(place) = existing(root, path)? else { continue };
        let cover = || {
            let tree = clone_tree(Some(place.as_fd()), c"", true)?;
            set_attributes(&tree, true, READ_ONLY)?;
            attach(&tree, &place)
        };
        cover().at(Stage::Mask, || format!("cannot make {} read-only", path.display()))?;
    }
    Ok(())
}

/// Kernels differ in what they have: a path that is not there needs no cover.
fn existing(root: &Root, path: &Path) -> Result<Option<OwnedFd>, Error> {
    match root.open(path, libc::O_PATH) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(Error::system(Stage::Mask, errno, format!("cannot open {}", path.display()))),
    }
}

fn empty_directory() -> nix::Result<OwnedFd> {
    let context = Context::open(c"tmpfs")?;
    context.set(c"source", c"tmpfs")?;
    context.set(c"nr_inodes", c"1")?;
    context.set(c"mode", c"555")?;
    context.mount(
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC,
    )
}

/// Read-only, so that the mode and owner of the null device cannot be changed through what it hides.
fn null_device(root: &Root) -> Result<OwnedFd, Error> {
    let what = || "cannot copy /dev/null";
    let tree = clone_tree(Some(null(root)?.as_fd()), c"", false).at(Stage::Mask, what)?;
    set_attributes(&tree, false, READ_ONLY).at(Stage::Mask, what)?;
    Ok(tree)
}
