//! /dev: the standard nodes and links, and the devices that the container was given.
//!
//! Root makes nodes; in a user namespace, where mknod(2) is forbidden, the host's nodes are bound instead.

use std::{
    ffi::CString,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::AtFlags,
    sys::stat::{Mode, SFlag, fstat, fstatat, mknodat},
    unistd::{Gid, Uid, fchownat, symlinkat},
};

use crate::{
    Error,
    error::{At, Stage},
    mounts::clean,
    namespaces::{Namespaces, in_first_user_namespace},
    resolve::{Kind, Root, is_character_device},
    spec::Device,
    sys::mount::{attach, clone_tree},
};

/// Path below /dev, major and minor number of the nodes every container has (config-linux.md, "Default Devices").
const STANDARD: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Link below /dev and its target.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The nodes to make.
pub(crate) struct Devices {
    nodes: Vec<Node>,
    /// Whether /dev gets the standard nodes and links: not if it is somebody's own directory.
    standard: bool,
}

struct Node {
    path: PathBuf,
    kind: SFlag,
    number: u64,
    mode: u32,
    owner: Option<(u32, u32)>,
    /// The host's node, where one cannot be made.
    host: Option<OwnedFd>,
}

impl Devices {
    /// The standard devices (unless /dev is a bind mount) and those of the document.
    pub(crate) fn build(namespaces: &Namespaces, devices: &[Device], standard: bool) -> Result<Self, Error> {
        let bound = namespaces.is_separate(libc::CLONE_NEWUSER) || !in_first_user_namespace();
        let mut nodes = Vec::new();
        if standard {
            for (name, major, minor) in STANDARD {
                let (path, number) = (Path::new("/dev").join(name), libc::makedev(major, minor));
                nodes.push(Node { path, kind: SFlag::S_IFCHR, number, mode: 0o666, owner: None, host: None });
            }
        }
        for device in devices {
            let node = Node::from_spec(device)?;
            nodes.retain(|earlier| earlier.path != node.path);
            nodes.push(node);
        }
        if bound {
            nodes.iter_mut().try_for_each(Node::find_on_host)?;
        }
        Ok(Self { nodes, standard })
    }

    /// Makes them in the container.
    pub(crate) fn make(&self, root: &Root) -> Result<(), Error> {
        if self.nodes.is_empty() {
            return Ok(());
        }
        // A /dev that is a link would let the image choose where device nodes appear (CVE-2026-41579).
        let dev = root
            .make_plain(Path::new("/dev"), Kind::Directory)
            .at(Stage::Device, || "cannot use /dev; in the image it must be an ordinary directory")?;
        for node in &self.nodes {
            node.make(root, &dev)
                .at(Stage::Device, || format!("cannot make the device {}", node.path.display()))?;
        }
        if self.standard {
            for (name, target) in LINKS {
                match symlinkat(target, &dev, name) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => {
                        return Err(Error::system(Stage::Device, errno, format!("cannot make /dev/{name}")));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Node {
    fn from_spec(device: &Device) -> Result<Self, Error> {
        let path = clean(&device.path);
        let kind = match device.kind.as_str() {
            "c" | "u" => SFlag::S_IFCHR,
            "b" => SFlag::S_IFBLK,
            "p" => SFlag::S_IFIFO,
            other => {
                let path = path.display();
                return Err(Error::config(format!(
                    "linux.devices: {path} has the unknown type {other:?}; c, b or p"
                )));
            }
        };
        let number = |value: i64| {
            u32::try_from(value).map_err(|_| {
                Error::config(format!("linux.devices: {} has an impossible number {value}", path.display()))
            })
        };
        let number = libc::makedev(number(device.major)?, number(device.minor)?);
        let owner = Some((device.uid.unwrap_or(0), device.gid.unwrap_or(0)));
        Ok(Self { mode: device.file_mode.unwrap_or(0o666) & 0o7777, path, kind, number, owner, host: None })
    }

    /// Opens the host's node of the same name, or of the same number as udev knows it.
    fn find_on_host(&mut self) -> Result<(), Error> {
        if self.kind == SFlag::S_IFIFO {
            return Ok(());
        }
        let class = if self.kind == SFlag::S_IFBLK { "block" } else { "char" };
        let by_number = format!("/dev/{class}/{}:{}", libc::major(self.number), libc::minor(self.number));
        for path in [self.path.as_path(), Path::new(&by_number)] {
            let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { continue };
            let Ok(tree) = clone_tree(None, &path, false) else { continue };
            if fstat(&tree).is_ok_and(|stat| self.is(&stat)) {
                self.host = Some(tree);
                return Ok(());
            }
        }
        let message = format!(
            "the host has no device {} with the number {}:{}; in a user namespace a device can only be shared, not made",
            self.path.display(),
            libc::major(self.number),
            libc::minor(self.number)
        );
        Err(Error::new(Stage::Device, libc::ENODEV, message))
    }

    fn is(&self, stat: &libc::stat) -> bool {
        stat.st_mode & libc::S_IFMT == self.kind.bits()
            && (self.kind == SFlag::S_IFIFO || stat.st_rdev == self.number)
    }

    fn make(&self, root: &Root, dev: &OwnedFd) -> nix::Result<()> {
        if let Some(host) = &self.host {
            return attach(host, root.make(&self.path, Kind::File)?);
        }
        let name = self.path.file_name().ok_or(Errno::EINVAL)?;
        let own;
        let directory = match self.path.parent() {
            Some(parent) if parent == Path::new("/dev") => dev,
            Some(parent) => {
                own = root.make(parent, Kind::Directory)?;
                &own
            }
            None => return Err(Errno::EINVAL),
        };
        let number = if self.kind == SFlag::S_IFIFO { 0 } else { self.number };
        match mknodat(directory, name, self.kind, Mode::from_bits_truncate(self.mode), number) {
            // A root that is a directory may have them already. What else has this name is no device, whatever the
            // image says (youki CVE-2025-54867).
            Err(Errno::EEXIST) => {
                if !self.is(&fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?) {
                    return Err(Errno::EEXIST);
                }
            }
            other => other?,
        }
        match self.owner {
            Some((uid, gid)) if (uid, gid) != (0, 0) => {
                let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
                fchownat(directory, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
            }
            _ => Ok(()),
        }
    }
}

/// The container's own /dev/null, if it is one: it hides files, and an image that put something else there would show
/// through (CVE-2025-31133, youki CVE-2025-62161).
pub(crate) fn null(root: &Root) -> Result<OwnedFd, Error> {
    let null =
        root.open_plain(Path::new("/dev/null"), libc::O_PATH).at(Stage::Mask, || "cannot open /dev/null")?;
    let stat = fstat(&null).at(Stage::Mask, || "cannot look at /dev/null")?;
    if !is_character_device(&stat, 1, 3) {
        return Err(Error::new(
            Stage::Mask,
            libc::ENODEV,
            "/dev/null in the container is not the null device",
        ));
    }
    Ok(null)
}
