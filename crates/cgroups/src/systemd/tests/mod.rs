//! The driver against a double of systemd on a real bus, against systemd itself where it runs, and against answers that
//! make no sense.

mod booted;
mod double;
mod malformed;

use std::{os::fd::AsRawFd, path::Path, process::Command, thread};

use super::{Scope, bus::Bus, message::Message, value::Value};
use crate::{Cgroup, Driver, Entry, Error, Layout, LinuxResources};
use double::{Daemon, Systemd, properties};

/// Set for the copy of this program that finds the double in its environment.
const INSIDE: &str = "KAPSEL_TEST_BESIDE_DOUBLE";

const LIMITS: &str = r#"{"memory": {"limit": 67108864}, "pids": {"limit": 20},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"},
    "devices": [{"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]}"#;

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

/// A child that enters a cgroup as a container's process does, and sleeps. It ends when dropped.
struct Sleeper(i32);

impl Sleeper {
    fn start(entry: &Entry) -> Result<Self, Error> {
        // SAFETY: all of clone_args is integers.
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        arguments.exit_signal = libc::SIGCHLD as u64;
        if let Some(fd) = entry.unified_fd() {
            const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
            arguments.flags = CLONE_INTO_CGROUP;
            arguments.cgroup = fd.as_raw_fd() as u64;
        }
        let size = size_of::<libc::clone_args>();
        let (inside, tell) = nix::unistd::pipe().unwrap();
        // SAFETY: like fork: no memory is shared, and the child calls nothing but async-signal-safe functions.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size) } as i32;
        if pid == 0 {
            let joined = entry.join().is_ok();
            // SAFETY: the byte is a static; none of the others touches memory.
            unsafe {
                if joined && libc::write(tell.as_raw_fd(), c"1".as_ptr().cast(), 1) == 1 {
                    loop {
                        libc::pause();
                    }
                }
                libc::_exit(99);
            }
        }
        assert!(pid > 0, "{}", std::io::Error::last_os_error());
        let sleeper = Self(pid);
        drop(tell);
        entry.admit(pid)?;
        assert_eq!(nix::unistd::read(&inside, &mut [0]), Ok(1), "it is not in its cgroup");
        Ok(sleeper)
    }

    /// Where it is, hierarchy by hierarchy.
    fn cgroups(&self) -> Vec<String> {
        let text = std::fs::read_to_string(format!("/proc/{}/cgroup", self.0)).unwrap();
        text.lines().map(|line| line.splitn(3, ':').last().unwrap().to_owned()).collect()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // SAFETY: a child that nobody else waits for; a null status is allowed.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// A container's whole life in a scope. `reload` makes systemd write all that it knows once more.
fn live(path: &str, reload: &dyn Fn()) {
    let asked = resources(LIMITS);
    let cgroup = Driver::Systemd.create(path, &asked).unwrap();
    let first = Sleeper::start(&cgroup.entry().unwrap()).unwrap();
    // Gone even if something fails.
    let end = Removal(path);
    assert!(first.cgroups().iter().all(|place| place == cgroup.path()), "{:?}", first.cgroups());

    let again = Driver::Systemd.open(path).unwrap();
    assert_eq!(again.path(), cgroup.path());
    let opened = Driver::Systemd.open(cgroup.path()).unwrap();
    assert_eq!(opened.processes().unwrap(), [first.0]);
    let stats = opened.stats().unwrap();
    assert_eq!((stats.memory.unwrap().limit, stats.pids.unwrap().limit), (Some(67_108_864), Some(20)));
    opened.apply(&resources(r#"{"pids": {"limit": 9}}"#)).unwrap();
    reload();
    let stats = opened.stats().unwrap();
    assert_eq!((stats.memory.unwrap().limit, stats.pids.unwrap().limit), (Some(67_108_864), Some(9)));
    if let Some((_, path)) = opened.directories().find(|(name, _)| *name == "devices") {
        let allowed = std::fs::read_to_string(path.join("devices.list")).unwrap();
        assert!(allowed.contains("c 1:3 rw") && !allowed.contains('a'), "{allowed}");
    }

    let second = Sleeper::start(&opened.entry_beside(first.0).unwrap()).unwrap();
    assert_eq!(second.cgroups(), first.cgroups());
    let nested: Vec<_> = opened.directories().map(|(_, path)| path.join("nested")).collect();
    nested.iter().for_each(|path| std::fs::create_dir(path).unwrap());
    // A new cpuset of v1 is empty.
    for (path, file) in nested.iter().flat_map(|path| [(path, "cpuset.cpus"), (path, "cpuset.mems")]) {
        if path.join(file).exists() {
            std::fs::copy(path.join("..").join(file), path.join(file)).unwrap();
        }
    }
    let third = Sleeper::start(&opened.nested_entry(&["/nested"]).unwrap()).unwrap();
    let expected = format!("{}/nested", cgroup.path());
    assert!(third.cgroups().iter().all(|place| *place == expected), "{:?}", third.cgroups());
    assert_eq!(opened.processes().unwrap().len(), 3);

    let taken =
        Sleeper::start(&Driver::Systemd.create(path, &asked).unwrap().entry().unwrap()).err().unwrap();
    assert_eq!(taken.code(), "CGROUP_SYSTEMD_FAILED", "{taken}");
    assert_eq!(opened.processes().unwrap().len(), 3, "the refusal has harmed the living one");

    opened.freeze().unwrap();
    assert!(opened.is_frozen().unwrap());
    opened.kill_all().unwrap();
    drop((first, second, third));
    opened.remove().unwrap();
    assert_eq!(Cgroup::directories_of(cgroup.path()).unwrap().len(), 0);
    cgroup.remove().expect("gone already is no error");
    drop(end);
}

/// Removes the scope of that path, if a test has failed, and its slices: of hierarchies that systemd does not know the
/// topmost stays.
struct Removal<'a>(&'a str);

impl Drop for Removal<'_> {
    fn drop(&mut self) {
        let Ok(cgroup) = Driver::Systemd.open(self.0) else { return };
        let slices: Vec<_> = Path::new(&cgroup.path()[1..]).ancestors().skip(1).map(Path::to_owned).collect();
        let _ = cgroup.kill_all().and_then(|()| cgroup.remove());
        for mount in crate::mounts().unwrap().1 {
            slices
                .iter()
                .filter(|slice| slice.parent().is_some())
                .for_each(|slice| drop(std::fs::remove_dir(mount.path.join(slice))));
        }
    }
}

/// Where systemd is the first process: on the machine, or in the container of the next test.
#[test]
fn a_container_lives_in_a_scope_where_systemd_has_booted() {
    if Path::new("/run/systemd/system").is_dir() {
        live(&format!("kapseltest{}.slice:kapsel:a", std::process::id()), &|| {
            let reloaded = Command::new("systemctl").arg("daemon-reload").status().unwrap();
            assert!(reloaded.success());
        });
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "it is told that nothing was tested")]
fn a_container_lives_in_a_scope_of_a_systemd_in_a_container() {
    match booted::run("systemd::tests::a_container_lives_in_a_scope_where_systemd_has_booted") {
        None => eprintln!("skipped: there is no systemd here"),
        Some(result) => result.unwrap_or_else(|told| panic!("{told}")),
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "it is told that nothing was tested")]
fn a_container_lives_in_a_scope_of_a_double_on_a_real_bus() {
    let Some(daemon) = Daemon::start() else { return eprintln!("skipped: there is no dbus-daemon here") };
    let systemd = Systemd::start(&daemon.address);
    let inside = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "systemd::tests::inside", "--nocapture"])
        .env(INSIDE, "1")
        .env("DBUS_SYSTEM_BUS_ADDRESS", &daemon.address)
        .env("DBUS_SESSION_BUS_ADDRESS", &daemon.address)
        .output()
        .unwrap();
    let exit = Message::call("org.freedesktop.systemd1", "/", "org.freedesktop.systemd1.Manager", "Exit");
    Bus::connect(&daemon.address).unwrap().call(exit).unwrap();
    let seen = systemd.join().unwrap();
    assert!(inside.status.success(), "{}", String::from_utf8_lossy(&inside.stderr));

    let (_, start) = seen.iter().find(|(member, _)| member == "StartTransientUnit").unwrap();
    assert!(start[0].as_str().unwrap().starts_with("kapsel-"), "{start:?}");
    let asked = properties(&start[2]);
    assert!(asked["Slice"].as_str().unwrap().starts_with("kapseltest"), "{asked:?}");
    assert_eq!(
        (&asked["Delegate"], &asked["DefaultDependencies"]),
        (&Value::Boolean(true), &Value::Boolean(false))
    );
    assert_eq!((&asked["TasksMax"], &asked["CPUQuotaPerSecUSec"]), (&Value::U64(20), &Value::U64(500_000)));
    for accounting in ["CPUAccounting", "MemoryAccounting", "TasksAccounting"] {
        assert_eq!(asked[accounting], Value::Boolean(true));
    }
    assert_eq!(asked["DevicePolicy"], Value::string("strict"));
    let (_, set) = seen.iter().find(|(member, _)| member == "SetUnitProperties").unwrap();
    assert_eq!(set[1], Value::Boolean(true), "limits are to go with the unit");
    assert_eq!(properties(&set[2])["TasksMax"], Value::U64(9));
    let count = |name: &str| seen.iter().filter(|(member, _)| member == name).count();
    // The second start is tried again after a failed unit might have made room.
    assert_eq!((count("StartTransientUnit"), count("StopUnit")), (3, 3));
}

/// The copy of this program with the double in its environment.
#[test]
fn inside() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    live(&format!("kapseltest{0}-a.slice:kapsel:{0}", std::process::id()), &|| {});
    let scope = thread::spawn(|| {
        // SAFETY: a raw system call changes the credentials of this thread alone.
        unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        let refused = Driver::Systemd.create(":kapsel:b", &LinuxResources::default()).err();
        assert_eq!(refused.is_none(), crate::mounts().unwrap().0 == Layout::Unified, "{refused:?}");
        Scope::locate(":kapsel:b")
    });
    let expected = "/user.slice/user-65534.slice/user@65534.service/user.slice/kapsel-b.scope";
    assert_eq!(scope.join().unwrap().unwrap().path(), expected);
    assert_eq!(Scope::locate(":kapsel:b").unwrap().path(), "/system.slice/kapsel-b.scope");
}

#[test]
fn a_scope_is_known_by_the_path_of_its_cgroup() {
    assert_eq!(Scope::locate("/a.slice/kapsel-b.scope").unwrap().path(), "/a.slice/kapsel-b.scope");
    for wrong in ["/a.slice/b", "a:b", "/"] {
        assert_eq!(Scope::locate(wrong).unwrap_err().code(), "CGROUP_PATH_INVALID", "{wrong}");
    }
}

#[test]
fn a_version_is_the_number_at_the_beginning() {
    assert_eq!(["252.39-1~deb12u1", "v245", "245", "x"].map(super::version), [252, 245, 245, 0]);
}
