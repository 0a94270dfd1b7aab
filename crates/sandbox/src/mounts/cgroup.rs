//! /sys/fs/cgroup as the container's cgroup namespace shows it: one cgroup2, or a tmpfs with a directory a hierarchy.

use std::{
    ffi::{CStr, CString},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

use kapsel_cgroups::Entry;
use nix::{
    sys::stat::{Mode, mkdirat},
    unistd::symlinkat,
};

use crate::{
    Error,
    error::{At, Stage},
    resolve::{Kind, Root},
    sys::{
        mount::{Attributes, Context, attach, clone_tree, set_attributes},
        open::openat2,
    },
};

/// The hierarchies of this machine.
pub(super) struct Cgroups {
    attributes: u64,
    /// Each with the directory that is the container's cgroup, where that is known.
    hierarchies: Vec<(&'static kapsel_cgroups::Mount, Option<CString>)>,
    /// The tmpfs that holds v1's hierarchies.
    holder: Option<OwnedFd>,
    trees: Vec<OwnedFd>,
}

impl Cgroups {
    /// All hierarchies, with these `MOUNT_ATTR_*`.
    pub(super) fn new(attributes: u64, cgroup: Option<&Entry>) -> Self {
        // A machine without any cgroup mounted has nothing to show.
        let mounts = kapsel_cgroups::mounts().map(|(_, mounts)| mounts).unwrap_or_default();
        let home = |name: &str| CString::new(cgroup?.home(name)?.as_os_str().as_bytes()).ok();
        let hierarchies = mounts.iter().map(|mount| (mount, home(&mount.name))).collect();
        Self { attributes, hierarchies, holder: None, trees: Vec::new() }
    }

    /// Makes the mounts, in the cgroup namespace whose root they will show.
    pub(super) fn create(&mut self) -> Result<(), Error> {
        for (hierarchy, home) in &self.hierarchies {
            let tree = match home {
                Some(home) => bind(home, self.attributes),
                None => create(hierarchy, self.attributes),
            };
            self.trees.push(
                tree.at(Stage::Mount, || format!("cannot mount the cgroup hierarchy {}", hierarchy.name))?,
            );
        }
        if !self.is_unified() {
            let tmpfs = || {
                let context = Context::open(c"tmpfs")?;
                context.set(c"source", c"tmpfs")?;
                context.set(c"mode", c"755")?;
                context.mount(self.attributes & !libc::MOUNT_ATTR_RDONLY)
            };
            self.holder = Some(tmpfs().at(Stage::Mount, || "cannot mount a tmpfs for the cgroups")?);
        }
        Ok(())
    }

    /// Puts them on their places.
    pub(super) fn attach(&self, root: &Root, destination: &Path) -> Result<(), Error> {
        let what = || format!("cannot mount on {}", destination.display());
        let place = root.make_plain(destination, Kind::Directory).at(Stage::Mount, what)?;
        let Some(holder) = &self.holder else {
            return self.trees.iter().try_for_each(|tree| attach(tree, &place)).at(Stage::Mount, what);
        };
        attach(holder, &place).at(Stage::Mount, what)?;
        for ((hierarchy, _), tree) in self.hierarchies.iter().zip(&self.trees) {
            self.attach_below(holder, hierarchy, tree).at(Stage::Mount, what)?;
        }
        if self.attributes & libc::MOUNT_ATTR_RDONLY != 0 {
            let read_only = Attributes { set: libc::MOUNT_ATTR_RDONLY, ..Attributes::default() };
            set_attributes(holder, false, read_only).at(Stage::Mount, what)?;
        }
        Ok(())
    }

    fn attach_below(
        &self,
        holder: &OwnedFd,
        hierarchy: &kapsel_cgroups::Mount,
        tree: &OwnedFd,
    ) -> nix::Result<()> {
        mkdirat(holder, hierarchy.name.as_str(), Mode::from_bits_truncate(0o755))?;
        let name = CString::new(hierarchy.name.as_str()).unwrap_or_default();
        // Our own directory in our own tmpfs, which nobody else has seen yet.
        attach(tree, openat2(holder, &name, libc::O_PATH, 0, libc::RESOLVE_NO_SYMLINKS)?)?;
        for controller in hierarchy.controllers.iter().filter(|controller| **controller != hierarchy.name) {
            symlinkat(hierarchy.name.as_str(), holder, controller.as_str())?;
        }
        Ok(())
    }

    fn is_unified(&self) -> bool {
        matches!(self.hierarchies.as_slice(), [(only, _)] if only.name.is_empty())
    }
}

/// The host's own mount from the container's cgroup on, which a cgroup namespace shows as the root. A file system of its own
/// would show the same, but making one of v1 takes the longer the more cgroups the machine has.
fn bind(home: &CStr, attributes: u64) -> nix::Result<OwnedFd> {
    let tree = clone_tree(None, home, false)?;
    let own = Attributes { set: attributes, propagation: libc::MS_PRIVATE, ..Attributes::default() };
    set_attributes(&tree, false, own)?;
    Ok(tree)
}

fn create(hierarchy: &kapsel_cgroups::Mount, attributes: u64) -> nix::Result<OwnedFd> {
    let context = Context::open(if hierarchy.unified { c"cgroup2" } else { c"cgroup" })?;
    context.set(c"source", c"cgroup")?;
    for word in hierarchy.options.split(',').filter(|word| !word.is_empty()) {
        let text = |word: &str| CString::new(word).map_err(|_| nix::errno::Errno::EINVAL);
        match word.split_once('=') {
            Some((key, value)) => context.set(&text(key)?, &text(value)?)?,
            None => context.flag(&text(word)?)?,
        }
    }
    context.mount(attributes)
}
