//! What every test needs: a root file system, a Launch, and the monitor that carries it out.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use crate::peer::*;

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that is removed, and in it a container's whole world.
pub struct World {
    pub directory: tempfile::TempDir,
    pub launch: Value,
    pub cgroup: String,
    /// Who starts the monitor; root if absent.
    pub uid: Option<u32>,
    /// The file that is started.
    pub executable: PathBuf,
    /// What a spare is told before its Launch; not a spare if absent.
    pub spare: Option<Value>,
}

fn capabilities() -> Value {
    let names: Vec<String> = "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
        .split(' ')
        .map(|name| format!("CAP_{name}"))
        .collect();
    json!({"bounding": names, "effective": names, "permitted": names})
}

/// A process that runs a shell script.
pub fn shell(script: &str) -> Value {
    json!({
        "args": ["/bin/sh", "-c", script],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": capabilities(),
    })
}

impl World {
    /// A container whose program is a shell script.
    pub fn new(script: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::Builder::new().prefix("kapsel-test-").tempdir().unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("/kapsel-test/runtime-{}-{number}", std::process::id());
        let path = |name: &str| directory.path().join(name);
        for name in ["lower/bin", "lower/etc", "lower/tmp", "container/upper", "container/work", "run"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        let _no_fork = FORK.read().unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(busybox.expect("the Debian package busybox-static"), path("lower/bin/busybox")).unwrap();
        for name in "sh cat echo readlink ls sleep stty seq dd yes head kill id true false mkdir rm wc ps trap test chmod printf".split(' ') {
            symlink("busybox", path("lower/bin").join(name)).unwrap();
        }
        fs::write(path("lower/etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        fs::write(path("lower/etc/group"), "root:x:0:\n").unwrap();
        let launch = json!({
            "id": format!("{number:064}"),
            "config": {
                "ociVersion": "1.3.0",
                "process": shell(script),
                "root": {"path": "", "readonly": false},
                "hostname": "box",
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
            },
            "overlay": {"lowers": [path("lower")], "upper": path("container/upper"), "work": path("container/work")},
            "user": "",
            "seccomp": "default",
            "runDirectory": path("run"),
            "log": {"path": path("container/log"), "maxSize": 0, "maxFiles": 1},
        });
        Self { directory, launch, cgroup, uid: None, executable: executable(), spare: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Changes a field: `set("/config/process/terminal", true)`.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let Some((parent, name)) = pointer.rsplit_once('/') else {
            self.launch = value.into();
            return self;
        };
        self.launch.pointer_mut(parent).unwrap()[name] = value.into();
        self
    }

    /// Puts the shared libraries of this process into the root: those of the executable under test, which `cargo test`
    /// does not link statically.
    pub fn with_libraries(self) -> Self {
        let _no_fork = FORK.read().unwrap();
        for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
            let Some(path) = line.find('/').map(|start| Path::new(&line[start..])) else { continue };
            if !path.to_str().unwrap().contains(".so") {
                continue;
            }
            // The executable needs one more than this process may: libm.
            for path in [path, &path.with_file_name("libm.so.6")] {
                let into = self.path("lower").join(path.strip_prefix("/").unwrap());
                fs::create_dir_all(into.parent().unwrap()).unwrap();
                if path.exists() {
                    fs::copy(path, into).unwrap();
                }
            }
        }
        for link in ["lib", "lib64"] {
            if fs::symlink_metadata(Path::new("/").join(link)).is_ok_and(|it| it.is_symlink()) {
                let _ = symlink(format!("usr/{link}"), self.path("lower").join(link));
            }
        }
        for (directory, name) in [("lib64", "ld-linux-x86-64.so.2"), ("lib", "ld-linux-aarch64.so.1")] {
            let path = Path::new("/").join(directory).join(name);
            if let Ok(real) = fs::canonicalize(&path) {
                let into = self.path("lower/usr").join(directory);
                fs::create_dir_all(&into).unwrap();
                let _ = fs::copy(real, into.join(name));
            }
        }
        self
    }

    pub fn terminal(self) -> Self {
        self.set("/config/process/terminal", true)
    }

    /// Starts the monitor; the client has sent `requests` before.
    pub fn start_with(self, requests: impl FnOnce(&mut Client)) -> Container {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut client = Client::new(ours);
        requests(&mut client);
        let lock = File::create(self.path("run/lock")).unwrap();
        // SAFETY: no pointer is passed.
        assert_eq!(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }, 0);
        // Null: who has gone before it was said.
        let documents = self.spare.iter().chain([&self.launch]).filter(|document| !document.is_null());
        let document =
            memfd(documents.map(|document| format!("{document}\n")).collect::<String>().as_bytes());
        if let Some(uid) = self.uid {
            for name in [
                "",
                "lower",
                "lower/tmp",
                "container",
                "container/upper",
                "container/work",
                "run",
                "run/lock",
            ] {
                std::os::unix::fs::chown(self.path(name), Some(uid), Some(uid)).unwrap();
            }
        }
        let mut command = Command::new(&self.executable);
        command
            .arg("monitor")
            .args(self.spare.as_ref().map(|_| "spare"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        let child = spawn(&mut command, &[document.as_raw_fd(), lock.as_raw_fd(), theirs.as_raw_fd()]);
        Container { world: self, monitor: child, client }
    }

    /// Starts the monitor with the three streams attached.
    pub fn start(self) -> (Container, Streams) {
        let mut streams = None;
        let container = self.start_with(|client| streams = Some(client.attach()));
        (container, streams.unwrap())
    }

    /// Runs the container to its end: its last event, stdout and stderr.
    pub fn run(self) -> (Container, Value, String, String) {
        let (mut container, streams) = self.start();
        drop(streams.stdin);
        let event = container.client.end();
        let (stdout, stderr) = (streams.stdout.join().unwrap(), streams.stderr.join().unwrap());
        container.wait();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (container, event, text(&stdout), text(&stderr))
    }
}

/// The program under test: `KAPSEL_RUNTIME`, such as a release build, or the one just built.
pub fn executable() -> PathBuf {
    std::env::var_os("KAPSEL_RUNTIME").unwrap_or(env!("CARGO_BIN_EXE_kapsel-runtime").into()).into()
}

/// A started container.
pub struct Container {
    pub world: World,
    pub monitor: Child,
    pub client: Client,
}

impl Container {
    /// Another client, through the control socket.
    pub fn connect(&self) -> Client {
        let (path, uid) = (self.world.path("run/control"), self.world.uid);
        let connect = move || {
            if let Some(uid) = uid {
                // SAFETY: no pointer is passed. The system call, unlike libc's function, changes this thread only.
                assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }, 0);
            }
            UnixStream::connect(path).unwrap()
        };
        Client::new(std::thread::spawn(connect).join().unwrap())
    }

    /// Waits for the monitor's own end.
    pub fn wait(&mut self) {
        let status = until("the monitor's end", || self.monitor.try_wait().unwrap());
        assert!(status.success(), "{status}: {}", self.stderr());
    }

    pub fn stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.monitor.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }

    /// `exit.json`.
    pub fn record(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.world.path("run/exit.json")).unwrap()).unwrap()
    }

    /// What the log has, stream by stream.
    pub fn log(&self) -> (String, String) {
        // There is none before the monitor has made it.
        let text = fs::read_to_string(self.world.path("container/log")).unwrap_or_default();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        for line in text.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let into = if record["stream"] == "stdout" { &mut stdout } else { &mut stderr };
            into.push_str(record["log"].as_str().unwrap());
        }
        (stdout, stderr)
    }

    /// Where the container's cgroup still is.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        cgroups(&self.world.cgroup)
    }

    /// Ends it, whatever it is doing.
    pub fn kill(mut self) {
        self.client.send(&json!({"request": "signal", "signal": 9}), &[]);
        self.client.end();
        self.wait();
    }

    /// Runs `reap` for it, with the trees to remove.
    pub fn reap(&self, remove: &[PathBuf]) {
        reap(&json!({"cgroupsPath": self.world.cgroup, "remove": remove}));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Only after a failed assertion is there still something to end.
        if self.monitor.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.monitor.kill();
            let _ = self.monitor.wait();
        }
        if !self.cgroups().is_empty() {
            self.reap(&[]);
        }
    }
}

pub fn reap(document: &Value) {
    let document = memfd(document.to_string().as_bytes());
    let mut command = Command::new(executable());
    command.arg("reap").stderr(Stdio::inherit());
    assert!(spawn(&mut command, &[document.as_raw_fd()]).wait().unwrap().success());
}

/// Directories of a cgroup in every hierarchy.
pub fn cgroups(path: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points =
        mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    points.map(|point| PathBuf::from(format!("{point}{path}"))).filter(|path| path.exists()).collect()
}

/// Tries until there is something.
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

/// Whether a process exists (a zombie counts).
pub fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
