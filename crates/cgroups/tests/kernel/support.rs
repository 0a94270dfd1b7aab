//! A cgroup of a test's own, and children in it.

use std::{
    ffi::CString,
    os::fd::AsRawFd,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use kapsel_cgroups::{Cgroup, Entry, LinuxResources, mounts};

/// A parent that belongs to one test alone.
pub fn parent() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("/kapsel-test/{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A cgroup that a failing test leaves neither behind nor populated.
pub struct Own(Option<Cgroup>);

impl Own {
    pub fn remove(mut self) -> Result<(), kapsel_cgroups::Error> {
        self.0.take().expect("not yet removed").remove()
    }
}

impl std::ops::Deref for Own {
    type Target = Cgroup;

    fn deref(&self) -> &Cgroup {
        self.0.as_ref().expect("not yet removed")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(cgroup) = self.0.take() {
            let _ = cgroup.kill_all().and_then(|()| cgroup.remove());
        }
    }
}

pub fn create(resources: &LinuxResources) -> Own {
    let made = Cgroup::create(&format!("{}/a", parent()), resources);
    Own(Some(made.expect("a cgroup can be made (the tests run as root)")))
}

pub fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).expect("resources")
}

/// Whether one of the v1 hierarchies has a controller.
pub fn has(controller: &str) -> bool {
    mounts().expect("cgroups").1.iter().any(|mount| mount.controllers.iter().any(|name| name == controller))
}

/// The cgroup's directory in the hierarchy of that name, or with that v1 controller.
pub fn directory(cgroup: &Cgroup, name: &str) -> PathBuf {
    let mounts = mounts().expect("cgroups").1;
    let mount =
        mounts.iter().find(|mount| mount.name == name || mount.controllers.iter().any(|found| found == name));
    let hierarchy = &mount.expect("a hierarchy of that name").name;
    cgroup.directories().find(|(found, _)| found == hierarchy).expect("the cgroup in it").1.to_owned()
}

pub fn read(cgroup: &Cgroup, name: &str, file: &str) -> String {
    std::fs::read_to_string(directory(cgroup, name).join(file)).expect(file).trim().to_owned()
}

/// Whether any hierarchy has a cgroup of that path.
pub fn exists(path: &str) -> bool {
    mounts().expect("cgroups").1.iter().any(|mount| mount.path.join(&path[1..]).exists())
}

/// A shell in the cgroup; a process that must be waited for.
pub struct Shell(pub i32);

impl Shell {
    /// `into_unified`: whether it enters the v2 cgroup too, as containers do.
    pub fn start(cgroup: &Cgroup, script: &str, into_unified: bool) -> Self {
        Self::enter(&cgroup.entry().expect("an entry"), script, into_unified)
            .expect("a process in the cgroup")
    }

    pub fn enter(entry: &Entry, script: &str, into_unified: bool) -> std::io::Result<Self> {
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        let words = ["/bin/sh", "-c", script].map(|word| CString::new(word).expect("no NUL"));
        let arguments = [words[0].as_ptr(), words[1].as_ptr(), words[2].as_ptr(), std::ptr::null()];
        // SAFETY: all of clone_args is integers.
        let mut clone: libc::clone_args = unsafe { std::mem::zeroed() };
        clone.exit_signal = libc::SIGCHLD as u64;
        if let Some(fd) = entry.unified_fd().filter(|_| into_unified) {
            clone.flags = CLONE_INTO_CGROUP;
            clone.cgroup = fd.as_raw_fd() as u64;
        }
        // SAFETY: like fork: no memory is shared, and the child calls nothing but async-signal-safe functions.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut clone, size_of::<libc::clone_args>()) };
        if pid == 0 {
            let joined = entry.join().is_ok();
            // SAFETY: the arguments were made before the clone and end in a null pointer.
            unsafe {
                if joined {
                    libc::execv(arguments[0], arguments.as_ptr());
                }
                libc::_exit(99);
            }
        }
        if pid > 0 { Ok(Self(pid as i32)) } else { Err(std::io::Error::last_os_error()) }
    }

    /// Whether it has become that program.
    pub fn is(&self, program: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{}/comm", self.0)).is_ok_and(|name| name.trim() == program)
    }

    /// The wait status, once it has ended.
    pub fn wait(self) -> i32 {
        let mut status = 0;
        // SAFETY: the status is a live integer, the process a child of ours.
        eventually("it ends", || unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) } == self.0);
        status
    }
}

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within thirty seconds");
        std::thread::sleep(Duration::from_millis(2));
    }
}
