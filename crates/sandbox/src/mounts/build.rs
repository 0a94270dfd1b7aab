//! The list of mounts from the document, in the parent: bind sources are opened here, as the host has them.

use std::{
    ffi::CString,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, Path, PathBuf},
};

use kapsel_cgroups::Entry;
use nix::errno::Errno;

use super::{Filesystem, Operation, What, cgroup::Cgroups, options::Options};
use crate::{
    Error,
    error::{At, Stage},
    namespaces::Namespaces,
    spec::{Config, Mount},
    sys::mount::{Attributes, clone_tree, map_ids, set_attributes},
    userns::{Maps, holder},
};

/// What the list depends on beside the mounts.
pub(crate) struct Builder<'a> {
    /// The container's namespaces.
    pub namespaces: &'a Namespaces,
    /// Destinations that begin with what the image has there.
    pub copy_up: &'a [String],
    /// The container's own cgroup, if it has one.
    pub cgroup: Option<&'a Entry>,
    /// SELinux label of new file systems.
    pub label: Option<&'a str>,
}

impl Builder<'_> {
    /// The operations, in the document's order.
    pub(crate) fn build(&self, config: &Config) -> Result<Vec<Operation>, Error> {
        config.mounts.iter().map(|mount| self.operation(mount)).collect()
    }

    fn operation(&self, mount: &Mount) -> Result<Operation, Error> {
        // A relative one is meant from the root, as before version 1.1 of the specification.
        let destination = clean(&mount.destination);
        if destination == Path::new("/") {
            let path = mount.destination.display();
            return Err(Error::config(format!("mounts: the destination {path:?} must be a path below /")));
        }
        let mut options = Options::parse(mount.options.iter().map(String::as_str));
        let kind = mount.kind.as_deref().unwrap_or("bind");
        if kind == "bind" || kind == "none" {
            options.bind.get_or_insert(false);
        }
        check(mount, kind, &options)?;
        let copy_up =
            options.copy_up || self.copy_up.iter().any(|path| clean(Path::new(path)) == destination);
        let plain =
            destination == Path::new("/dev") || matches!(kind, "proc" | "sysfs" | "cgroup" | "cgroup2");
        let operation =
            |what, own| Ok(Operation { destination: destination.clone(), what, plain, own, copy_up });

        if options.remount {
            return operation(What::Remount { below: options.below }, remounted(&options));
        }
        if let Some(recursive) = options.bind {
            let source = mount.source.as_deref().unwrap_or_default();
            let tree = bind(Path::new(source), recursive, &options)?;
            self.shift(&tree, mount, &options)?;
            return operation(What::Tree(tree), Attributes::default());
        }
        if matches!(kind, "cgroup" | "cgroup2") {
            return operation(self.cgroups(&options)?, Attributes::default());
        }
        let filesystem = self.filesystem(kind, mount, &options)?;
        let Attributes { set, propagation, .. } = options.either();
        // What is still to be filled is read-only later.
        let later = if copy_up { set & libc::MOUNT_ATTR_RDONLY } else { 0 };
        operation(
            What::Filesystem(filesystem.without(later)),
            Attributes { set: later, propagation, clear: 0 },
        )
    }

    /// Without a cgroup of its own the container sees its caller's, which it must not write (CVE-2023-25809); without a
    /// cgroup namespace it sees the host's.
    fn cgroups(&self, options: &Options) -> Result<What, Error> {
        let mut attributes = options.either().set;
        if self.cgroup.is_none() || !self.namespaces.cgroup {
            attributes |= libc::MOUNT_ATTR_RDONLY;
        }
        if self.namespaces.cgroup {
            return Ok(What::Cgroups(Cgroups::new(attributes, self.cgroup)));
        }
        let below = Attributes { set: attributes, ..Attributes::default() };
        bind(Path::new("/sys/fs/cgroup"), true, &Options { below, ..Options::default() }).map(What::Tree)
    }

    fn filesystem(&self, kind: &str, mount: &Mount, options: &Options) -> Result<Filesystem, Error> {
        let text =
            |word: &str| CString::new(word).map_err(|_| Error::config("mounts: a word contains a zero byte"));
        let mut settings = vec![(text("source")?, Some(text(mount.source.as_deref().unwrap_or(kind))?))];
        // A device that cannot be written is only mounted so.
        let device = mount.source.as_deref().is_some_and(|source| source.starts_with('/'));
        if device && options.either().set & libc::MOUNT_ATTR_RDONLY != 0 {
            settings.push((text("ro")?, None));
        }
        for word in options.superblock.iter().chain(&options.data) {
            let (key, value) = match word.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (word.as_str(), None),
            };
            settings.push((text(key)?, value.map(text).transpose()?));
        }
        if let Some(label) = self.label.filter(|label| !label.is_empty())
            && matches!(kind, "tmpfs" | "mqueue" | "devpts")
        {
            settings.push((text("context")?, Some(text(label)?)));
        }
        Ok(Filesystem { kind: text(kind)?, settings, attributes: options.either().set })
    }

    /// Shows a volume's ids as the container's user namespace maps them, or as the mount itself says.
    fn shift(&self, tree: &OwnedFd, mount: &Mount, options: &Options) -> Result<(), Error> {
        let own = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
        if options.idmap.is_none() && !own {
            return Ok(());
        }
        let made;
        let userns = if own {
            let whose = format!("mounts: {}", mount.destination.display());
            made = holder(&Maps::new(&whose, &mount.uid_mappings, &mount.gid_mappings)?)?;
            &made
        } else if let Some(joined) = self.namespaces.joined_user() {
            joined
        } else if let Some(maps) = &self.namespaces.maps {
            made = holder(maps)?;
            &made
        } else {
            return Err(Error::config("mounts: idmap needs mappings of its own or of the user namespace"));
        };
        map_ids(tree, options.idmap.unwrap_or(false), userns).at(Stage::Mount, || {
            format!(
                "cannot map the ids of {}; its file system must support id-mapped mounts",
                mount.destination.display()
            )
        })
    }
}

/// Refuses words that would say nothing: a "nosiud" that is passed over is a hole.
fn check(mount: &Mount, kind: &str, options: &Options) -> Result<(), Error> {
    let place = mount.destination.display();
    let refuse = |why: String| Err(Error::config(format!("mounts: {place}: {why}")));
    let is_cgroup = matches!(kind, "cgroup" | "cgroup2");
    // What a file system is told with a value a bind mount has always passed over, and bundles have it.
    // But whose ids a mount shows is no small thing: "idmap=…" is another runtime's way to say it.
    let says_nothing = |word: &&String| options.remount || !word.contains('=') || word.contains("idmap=");
    let word = options.data.iter().find(says_nothing);
    if let (Some(word), true) = (word, options.bind.is_some() || options.remount || is_cgroup) {
        return refuse(format!("unknown option {word:?}"));
    }
    if options.copy_up && kind != "tmpfs" {
        return refuse(format!("tmpcopyup is an option of tmpfs, and this is a {kind}"));
    }
    let maps = options.idmap.is_some() || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    if maps && (options.bind.is_none() || options.remount) {
        return refuse("ids are mapped for bind mounts only".to_owned());
    }
    Ok(())
}

/// All attributes anew, as mount(2) with MS_REMOUNT sets them.
fn remounted(options: &Options) -> Attributes {
    const ALL: u64 = libc::MOUNT_ATTR_RDONLY
        | libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC
        | libc::MOUNT_ATTR__ATIME
        | libc::MOUNT_ATTR_NODIRATIME
        | libc::MOUNT_ATTR_NOSYMFOLLOW;
    Attributes { clear: ALL, ..options.either() }
}

/// A detached tree of what is at `source`, with its attributes.
fn bind(source: &Path, recursive: bool, options: &Options) -> Result<OwnedFd, Error> {
    let what = || format!("cannot bind {}", source.display());
    let path = CString::new(source.as_os_str().as_bytes())
        .map_err(|_| Error::config("mounts: a zero byte in a path"))?;
    if !source.is_absolute() {
        return Err(Error::config(format!(
            "mounts: the bind source {:?} must be an absolute path",
            source.display()
        )));
    }
    let tree = match clone_tree(None, &path, recursive) {
        Err(Errno::ENOENT) => {
            let message = format!("bind source path does not exist: {}", source.display());
            return Err(Error::new(Stage::Mount, libc::ENOENT, message));
        }
        other => other.at(Stage::Mount, what)?,
    };
    // A copy of a shared mount is its peer: without a word to the contrary the container's mounts would appear outside.
    let mut below = options.below;
    if below.propagation == 0 && options.own.propagation == 0 {
        below.propagation = libc::MS_PRIVATE;
    }
    for (attributes, recursive) in [(below, true), (options.own, false)] {
        if !attributes.is_empty() {
            set_attributes(&tree, recursive, attributes).at(Stage::Mount, what)?;
        }
    }
    Ok(tree)
}

/// The path without "." and "..", as the specification means destinations.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_never_leaves_the_root() {
        assert_eq!(clean(Path::new("/a/../../../etc/./x")), Path::new("/etc/x"));
        assert_eq!(clean(Path::new("..")), Path::new("/"));
    }
}
