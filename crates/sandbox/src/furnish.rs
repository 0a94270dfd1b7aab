//! The root of a container whose processes somebody else makes (CRIU): mounted, with a place for every mount.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{fcntl::OFlag, sys::stat::Mode};

use crate::{
    Error, Rootfs,
    error::{At, Stage},
    mounts::clean,
    namespaces::Namespaces,
    resolve::{Kind, Root, descriptor_path, kind_of},
    root,
    spec::{Config, Mount},
};

/// Makes the root's mount, which is attached nowhere, and in it the places of the config's mounts. Tells where each of
/// their destinations leads in it.
pub fn furnish(rootfs: &Rootfs, config: &Config) -> Result<(OwnedFd, Vec<PathBuf>), Error> {
    let propagation = config.linux.as_ref().and_then(|linux| linux.rootfs_propagation.as_deref());
    let tree = root::prepare(rootfs, propagation, Namespaces::open(config)?.maps.as_ref())?;
    let root = Root::new(tree.try_clone().at(Stage::Root, || "cannot share the root")?);
    let places = config.mounts.iter().enumerate().map(|(index, mount)| {
        let destination = clean(&mount.destination);
        let earlier = &config.mounts[..index];
        let place = place(&root, earlier, mount, &destination)
            .at(Stage::Mount, || format!("cannot make a place for {}", destination.display()))?;
        Ok(place.unwrap_or(destination))
    });
    let places = places.collect::<Result<_, Error>>()?;
    Ok((tree, places))
}

/// Makes a mount's place, and tells where it is; none where it is part of a mount that comes with its content.
fn place(root: &Root, earlier: &[Mount], mount: &Mount, destination: &Path) -> nix::Result<Option<PathBuf>> {
    let source =
        |mount: &Mount| mount.is_bind().then(|| PathBuf::from(mount.source.clone().unwrap_or_default()));
    let kind = match source(mount) {
        Some(source) => kind_of(&open(&source)?)?,
        None => Kind::Directory,
    };
    let around = earlier.iter().rev().find_map(|other| {
        let rest = destination.strip_prefix(clean(&other.destination)).ok()?;
        (!rest.as_os_str().is_empty()).then_some((other, rest))
    });
    match around {
        None => {
            let made = root.make(destination, kind)?;
            Ok(std::fs::read_link(descriptor_path(&made)).ok().filter(|path| path.is_absolute()))
        }
        Some((other, rest)) => {
            if let Some(source) = source(other) {
                Root::new(open(&source)?).make(&Path::new("/").join(rest), kind)?;
            }
            Ok(None)
        }
    }
}

fn open(path: &Path) -> nix::Result<OwnedFd> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}
