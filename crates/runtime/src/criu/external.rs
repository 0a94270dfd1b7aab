//! Which mounts of a container come from outside. CRIU does not dump them: it is told their names at the dump, and
//! where the host has them at the restore. The names are the config's destinations, as other runtimes have them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kapsel_sandbox::spec::{Config, Mount, NamespaceKind};

use super::mountinfo::{Mounted, moved};

/// Where every host has its device nodes.
const DEV: &str = "/dev";
/// File systems that the kernel shows and CRIU mounts anew: their files are nobody's.
const VIRTUAL: [&str; 3] = ["proc", "sysfs", "mqueue"];
/// What hides files in containers of any runtime, and nodes that a user namespace cannot make.
const NODES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "console"];

/// For a dump: `mnt[PLACE]:NAME` of each mount that comes from outside, by what is mounted in the container and on the
/// host.
pub fn of_dump(config: &Config, inside: &[Mounted], host: &[Mounted]) -> Vec<String> {
    let hosts: BTreeSet<&str> = host.iter().map(|mounted| mounted.device.as_str()).collect();
    let dev = host.iter().find(|mounted| mounted.place == Path::new(DEV)).map(|mounted| &mounted.device);
    let root = inside.iter().find(|mounted| mounted.place == Path::new("/"));
    let is_virtual = |mounted: &&Mounted| {
        VIRTUAL.contains(&mounted.kind.as_str())
            && mounted.root == Path::new("/")
            && !is_bound(config, &mounted.place)
    };
    let own: BTreeSet<&str> =
        inside.iter().filter(is_virtual).map(|mounted| mounted.device.as_str()).collect();
    let is_external = |mounted: &&Mounted| {
        let device = mounted.device.as_str();
        let in_root = root.is_some_and(|root| root.device == device && mounted.root.starts_with(&root.root));
        let cgroup = mounted.kind.starts_with("cgroup") && has_namespace(config, NamespaceKind::Cgroup);
        hosts.contains(device) && !own.contains(device) && !in_root && !cgroup
    };
    let name = |mounted: &Mounted| {
        // A node of the host's, whatever it hides, is known by its own name.
        let node = dev.filter(|device| **device == mounted.device && mounted.root != Path::new("/"));
        match node {
            Some(_) if !is_bound(config, &mounted.place) => {
                moved(&mounted.root, Path::new("/"), Path::new(DEV)).unwrap_or_default()
            }
            _ => mounted.place.clone(),
        }
    };
    let external = inside.iter().filter(is_external);
    external.map(|mounted| format!("mnt[{}]:{}", mounted.place.display(), name(mounted).display())).collect()
}

/// For a restore: `mnt[NAME]:SOURCE` of everything that a dump can have named. `places`: the destinations of the
/// config's mounts as the root resolves them. CRIU passes over what its images do not ask for.
pub fn of_restore(config: &Config, places: &[PathBuf], host: &[Mounted]) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut add = |name: &Path, source: &Path| {
        found.insert(format!("mnt[{}]:{}", name.display(), source.display()));
    };
    for (mount, place) in config.mounts.iter().zip(places) {
        let Some(source) = source(config, mount) else { continue };
        for name in [mount.destination.as_path(), place] {
            add(name, source);
            // What is mounted below the source came along.
            for below in host.iter().filter(|mounted| mounted.place != source) {
                if let Some(name) = moved(&below.place, source, name) {
                    add(&name, &below.place);
                }
            }
        }
    }
    let devices = config.linux.iter().flat_map(|linux| &linux.devices).map(|device| device.path.clone());
    for node in devices.chain(NODES.map(|name| Path::new(DEV).join(name))).filter(|node| node.exists()) {
        add(&node, &node);
    }
    found.into_iter().collect()
}

/// What of the host a mount shows.
fn source<'a>(config: &Config, mount: &'a Mount) -> Option<&'a Path> {
    match mount.kind.as_deref().unwrap_or("bind") {
        "cgroup" | "cgroup2" if !has_namespace(config, NamespaceKind::Cgroup) => {
            Some(Path::new("/sys/fs/cgroup"))
        }
        _ if mount.is_bind() => mount.source.as_deref().map(Path::new),
        _ => None,
    }
}

fn is_bound(config: &Config, place: &Path) -> bool {
    config.mounts.iter().rev().find(|mount| mount.destination == place).is_some_and(Mount::is_bind)
}

/// Whether the container has a namespace that is not its caller's.
pub fn has_namespace(config: &Config, kind: NamespaceKind) -> bool {
    config.linux.iter().flat_map(|linux| &linux.namespaces).any(|namespace| namespace.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(device: &str, root: &str, place: &str, kind: &str) -> Mounted {
        Mounted { id: 1, device: device.into(), root: root.into(), place: place.into(), kind: kind.into() }
    }

    fn config(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn only_what_the_host_has_too_is_external() {
        let config = config(
            r#"{"mounts": [
                {"destination": "/proc", "type": "proc"}, {"destination": "/sys", "type": "sysfs"},
                {"destination": "/data", "type": "bind", "source": "/srv"}],
               "linux": {"namespaces": [{"type": "cgroup"}]}}"#,
        );
        let host = [
            mounted("8:1", "/", "/", "ext4"),
            mounted("0:5", "/", "/dev", "devtmpfs"),
            mounted("0:6", "/", "/sys", "sysfs"),
            mounted("0:9", "/", "/sys/fs/cgroup", "cgroup2"),
        ];
        let inside = [
            mounted("8:1", "/bundle/rootfs", "/", "ext4"),
            mounted("0:40", "/", "/proc", "proc"),
            mounted("0:40", "/sys", "/proc/sys", "proc"),
            // The host's network namespace has one sysfs.
            mounted("0:6", "/", "/sys", "sysfs"),
            mounted("0:9", "/k", "/sys/fs/cgroup", "cgroup2"),
            mounted("8:1", "/bundle/rootfs/etc", "/etc", "ext4"),
            mounted("8:1", "/srv", "/data", "ext4"),
            mounted("0:5", "/null", "/proc/keys", "devtmpfs"),
        ];
        assert_eq!(of_dump(&config, &inside, &host), ["mnt[/data]:/data", "mnt[/proc/keys]:/dev/null"]);
    }

    #[test]
    fn a_volume_is_found_by_its_destination_and_where_that_leads() {
        let config = config(
            r#"{"mounts": [
                {"destination": "/var/run", "source": "/srv", "options": ["rbind"]},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}]}"#,
        );
        let host = [mounted("8:1", "/", "/", "ext4"), mounted("8:2", "/", "/srv/disk", "ext4")];
        let found = of_restore(&config, &["/run".into(), "/tmp".into()], &host);
        for external in
            ["mnt[/var/run]:/srv", "mnt[/run]:/srv", "mnt[/run/disk]:/srv/disk", "mnt[/dev/null]:/dev/null"]
        {
            assert!(found.iter().any(|one| one == external), "{external}: {found:?}");
        }
        assert!(!found.iter().any(|one| one.starts_with("mnt[/tmp]")));
    }
}
