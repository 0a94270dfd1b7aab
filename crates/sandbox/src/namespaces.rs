//! Which namespaces the new process gets: new ones, existing ones joined by path, or the caller's.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{stat::Mode, statfs::NSFS_MAGIC},
};

use crate::{
    Error,
    error::{At, Stage},
    resolve::is_on,
    spec::{Config, Linux, Namespace, NamespaceKind, TimeOffset},
    sys::process::{Cloned, prctl, setns},
    userns::Maps,
};

/// Inode of the first user namespace (include/linux/proc_ns.h, PROC_USER_INIT_INO).
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// What a container's first process is cloned into.
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` of the new ones but the cgroup namespace, which can only be made after its cgroup was entered:
    /// it shows as "/" whatever cgroup the maker is in.
    pub new: u64,
    /// Whether the cgroup namespace is new.
    pub cgroup: bool,
    /// Existing ones to join, the user namespace last: in it there is no right over those that belong to its parents.
    joined: Vec<(i32, OwnedFd)>,
    /// An existing PID namespace.
    pub pid: Option<OwnedFd>,
    /// What is written to timens_offsets (time_namespaces(7)) of a new time namespace.
    pub offsets: Option<String>,
    /// Mappings of the new user namespace.
    pub maps: Option<Maps>,
}

/// libc has it in a type too small for clone3(2); for unshare(2) and setns(2) this is it.
pub(crate) const CLONE_NEWTIME: i32 = 0x80;

impl Namespaces {
    /// Reads the document and opens what is joined.
    pub(crate) fn open(config: &Config) -> Result<Self, Error> {
        static NOTHING: &[Namespace] = &[];
        let linux = config.linux.as_ref();
        let mut namespaces =
            Self { new: 0, cgroup: false, joined: Vec::new(), pid: None, offsets: None, maps: None };
        let mut seen = 0u64;
        for namespace in linux.map_or(NOTHING, |linux| &linux.namespaces) {
            let flag = flag_of(namespace.kind);
            if seen & flag as u64 != 0 {
                return Err(Error::config(format!("linux.namespaces names {:?} twice", namespace.kind)));
            }
            seen |= flag as u64;
            namespaces.add(namespace, flag)?;
        }
        namespaces.offsets =
            offsets(linux, seen & CLONE_NEWTIME as u64 != 0 && !namespaces.is_joined(CLONE_NEWTIME))?;
        if seen & libc::CLONE_NEWNS as u64 == 0 {
            // pivot_root in the caller's mount namespace would take the host's root away from everybody.
            return Err(Error::config(
                "linux.namespaces must hold a mount namespace: without one the host's would change",
            ));
        }
        namespaces.joined.sort_by_key(|(flag, _)| *flag == libc::CLONE_NEWUSER);
        namespaces.maps = namespaces.maps_from(linux)?;
        Ok(namespaces)
    }

    fn add(&mut self, namespace: &Namespace, flag: i32) -> Result<(), Error> {
        let Some(path) = namespace.path.as_ref().filter(|path| !path.as_os_str().is_empty()) else {
            match namespace.kind {
                NamespaceKind::Cgroup => self.cgroup = true,
                // Made apart, see `with_children_in`.
                NamespaceKind::Time => {}
                _ => self.new |= flag as u64,
            }
            return Ok(());
        };
        let fd = open_path(path, flag)?;
        match namespace.kind {
            NamespaceKind::Pid => self.pid = Some(fd),
            _ => self.joined.push((flag, fd)),
        }
        Ok(())
    }

    fn maps_from(&self, linux: Option<&Linux>) -> Result<Option<Maps>, Error> {
        let (uids, gids) = linux.map_or((&[][..], &[][..]), |l| (&l.uid_mappings, &l.gid_mappings));
        if self.is_new(libc::CLONE_NEWUSER) {
            return Maps::new("linux", uids, gids).map(Some);
        }
        // One that is joined has its own; podman names some all the same, for runtimes that ask for them.
        if self.is_joined(libc::CLONE_NEWUSER) || uids.is_empty() && gids.is_empty() {
            return Ok(None);
        }
        Err(Error::config(
            "linux.uidMappings and linux.gidMappings need a user namespace; name one in linux.namespaces",
        ))
    }

    /// Whether a kind is new.
    pub(crate) fn is_new(&self, flag: i32) -> bool {
        self.new & flag as u64 != 0
    }

    /// Whether a kind is not the caller's own.
    pub(crate) fn is_separate(&self, flag: i32) -> bool {
        self.is_new(flag) || flag == libc::CLONE_NEWPID && self.pid.is_some() || self.is_joined(flag)
    }

    /// An existing user namespace that is joined.
    pub(crate) fn joined_user(&self) -> Option<&OwnedFd> {
        self.joined_of(libc::CLONE_NEWUSER)
    }

    /// An existing network namespace that is joined.
    pub(crate) fn joined_network(&self) -> Option<&OwnedFd> {
        self.joined_of(libc::CLONE_NEWNET)
    }

    fn joined_of(&self, flag: i32) -> Option<&OwnedFd> {
        self.joined.iter().find(|(joined, _)| *joined == flag).map(|(_, fd)| fd)
    }

    fn is_joined(&self, flag: i32) -> bool {
        self.joined_of(flag).is_some()
    }

    /// Whether the real process must be made by an intermediate one: a user namespace that exists must be entered
    /// before the others are made, so that they belong to it; and one that is made gives no right to join others.
    pub(crate) fn need_hop(&self) -> bool {
        let user = libc::CLONE_NEWUSER;
        self.joined.iter().any(|(flag, _)| *flag == user)
            || self.is_new(user) && (self.pid.is_some() || !self.joined.is_empty())
    }

    /// Enters the existing ones. The PID namespace is not among them: it is only entered by children.
    pub(crate) fn join(&self) -> Result<(), Error> {
        for (flag, fd) in &self.joined {
            setns(fd, *flag)
                .at(Stage::Namespace, || format!("cannot join the {} namespace", name_of(*flag)))?;
            if *flag == libc::CLONE_NEWUSER {
                become_root()?;
            }
        }
        Ok(())
    }
}

fn flag_of(kind: NamespaceKind) -> i32 {
    match kind {
        NamespaceKind::Pid => libc::CLONE_NEWPID,
        NamespaceKind::Network => libc::CLONE_NEWNET,
        NamespaceKind::Mount => libc::CLONE_NEWNS,
        NamespaceKind::Ipc => libc::CLONE_NEWIPC,
        NamespaceKind::Uts => libc::CLONE_NEWUTS,
        NamespaceKind::User => libc::CLONE_NEWUSER,
        NamespaceKind::Cgroup => libc::CLONE_NEWCGROUP,
        NamespaceKind::Time => CLONE_NEWTIME,
    }
}

/// The text of timens_offsets, where a new time namespace is asked for.
fn offsets(linux: Option<&Linux>, is_new: bool) -> Result<Option<String>, Error> {
    let asked = linux.map(|linux| &linux.time_offsets).filter(|offsets| !offsets.is_empty());
    let Some(asked) = asked else { return Ok(is_new.then(String::new)) };
    if !is_new {
        return Err(Error::config("linux.timeOffsets needs a new time namespace"));
    }
    let line = |(clock, offset): (&String, &TimeOffset)| match (clock.as_str(), offset.nanosecs) {
        ("monotonic" | "boottime", 0..=999_999_999) => {
            Ok(format!("{clock} {} {}\n", offset.secs, offset.nanosecs))
        }
        ("monotonic" | "boottime", nanosecs) => {
            Err(Error::config(format!("linux.timeOffsets.{clock}: {nanosecs} nanosecs are a second or more")))
        }
        _ => Err(Error::config(format!("linux.timeOffsets: {clock:?} is neither monotonic nor boottime"))),
    };
    asked.iter().map(line).collect::<Result<_, _>>().map(Some)
}

fn name_of(flag: i32) -> &'static str {
    match flag {
        libc::CLONE_NEWNET => "network",
        libc::CLONE_NEWNS => "mount",
        libc::CLONE_NEWIPC => "ipc",
        libc::CLONE_NEWUTS => "uts",
        libc::CLONE_NEWUSER => "user",
        libc::CLONE_NEWPID => "pid",
        CLONE_NEWTIME => "time",
        libc::CLONE_NEWCGROUP => "cgroup",
        _ => "unknown",
    }
}

/// Opens an existing namespace, which must be of this kind.
fn open_path(path: &Path, flag: i32) -> Result<OwnedFd, Error> {
    /// _IO(0xb7, 3), linux/nsfs.h
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    let (name, shown) = (name_of(flag), path.display());
    if !path.is_absolute() {
        return Err(Error::config(format!("linux.namespaces: the {name} path {shown} must be absolute")));
    }
    // A fifo in its place must not keep us waiting.
    let fd = open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty())
        .at(Stage::Namespace, || format!("cannot open the {name} namespace {shown}"))?;
    let is_namespace = is_on(&fd, NSFS_MAGIC);
    // SAFETY: the request takes no argument.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    if is_namespace && kind == flag {
        return Ok(fd);
    }
    let is = if is_namespace { format!("a {}", name_of(kind)) } else { "no".to_owned() };
    Err(Error::config(format!(
        "linux.namespaces: {shown} is {is} namespace; a {name} namespace is asked for"
    )))
}

/// Runs `clone` with an existing PID namespace, and a new time namespace with these offsets, as those of the caller's
/// next children. One process less than the usual fork after setns, and the new process is the caller's own child; and a
/// time namespace gets its offsets before anybody lives in it, as the kernel demands.
pub(crate) fn with_children_in(
    pid_namespace: Option<impl AsFd>,
    offsets: Option<&String>,
    clone: impl FnOnce() -> Result<Cloned, Error>,
) -> Result<Cloned, Error> {
    let own = |name: &str| File::open(name).at(Stage::Namespace, || format!("cannot open {name}"));
    let mut own_namespaces = Vec::with_capacity(2);
    if let Some(namespace) = pid_namespace {
        own_namespaces.push((own("/proc/self/ns/pid")?, libc::CLONE_NEWPID));
        setns(namespace, libc::CLONE_NEWPID).at(Stage::Namespace, || "cannot join the pid namespace")?;
    }
    let mut result = Ok(());
    if let Some(offsets) = offsets {
        own_namespaces.push((own("/proc/self/ns/time")?, CLONE_NEWTIME));
        result = make_time_namespace(offsets);
    }
    let cloned = result.and_then(|()| clone());
    if !matches!(cloned, Ok(Cloned::Child)) {
        for (namespace, flag) in own_namespaces {
            setns(namespace, flag).at(Stage::Namespace, || {
                format!("cannot return to the caller's {} namespace", name_of(flag))
            })?;
        }
    }
    cloned
}

fn make_time_namespace(offsets: &str) -> Result<(), Error> {
    // SAFETY: integers only; it concerns the caller's next children.
    Errno::result(unsafe { libc::unshare(CLONE_NEWTIME) })
        .at(Stage::Namespace, || "cannot make a time namespace (it needs Linux 5.6)")?;
    if offsets.is_empty() {
        return Ok(());
    }
    std::fs::write("/proc/self/timens_offsets", offsets).at(Stage::Namespace, || {
        format!(
            "cannot set the clocks' offsets ({}); it needs CAP_SYS_TIME",
            offsets.trim().replace('\n', ", ")
        )
    })
}

/// Whether the caller is in the machine's first user namespace, where root's devices and mounts are.
pub(crate) fn in_first_user_namespace() -> bool {
    nix::sys::stat::stat("/proc/self/ns/user").is_ok_and(|stat| stat.st_ino == FIRST_USER_NAMESPACE)
}

/// Becomes id 0 of the user namespace just entered: until then every id is the overflow id, and files made by this
/// process would have no owner.
pub(crate) fn become_root() -> Result<(), Error> {
    let what = || "cannot become id 0 of the user namespace; map the container's id 0";
    // SAFETY: integers only. The raw calls change this process, which has one thread.
    Errno::result(unsafe { libc::setresgid(0, 0, 0) }).at(Stage::Namespace, what)?;
    // SAFETY: as above.
    Errno::result(unsafe { libc::setresuid(0, 0, 0) }).at(Stage::Namespace, what)?;
    Ok(())
}

/// Nobody may look into this process (/proc/PID/fd, root, exe, ptrace) from now on: it still holds things of the host,
/// and an enemy may share its PID namespace (CVE-2016-9962).
pub(crate) fn hide() -> Result<(), Error> {
    prctl(libc::PR_SET_DUMPABLE, 0, 0).at(Stage::Privilege, || "cannot become undumpable")?;
    Ok(())
}
