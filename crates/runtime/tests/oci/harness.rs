//! What every test needs: a bundle, a runtime root and a cgroup of its own, and that nothing of them is left.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::processes_with;

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The variable that every process of a test has in its environment, the runtime and the container's alike.
const MARK: &str = "KAPSEL_TEST_WORLD";

const PROGRAMS: &str = "sh cat chmod cp dd echo env grep head id kill ls mkdir mv printf ps pwd readlink rm seq sleep \
     sort stty test touch tr trap true false tty wc yes";

/// A directory that is removed, and in it a bundle and the runtime's root.
pub struct World {
    pub directory: tempfile::TempDir,
    pub config: Value,
    /// The container's cgroup.
    pub cgroup: String,
    mark: String,
    _template: Arc<Template>,
}

impl World {
    /// A container whose program is a shell script.
    pub fn new(script: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{MARK}={}-{number}", std::process::id());
        let cgroup = format!("/kapsel-test-oci-{}-{number}", std::process::id());
        let template = Template::get();
        let directory = tempfile::Builder::new().prefix("kapsel-oci-").tempdir().unwrap();
        let rootfs = directory.path().join("bundle/rootfs");
        for name in ["bin", "etc", "tmp", "proc", "dev", "sys"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        fs::hard_link(template.0.path().join("busybox"), rootfs.join("bin/busybox")).unwrap();
        for name in PROGRAMS.split_whitespace() {
            symlink("busybox", rootfs.join("bin").join(name)).unwrap();
        }
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        let names = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
        let config = json!({
            "ociVersion": "1.3.0",
            "process": {
                "args": ["/bin/sh", "-c", script],
                "env": ["PATH=/bin", "TERM=xterm", mark],
                "cwd": "/",
                "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": names, "effective": names, "permitted": names},
                "noNewPrivileges": true,
            },
            "root": {"path": "rootfs"},
            "hostname": "box",
            "annotations": {"org.example.word": "yes"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            ],
            "linux": {
                "cgroupsPath": cgroup,
                "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}],
                "maskedPaths": ["/proc/kcore"],
                "readonlyPaths": ["/proc/sys"],
            },
        });
        Self { directory, config, cgroup, mark, _template: template }
    }

    /// One whose program only waits.
    pub fn sleeper() -> Self {
        // A first process without a handler is spared by every signal from inside, and by those it could handle.
        Self::new("trap 'exit 9' TERM; while :; do sleep 1000 & wait $!; done")
    }

    /// Changes a field: `set("/process/terminal", true)`.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        self.config.pointer_mut(parent).unwrap()[name] = value.into();
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A path in the test's directory, as an argument.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A file of the container's.
    pub fn inside(&self, name: &str) -> PathBuf {
        self.path("bundle/rootfs").join(name)
    }

    /// The runtime with its root and these arguments; it runs in the bundle, whose document is written.
    pub fn command(&self, arguments: &[&str]) -> Command {
        // In one piece: a command that was begun before may be reading it.
        fs::write(self.path("config.new"), self.config.to_string()).unwrap();
        fs::rename(self.path("config.new"), self.path("bundle/config.json")).unwrap();
        let (name, value) = self.mark.split_once('=').unwrap();
        let mut command = Command::new(executable());
        command.current_dir(self.path("bundle")).env_clear().env("PATH", "/usr/bin:/bin").env(name, value);
        command.arg("--root").arg(self.path("root")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A process that has nothing to do with the container, but ends with the test.
    pub fn other(&self) -> Child {
        let (name, value) = self.mark.split_once('=').unwrap();
        Command::new("sleep").arg("100000").env(name, value).spawn().unwrap()
    }

    /// Runs it to its end, with pipes that a container may go on using: they are not waited for.
    pub fn call(&self, arguments: &[&str]) -> Said {
        Said::by(&mut self.command(arguments))
    }

    /// Runs what must succeed, and gives what it prints.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let said = self.call(arguments);
        assert_eq!((said.status, &*said.stderr), (0, ""), "{arguments:?}: {}", said.stdout);
        said.stdout
    }

    /// Runs what must fail with this status, and gives its complaint, which is one line.
    #[track_caller]
    pub fn fails(&self, status: i32, arguments: &[&str]) -> String {
        let said = self.call(arguments);
        assert_eq!(said.status, status, "{arguments:?}: {} {}", said.stdout, said.stderr);
        assert_eq!(said.stderr.lines().count(), 1, "{arguments:?}: {}", said.stderr);
        said.stderr
    }

    /// A container in the background, whose program runs.
    pub fn started(self) -> Self {
        self.ok(&["run", "--detach", "c"]);
        self
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.ok(&["state", "c"])).unwrap()
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().unwrap() as i32
    }

    /// Ends the container's program and waits until it has.
    pub fn stop(&self) {
        self.ok(&["kill", "c", "KILL"]);
        until("the container's end", || (self.status() == "stopped").then_some(()));
    }

    /// Every living process that has to do with this test: those whose environment says so.
    pub fn processes(&self) -> Vec<i32> {
        processes_with(&self.mark)
    }

    /// What there is of the container outside its bundle: processes, cgroups, mounts, and the runtime's files.
    pub fn remains(&self) -> Vec<String> {
        let mut remains: Vec<String> = self.processes().iter().map(|pid| format!("process {pid}")).collect();
        remains.extend(cgroups(&self.cgroup).iter().map(|path| path.display().to_string()));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.directory.path().to_str().unwrap();
        remains.extend(mounts.lines().filter(|line| line.contains(own)).map(str::to_owned));
        let entries = fs::read_dir(self.path("root")).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_str().unwrap().to_owned());
        remains.extend(names.filter(|name| !name.starts_with('@')));
        remains
    }

    #[track_caller]
    pub fn nothing_remains(&self) {
        // Whoever was killed takes a moment to be gone, and an orphan waits for the machine's first process.
        let begun = Instant::now();
        while !self.remains().is_empty() {
            assert!(begun.elapsed() < PATIENCE, "left behind: {:?}", self.remains());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Only after a failed assertion is there still something to end. By hand: the runtime may be what fails.
        for pid in self.processes() {
            // SAFETY: no pointer is passed.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let begun = Instant::now();
        while cgroups(&self.cgroup).iter().any(|path| !remove_cgroup(path)) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// With those below it. Whether it is gone.
fn remove_cgroup(path: &Path) -> bool {
    for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        if path.join(file).exists() {
            let _ = fs::write(path.join(file), word);
        }
    }
    let below = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_cgroup(&entry.path());
    }
    fs::remove_dir(path).is_ok()
}

/// A copy of busybox, of which every test's root has a link: whoever starts a program while another thread writes that
/// program's file would find it busy.
struct Template(tempfile::TempDir);

impl Template {
    fn get() -> Arc<Self> {
        static TEMPLATE: Mutex<Weak<Template>> = Mutex::new(Weak::new());
        let mut template = TEMPLATE.lock().unwrap();
        template.upgrade().unwrap_or_else(|| {
            let directory = tempfile::Builder::new().prefix("kapsel-oci-").tempdir().unwrap();
            let busybox =
                ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
            fs::copy(busybox.expect("the Debian package busybox-static"), directory.path().join("busybox"))
                .unwrap();
            let made = Arc::new(Self(directory));
            *template = Arc::downgrade(&made);
            made
        })
    }
}

/// What a command printed, and its exit status; 128 and the signal's number where a signal ended it.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Runs a command to its own end. A container that it leaves may keep the streams: so they are files.
    #[track_caller]
    pub fn by(command: &mut Command) -> Self {
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
        let status = command.status().unwrap();
        let text = |mut file: fs::File| {
            let mut text = String::new();
            std::io::Seek::rewind(&mut file).unwrap();
            std::io::Read::read_to_string(&mut file, &mut text).unwrap();
            text
        };
        Self { status: code(status), stdout: text(stdout), stderr: text(stderr) }
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { status: code(output.status), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
}

/// The program under test: `KAPSEL_RUNTIME`, such as a release build, or the one just built.
pub fn executable() -> PathBuf {
    std::env::var_os("KAPSEL_RUNTIME").unwrap_or(env!("CARGO_BIN_EXE_kapsel-runtime").into()).into()
}

/// Makes a cgroup in every hierarchy, with a process in it.
pub fn make_cgroups(path: &str, pid: u32) -> Vec<PathBuf> {
    let directories: Vec<_> =
        hierarchies().iter().map(|point| PathBuf::from(format!("{point}{path}"))).collect();
    for directory in &directories {
        fs::create_dir(directory).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = fs::read(directory.join("..").join(file)) {
                fs::write(directory.join(file), all).unwrap();
            }
        }
        fs::write(directory.join("cgroup.procs"), pid.to_string()).unwrap();
    }
    directories
}

/// Where the cgroup hierarchies are mounted.
fn hierarchies() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let cgroups = mounts.lines().filter(|line| line.contains(" - cgroup"));
    cgroups.filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}

/// Directories of a cgroup in every hierarchy.
pub fn cgroups(path: &str) -> Vec<PathBuf> {
    let paths = hierarchies().into_iter().map(|point| PathBuf::from(format!("{point}{path}")));
    paths.filter(|path| path.exists()).collect()
}

/// What a file of the container's cgroup has, in the hierarchy that has such a file.
pub fn file(world: &World, name: &str) -> Option<String> {
    let file = cgroups(&world.cgroup).iter().map(|path| path.join(name)).find(|file| file.is_file())?;
    Some(fs::read_to_string(file).unwrap().trim().to_owned())
}

/// The same by its name in version 1 or in version 2.
pub fn setting(world: &World, v1: &str, v2: &str) -> String {
    file(world, v1).or_else(|| file(world, v2)).expect("the file")
}

/// Tries until there is something.
#[track_caller]
pub fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
