//! Writing `linux.resources`: each controller's share goes to the version of cgroups where the machine has it.

use crate::{
    Error, Layout, LinuxResources, bpf,
    controllers::{Place, locate},
    devices,
    directory::{Directory, write_once},
    setting::{Setting, write_all},
    v1, v2,
};

/// The settings of one controller and where they go.
type Placed<'a> = Vec<(&'a Directory, Setting)>;

pub(crate) fn apply(
    directories: &[Directory],
    resources: &LinuxResources,
    layout: Layout,
) -> Result<(), Error> {
    let mut placed = Placed::new();
    // What was asked for is first said in v1's words: without any, the controller is not even looked for.
    let mut place = |names: (&str, &str),
                     v1: Vec<Setting>,
                     v2: &mut dyn FnMut(&Directory) -> Result<Vec<Setting>, Error>| {
        let Some(first) = v1.first() else { return Ok(()) };
        match locate(directories, names.0, names.1) {
            Some(Place::V1(directory)) => placed.extend(v1.into_iter().map(|setting| (directory, setting))),
            Some(Place::V2(directory)) => {
                placed.extend(v2(directory)?.into_iter().map(|setting| (directory, setting)));
            }
            None => {
                let controller = if layout == Layout::Unified { names.1 } else { names.0 };
                let setting = first.name.to_owned();
                return Err(Error::MissingController { controller: controller.to_owned(), setting });
            }
        }
        Ok(())
    };
    if let Some(memory) = &resources.memory {
        check_memory(directories, resources)?;
        place(("memory", "memory"), v1::memory(memory), &mut |_| v2::memory(memory))?;
    }
    if let Some(cpu) = &resources.cpu {
        place(("cpu", "cpu"), v1::cpu(cpu), &mut |directory| {
            v2::cpu(cpu, || directory.read("cpu.max").ok())
        })?;
        place(("cpuset", "cpuset"), v1::cpuset(cpu), &mut |_| Ok(v1::cpuset(cpu)))?;
    }
    if let Some(pids) = &resources.pids {
        place(("pids", "pids"), v1::pids(pids), &mut |_| Ok(v1::pids(pids)))?;
    }
    if let Some(block_io) = &resources.block_io {
        place(("blkio", "io"), v1::block_io(block_io), &mut |_| v2::block_io(block_io))?;
    }
    let hugepages = &resources.hugepage_limits;
    place(("hugetlb", "hugetlb"), v1::hugepages(hugepages)?, &mut |_| v2::hugepages(hugepages))?;
    place(("rdma", "rdma"), v1::rdma(&resources.rdma)?, &mut |_| v1::rdma(&resources.rdma))?;
    if let Some(network) = &resources.network {
        if layout == Layout::Unified {
            v2::network(network)?;
        }
        place(("net_cls", "net_cls"), v1::network_class(network), &mut |_| Ok(Vec::new()))?;
        place(("net_prio", "net_prio"), v1::network_priorities(network)?, &mut |_| Ok(Vec::new()))?;
    }
    write_all(&placed)?;
    apply_devices(directories, resources)?;
    apply_unified(directories, resources, layout)
}

/// v1 refuses a memory limit below what is in use; v2 would kill instead, unless asked not to.
pub(crate) fn check_memory(directories: &[Directory], resources: &LinuxResources) -> Result<(), Error> {
    let checked = resources.memory.as_ref().filter(|memory| memory.check_before_update == Some(true));
    let Some(limit) = checked.and_then(|memory| memory.limit).filter(|limit| *limit > 0) else {
        return Ok(());
    };
    let Some(Place::V2(directory)) = locate(directories, "memory", "memory") else { return Ok(()) };
    let current = directory.read_optional("memory.current")?.unwrap_or_default();
    match current.trim().parse::<i64>() {
        Ok(current) if current > limit => Err(Error::Unsupported {
            setting: "memory.limit".to_owned(),
            why: format!("{limit} bytes is less than the {current} in use"),
        }),
        _ => Ok(()),
    }
}

fn apply_devices(directories: &[Directory], resources: &LinuxResources) -> Result<(), Error> {
    if resources.devices.is_empty() {
        return Ok(());
    }
    if let Some(Place::V1(directory)) = locate(directories, "devices", "") {
        let open = |file| directory.open_file(file, nix::fcntl::OFlag::O_WRONLY);
        let mut opened = None;
        for (file, line) in devices::lines(&resources.devices)? {
            let fd = match opened.take() {
                Some((name, fd)) if name == file => fd,
                _ => open(file).map_err(|error| directory.error("open", file, error))?,
            };
            use std::os::fd::AsFd;
            write_once(fd.as_fd(), &line)
                .map_err(|error| directory.error(&format!("write {line:?} to"), file, error))?;
            opened = Some((file, fd));
        }
        return Ok(());
    }
    let Some(directory) = directories.iter().find(|directory| directory.mount.unified) else {
        let (controller, setting) = ("devices".to_owned(), "devices".to_owned());
        return Err(Error::MissingController { controller, setting });
    };
    match bpf::filter_devices(directory.fd(), &devices::program(&resources.devices)?) {
        // Nobody in a user namespace can make a device node, or open one that the host does not let its user open: the
        // filter that may not be loaded there (runc and crun say the same) would add nothing.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && in_user_namespace() => Ok(()),
        result => result.map_err(|error| directory.error("attach the device filter to", "", error)),
    }
}

/// Only the initial user namespace maps every id.
pub(crate) fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn apply_unified(directories: &[Directory], resources: &LinuxResources, layout: Layout) -> Result<(), Error> {
    let settings = v2::unified(&resources.unified)?;
    let (Some((_, first)), Some(directory)) = (settings.first(), directories.first()) else { return Ok(()) };
    if layout != Layout::Unified {
        return Err(Error::Unsupported {
            setting: "unified".to_owned(),
            why: format!("{} is a file of cgroup v2, and this machine's limits are v1's", first.file),
        });
    }
    let offered = directory.read_optional("cgroup.controllers")?.unwrap_or_default();
    if let Some((controller, setting)) = settings
        .iter()
        .find(|(name, _)| *name != "cgroup" && !offered.split_whitespace().any(|offered| offered == *name))
    {
        let (controller, setting) = ((*controller).to_owned(), format!("unified[{:?}]", setting.file));
        return Err(Error::MissingController { controller, setting });
    }
    let placed: Vec<_> = settings.into_iter().map(|(_, setting)| (directory, setting)).collect();
    write_all(&placed)
}
