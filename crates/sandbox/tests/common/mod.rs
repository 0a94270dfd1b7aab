//! A root file system made from busybox, documents made from Docker's defaults, and the example that runs them: a caller
//! of `launch` must have one thread, so a test starts it as a process of its own.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Docker's default capabilities.
pub const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Every namespace but the user's.
pub const NAMESPACES: [&str; 6] = ["mount", "pid", "uts", "ipc", "network", "cgroup"];

/// The example, linked statically as the product is: an init has no libraries in the container.
pub fn executable() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).unwrap();
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args([
            "rustc",
            "--quiet",
            "--offline",
            "-p",
            "kapsel-sandbox",
            "--example",
            "sandbox",
            "--target-dir",
        ]);
        cargo.arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let built = cargo.args(["--", "-C", "target-feature=+crt-static"]).status().unwrap();
        assert!(built.success(), "the example does not build");
        profile.join("examples/sandbox")
    })
}

/// A test's own image and container directories.
pub struct Sandbox {
    pub directory: TempDir,
    pub document: Value,
    /// The monitor; [`executable`] itself, or a copy that may be attacked.
    pub program: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Sandbox {
    /// `sh -c script` in a container with Docker's defaults.
    pub fn new(script: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root");
        let directory = tempfile::Builder::new().prefix("kapsel-test-").tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        image(&directory.path().join("image"));
        for name in ["upper", "work"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let at = |name: &str| directory.path().join(name);
        let document = json!({
            "config": config(script),
            "rootfs": {"lowers": [at("image")], "upper": at("upper"), "work": at("work")},
        });
        Self { directory, document, program: executable().to_owned() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Changes the document.
    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.document);
        self
    }

    /// Runs a copy of the monitor, for attacks on its file.
    pub fn on_copy(mut self) -> Self {
        self.program = self.path("monitor");
        fs::copy(executable(), &self.program).unwrap();
        self
    }

    /// Changes `config`.
    pub fn config(self, change: impl FnOnce(&mut Value)) -> Self {
        self.with(|document| change(&mut document["config"]))
    }

    /// Adds a mount.
    pub fn mount(self, kind: &str, source: impl AsRef<Path>, destination: &str, options: &[&str]) -> Self {
        let mount =
            json!({"destination": destination, "type": kind, "source": source.as_ref(), "options": options});
        self.config(|config| config["mounts"].as_array_mut().unwrap().push(mount))
    }

    /// Runs the image's directory itself as the root.
    pub fn on_directory(self) -> Self {
        let image = self.path("image");
        self.with(|document| document["rootfs"] = json!(image))
    }

    /// The command that would run it.
    pub fn command(&self) -> Command {
        let file = self.path("document.json");
        fs::write(&file, self.document.to_string()).unwrap();
        let mut command = Command::new("timeout");
        command.args(["-k", "1", "20"]).arg(&self.program).arg(file);
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self) -> Outcome {
        outcome(self.command().output().unwrap())
    }

    /// Runs it where nobody may call pivot_root(2).
    pub fn run_without_pivot(&self) -> Outcome {
        let mut command = self.command();
        forbid_pivot(&mut command);
        outcome(command.output().unwrap())
    }

    /// Runs it, expects success, gives its output without the last line break.
    pub fn output(&self) -> String {
        let outcome = self.run();
        assert_eq!(outcome.status, 0, "{outcome:?}");
        outcome.out.trim_end().to_owned()
    }

    /// Runs it, expects it not to start, gives the error line.
    pub fn refusal(&self) -> String {
        let outcome = self.run();
        assert_eq!(outcome.status, 125, "{outcome:?}");
        assert_eq!(outcome.err.trim_end().lines().count(), 1, "{outcome:?}");
        outcome.err.trim_end().to_owned()
    }
}

/// Nobody may call pivot_root(2), as with an initramfs as the host's root.
pub fn forbid_pivot(command: &mut Command) {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["pivot_root"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EINVAL}]});
    let profile = serde_json::from_value(profile).unwrap();
    let filter = kapsel_seccomp::compile(&profile, kapsel_seccomp::Architecture::NATIVE).unwrap();
    // SAFETY: loading a filter is one system call, and allocates nothing.
    unsafe { command.pre_exec(move || filter.load().map(drop).map_err(std::io::Error::other)) };
}

/// A key in a new session keyring, which is this thread's and its children's. Whoever has that ring sees the name in
/// /proc/keys.
pub fn session_key() -> &'static str {
    const SESSION: i32 = -3;
    // SAFETY: each call gets the integers and C strings that keyctl(2) and add_key(2) want.
    let key = unsafe {
        libc::syscall(libc::SYS_keyctl, 1, std::ptr::null::<libc::c_char>());
        let (kind, name) = (c"user".as_ptr(), c"kapsel-test-key".as_ptr());
        let key = libc::syscall(libc::SYS_add_key, kind, name, c"secret".as_ptr(), 6, SESSION);
        // KEYCTL_SETPERM: only whoever holds the ring sees the key.
        libc::syscall(libc::SYS_keyctl, 5, key, 0x3f00_0000);
        key
    };
    assert!(key > 0);
    "kapsel-test-key"
}

/// Every living process whose environment has this variable: `NAME=value`.
pub fn processes_with(variable: &str) -> Vec<i32> {
    let has_it = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
    };
    let numbers =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter(has_it).collect()
}

pub fn outcome(output: Output) -> Outcome {
    Outcome {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Docker's config.json for `sh -c script`.
pub fn config(script: &str) -> Value {
    let namespaces: Vec<Value> = NAMESPACES.iter().map(|kind| json!({"type": kind})).collect();
    json!({
        "ociVersion": "1.3.0",
        "hostname": "sandbox",
        "process": process(script),
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["ro", "nosuid", "noexec", "nodev"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        ],
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": ["/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
                "/sys/firmware", "/sys/devices/virtual/powercap"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// The `process` of `sh -c script` with Docker's capabilities.
pub fn process(script: &str) -> Value {
    json!({
        "args": ["sh", "-c", script],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "user": {"uid": 0, "gid": 0},
        "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
    })
}

/// /bin of busybox, /etc with a few users.
fn image(root: &Path) {
    for name in ["bin", "etc", "tmp", "root"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("the package busybox-static");
    let applets = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    let passwd =
        "root:x:0:0:root:/root:/bin/sh\nann:x:1000:100:Ann:/home/ann:/bin/sh\nbad:x:-1:0::/:/bin/sh\n";
    fs::write(root.join("etc/passwd"), passwd).unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nusers:x:100:\nvideo:x:44:ann\n").unwrap();
}

/// The number of a line that the document's output must have: `name: value`.
pub fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line =
        text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line[name.len()..].trim_start_matches(':').trim()
}
