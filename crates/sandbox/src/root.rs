//! The container's root: an overlay or a directory becomes a detached mount, and then the only root there is.

use std::{
    ffi::{CString, OsString},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::{stat::Mode, wait::waitpid},
    unistd::{Gid, Pid, Uid, chdir, chown, chroot, fchdir, pivot_root},
};

use crate::{
    Error, Rootfs,
    channel::{self, Message},
    error::{At, Stage},
    mounts::Options,
    process::{NoReturn, fail},
    resolve::{Kind, Root, descriptor_path, kind_of},
    spec::IdMapping,
    sys::{
        mount::{Attributes, Context, attach, clone_tree, map_ids, set_attributes},
        process::{Cloned, clone},
    },
    userns::{Maps, holder},
};

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Refuses what is no propagation (linux.rootfsPropagation).
pub(crate) fn check_propagation(word: Option<&str>) -> Result<(), Error> {
    let known = ["private", "shared", "slave", "unbindable"];
    match word {
        Some(word) if !word.is_empty() && !known.contains(&word.strip_prefix('r').unwrap_or(word)) => {
            Err(Error::config(format!(
                "linux.rootfsPropagation {word:?} is none of {} or r before one",
                known.join(", ")
            )))
        }
        _ => Ok(()),
    }
}

/// Makes the root's mount, in the parent. `maps`: of a new user namespace, whose ids the layers are to show.
pub(crate) fn prepare(
    rootfs: &Rootfs,
    propagation: Option<&str>,
    maps: Option<&Maps>,
) -> Result<OwnedFd, Error> {
    match rootfs {
        Rootfs::Directory(path) => directory(path, propagation),
        Rootfs::Overlay { lowers, upper, work, userxattr } => {
            let Some(maps) = maps else { return overlay(lowers, upper, work, *userxattr) };
            // The layers belong to the host's ids. Showing them shifted is what makes the container's root own its
            // files, without changing one of them (Linux 5.19). What the container writes has the shifted ids for good:
            // through a shifted upper, overlay itself (which is the host's root) could not write.
            let userns = holder(maps)?;
            let shifted =
                lowers.iter().map(|lower| shifted(lower, &userns)).collect::<Result<Vec<_>, _>>()?;
            let lowers: Vec<PathBuf> = shifted.iter().map(descriptor_path).collect();
            give(upper, maps)?;
            let tree = match overlay(&lowers, upper, work, *userxattr) {
                Err(Error { errno: libc::EINVAL, .. }) => {
                    overlay_of_mounted(&shifted, &lowers, upper, work, *userxattr)?
                }
                made => made?,
            };
            // The file system belongs to the host's root, so a device node of an image would work; in a user namespace
            // none does.
            let no_devices = Attributes { set: libc::MOUNT_ATTR_NODEV, ..Attributes::default() };
            set_attributes(&tree, false, no_devices)
                .at(Stage::Root, || "cannot mount the overlay without devices")?;
            Ok(tree)
        }
    }
}

fn c_path(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::config("a path of the root contains a zero byte"))
}

fn directory(path: &Path, propagation: Option<&str>) -> Result<OwnedFd, Error> {
    let what = || format!("cannot use {} as the root", path.display());
    let tree = clone_tree(None, &c_path(path)?, true).at(Stage::Root, what)?;
    if kind_of(&tree) != Ok(Kind::Directory) {
        return Err(Error::system(Stage::Root, Errno::ENOTDIR, what()));
    }
    // A copy of a shared mount is its peer: what the container mounts would appear on the host. A root that is shared is
    // so in a group of its own (config-linux.md, "Rootfs Mount Propagation"), and only once it is the root.
    let is_slave = matches!(propagation, Some("slave" | "rslave"));
    let propagation = if is_slave { libc::MS_SLAVE } else { libc::MS_PRIVATE };
    set_attributes(&tree, true, Attributes { propagation, ..Attributes::default() }).at(Stage::Root, what)?;
    Ok(tree)
}

fn shifted(path: &Path, userns: &OwnedFd) -> Result<OwnedFd, Error> {
    let what = || {
        format!("cannot show {} with the container's ids (id-mapped layers need Linux 5.19)", path.display())
    };
    let tree = clone_tree(None, &c_path(path)?, false).at(Stage::Root, what)?;
    map_ids(&tree, false, userns).at(Stage::Root, what)?;
    Ok(tree)
}

/// The container's root directory has the attributes of `upper`: it must belong to the container's root.
fn give(upper: &Path, maps: &Maps) -> Result<(), Error> {
    let host_id =
        |map: &[IdMapping]| map.iter().find(|range| range.container_id == 0).map_or(0, |range| range.host_id);
    let (uid, gid) = (Uid::from_raw(host_id(&maps.uids)), Gid::from_raw(host_id(&maps.gids)));
    chown(upper, Some(uid), Some(gid))
        .at(Stage::Root, || format!("cannot give {} to the container", upper.display()))
}

/// An overlay, described to the kernel layer by layer (Linux 6.7) or in one word before that.
fn overlay(lowers: &[PathBuf], upper: &Path, work: &Path, userxattr: bool) -> Result<OwnedFd, Error> {
    let described = |one_by_one| {
        let what = || format!("cannot mount the overlay over {}", upper.display());
        let context = Context::open(c"overlay").at(Stage::Root, what)?;
        context.set(c"source", c"overlay").at(Stage::Root, what)?;
        if userxattr {
            context.flag(c"userxattr").at(Stage::Root, what)?;
        }
        let mut handles = Vec::new();
        if one_by_one {
            for lower in lowers {
                let word = c_path(&short(lower, LONGEST, &mut handles)?)?;
                let what = || format!("cannot use the layer {}", lower.display());
                context.set(c"lowerdir+", &word).at(Stage::Root, what)?;
            }
        } else {
            let each = LONGEST / lowers.len().max(1) - 1;
            let lowers =
                lowers.iter().map(|l| short(l, each, &mut handles)).collect::<Result<Vec<_>, _>>()?;
            context.set(c"lowerdir", &c_path(&joined(&lowers))?).at(Stage::Root, what)?;
        }
        for (key, path) in [(c"upperdir", upper), (c"workdir", work)] {
            context.set(key, &c_path(&short(path, LONGEST, &mut handles)?)?).at(Stage::Root, what)?;
        }
        context.mount(0).at(Stage::Root, what)
    };
    match described(true) {
        // Linux 6.5 and 6.6 refuse the first layer; before that any word is taken, and refused by the mount.
        Err(error) if error.errno == libc::EINVAL => described(false),
        made => made,
    }
}

/// The same on a kernel (6.1 for one) whose overlay only takes layers that are mounted in the caller's namespace: in one
/// of a child's own, which ends with it. The overlay has made its own copies of them by then.
fn overlay_of_mounted(
    trees: &[OwnedFd],
    lowers: &[PathBuf],
    upper: &Path,
    work: &Path,
    userxattr: bool,
) -> Result<OwnedFd, Error> {
    let (parent, child) = channel::pair()?;
    let what = || "cannot make a process to mount the layers in";
    // SAFETY: `launch` asks for a single thread; the child makes system calls and ends.
    match unsafe { clone(libc::CLONE_NEWNS as u64, None, false) }.at(Stage::Root, what)? {
        Cloned::Child => {
            let _no_return = NoReturn;
            drop(parent);
            let made = isolate()
                .and_then(|()| trees.iter().try_for_each(cover))
                .and_then(|()| overlay(lowers, upper, work, userxattr))
                .and_then(|tree| child.console(&tree));
            if let Err(error) = made {
                fail(&child, &error);
            }
            // SAFETY: ends this copy of the caller without running what belongs to the original.
            unsafe { libc::_exit(0) }
        }
        Cloned::Parent { pid, .. } => {
            drop(child);
            let message = parent.receive();
            waitpid(Pid::from_raw(pid), None).at(Stage::Root, what)?;
            match message? {
                Message::Console(tree) => Ok(tree),
                Message::Failed(error) => Err(error),
                _ => Err(Error::new(Stage::Root, 0, "the process that mounts the layers was killed")),
            }
        }
    }
}

/// As many bytes as fsconfig(2) takes in one value.
const LONGEST: usize = 255;

/// The path, or one through a descriptor if it is longer than `most` bytes.
fn short(path: &Path, most: usize, handles: &mut Vec<OwnedFd>) -> Result<PathBuf, Error> {
    if path.as_os_str().len() <= most {
        return Ok(path.to_owned());
    }
    let handle = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .at(Stage::Root, || format!("cannot open {}", path.display()))?;
    let short = descriptor_path(&handle);
    handles.push(handle);
    Ok(short)
}

fn joined(lowers: &[PathBuf]) -> PathBuf {
    let escaped = lowers
        .iter()
        .map(|lower| lower.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,"));
    PathBuf::from(escaped.collect::<Vec<_>>().join(":"))
}

/// Shows `tree` in this process's mount namespace where the host has the directory: what hooks of the host expect.
pub(crate) fn show(tree: &OwnedFd, directory: &Path) -> Result<Root, Error> {
    let what = || format!("cannot mount the root on {}", directory.display());
    let place = open(directory, DIRECTORY, Mode::empty()).at(Stage::Root, what)?;
    attach(tree, &place).at(Stage::Root, what)?;
    Ok(Root::new(tree.try_clone().at(Stage::Root, what)?))
}

/// Puts `tree` on top of the host's root: a place that always exists, and that no path can mean wrongly.
pub(crate) fn cover(tree: &OwnedFd) -> Result<(), Error> {
    let what = || "cannot mount the root";
    let host = open("/", DIRECTORY, Mode::empty()).at(Stage::Root, what)?;
    attach(tree, &host).at(Stage::Root, what)
}

/// Makes `tree`, which is attached, the root of this process's mount namespace, with the host's on top of it.
pub(crate) fn pivot(tree: &OwnedFd) -> Result<(), Error> {
    let what = || "cannot enter the root (pivot_root)";
    fchdir(tree).at(Stage::Root, what)?;
    pivot_root(".", ".").at(Stage::Root, what)
}

/// Takes the host's root off the one that [`pivot`] has put below it. Unlike after chroot(2), nothing of the host is
/// mounted in this namespace then: there is no way back, not even with every capability (runc issue 1962).
pub(crate) fn enter() -> Result<Root, Error> {
    let what = || "cannot let go of the host's root";
    umount2(".", MntFlags::MNT_DETACH).at(Stage::Root, what)?;
    chdir("/").at(Stage::Root, what)?;
    let root = open("/", DIRECTORY, Mode::empty()).at(Stage::Root, what)?;
    Ok(Root::new(root))
}

/// Makes `tree`, which covers the host's root, this process's root without pivot_root(2), which refuses to move an
/// initramfs. Everything that is mounted on the host is let go of first: below the container's root only the bare
/// initramfs is left.
pub(crate) fn enter_without_pivot(tree: &OwnedFd) -> Result<Root, Error> {
    let what = || "cannot enter the root (chroot)";
    fchdir(tree).at(Stage::Root, what)?;
    chroot(".").at(Stage::Root, what)?;
    let root = open(".", DIRECTORY, Mode::empty()).at(Stage::Root, what)?;
    Ok(Root::new(root))
}

/// Lets go of every mount of the host's but its root, in this process's copy of them.
pub(crate) fn strip() -> Result<(), Error> {
    let what = || "cannot let go of the host's mounts";
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").at(Stage::Root, what)?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|point| *point != "/");
    // The last one mounted first: what lies below another goes after it.
    for point in points.collect::<Vec<_>>().into_iter().rev() {
        match umount2(unescape(point).as_path(), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // It was below one that has gone, or is hidden by another.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => return Err(Error::system(Stage::Root, errno, format!("{}: {point}", what()))),
        }
    }
    Ok(())
}

/// A path as proc(5) writes it: space, tab, newline and backslash are three octal digits.
fn unescape(word: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal =
            tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Cuts the copy of the host's mounts off from the originals: nothing done to them is seen outside.
pub(crate) fn isolate() -> Result<(), Error> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .at(Stage::Root, || "cannot make the mounts private")
}

/// The last word on the root: its propagation and whether it can be written.
pub(crate) fn finish(root: &Root, propagation: Option<&str>, read_only: bool) -> Result<(), Error> {
    let mut attributes = Options::parse(propagation).either();
    if read_only {
        attributes.set |= libc::MOUNT_ATTR_RDONLY;
    }
    if attributes.is_empty() {
        return Ok(());
    }
    set_attributes(root.as_fd(), false, attributes).at(Stage::Root, || "cannot change the root's mount")
}
