//! Bad bundles: one line that says why not, exit status 1, and no container, cgroup, mount or process left.

#[path = "../../../seccomp/tests/property/chance.rs"]
mod chance;
#[path = "../../../sandbox/tests/common/mod.rs"]
mod common;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use chance::{cases, change, mutate};
use common::{Sandbox, processes_with};
use serde_json::{Value, json};

const MARK: &str = "KAPSEL_TEST_BUNDLE";
/// How long what was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// A bundle, and where its container would leave things.
struct Bundle {
    sandbox: Sandbox,
    id: String,
}

/// What came of it.
struct Outcome {
    status: i32,
    /// The last line of the log.
    error: Option<Value>,
}

impl Bundle {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let sandbox = Sandbox::new("true");
        fs::create_dir(sandbox.path("bundle")).unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { sandbox, id: format!("kapsel-config-{}-{number}", std::process::id()) }
    }

    /// Docker's document with some more, for `true` in a busybox.
    fn document(&self) -> Value {
        let mut config = common::config("true");
        config["root"] = json!({"path": self.sandbox.path("image")});
        config["process"]["env"] = json!(["PATH=/bin", self.mark()]);
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        config["linux"]["resources"] = json!({"pids": {"limit": 100}, "memory": {"limit": 64 << 20},
            "devices": [{"allow": false, "access": "rwm"}]});
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]});
        config
    }

    /// Runs what is written, in namespaces of the test's own where it shares some with its caller.
    fn run(&self, text: &[u8]) -> Outcome {
        fs::write(self.sandbox.path("bundle/config.json"), text).unwrap();
        let mut command = self.command();
        command.args(["run", "--bundle"]).arg(self.sandbox.path("bundle")).arg(&self.id);
        let outcome = self.outcome(&command.output().unwrap());
        self.expect_nothing_left();
        outcome
    }

    /// The variable that the runtime has in its environment, and the container's program unless the document loses it.
    fn mark(&self) -> String {
        format!("{MARK}={}", self.id)
    }

    fn command(&self) -> Command {
        let runtime =
            std::env::var_os("KAPSEL_RUNTIME").unwrap_or(env!("CARGO_BIN_EXE_kapsel-runtime").into());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--uts", "--ipc", "timeout", "-k", "1", "20"]).arg(runtime);
        command.arg("--root").arg(self.sandbox.path("state"));
        command.arg("--log").arg(self.sandbox.path("log")).args(["--log-format", "json"]);
        command.env(MARK, &self.id);
        command
    }

    fn outcome(&self, output: &Output) -> Outcome {
        let log = fs::read_to_string(self.sandbox.path("log")).unwrap_or_default();
        let _ = fs::remove_file(self.sandbox.path("log"));
        let last =
            log.lines().last().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{errors}");
        let error = last.filter(|line| line["level"] == "error");
        if let Some(error) = &error {
            assert_eq!(
                errors.trim_end(),
                error["msg"].as_str().unwrap(),
                "people and programs are told the same"
            );
            assert_eq!((errors.lines().count(), output.stdout.len()), (1, 0), "{errors}");
        }
        Outcome { status: output.status.code().unwrap_or(-1), error }
    }

    fn expect_nothing_left(&self) {
        let state = fs::read_dir(self.sandbox.path("state")).map_or(0, |entries| {
            entries
                .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(&self.id))
                .count()
        });
        assert_eq!(state, 0, "a container is left");
        let cgroups: Vec<PathBuf> = fs::read_dir("/sys/fs/cgroup").map_or(Vec::new(), |hierarchies| {
            let below = hierarchies.map(|hierarchy| hierarchy.unwrap().path().join(&self.id));
            below
                .chain([PathBuf::from("/sys/fs/cgroup").join(&self.id)])
                .filter(|path| path.exists())
                .collect()
        });
        assert_eq!(cgroups, Vec::<PathBuf>::new(), "a cgroup is left");
        // Whoever was killed takes a moment to be gone, and an orphan waits for the machine's first process.
        let (begun, mark) = (Instant::now(), self.mark());
        loop {
            let pids = processes_with(&mark);
            if pids.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "processes are left: {pids:?}");
            sleep(Duration::from_millis(5));
        }
        let directory = self.sandbox.directory.path().to_str().unwrap();
        assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(directory), "a mount is left");
    }
}

/// Puts a value at a JSON pointer.
fn set(pointer: &str, value: Value) -> impl Fn(&mut Value) {
    let (parent, name) = pointer.rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    move |config| config.pointer_mut(&parent).unwrap()[&name] = value.clone()
}

#[test]
fn a_good_bundle_runs() {
    let bundle = Bundle::new();
    let outcome = bundle.run(bundle.document().to_string().as_bytes());
    assert_eq!((outcome.status, outcome.error), (0, None));
}

#[test]
fn a_bad_bundle_is_one_line_and_leaves_nothing() {
    let user = |config: &mut Value| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([
            {"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 10, "hostID": 1009, "size": 10}]);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    };
    let namespace = |path: &str| json!([{"type": "mount"}, {"type": "pid", "path": path}, {"type": "uts"}]);
    let rule = |field: &str, value: Value| {
        let mut rule = json!({"names": ["read"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]});
        *rule.pointer_mut(field).unwrap() = value;
        json!([rule])
    };
    type Change<'a> = Box<dyn Fn(&mut Value) + 'a>;
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(|config| *config = json!("no document")), "cannot be read"),
        (Box::new(set("/ociVersion", json!("2.0.0"))), "not supported"),
        (Box::new(set("/ociVersion", json!(1))), "cannot be read"),
        (Box::new(set("/root", Value::Null)), "root.path"),
        (Box::new(set("/root/path", json!("no/such"))), "no/such"),
        (Box::new(set("/root/path", json!("/etc/passwd"))), "/etc/passwd"),
        (Box::new(set("/annotations", json!({"": "x"}))), "annotations"),
        (Box::new(set("/process", Value::Null)), "process"),
        (Box::new(set("/process/args", json!(["/no/such/program"]))), "/no/such/program"),
        (Box::new(set("/process/user/uid", json!(4_294_967_295_u32))), "4294967295"),
        (Box::new(set("/process/user/additionalGids", json!([4_294_967_295_u32]))), "4294967295"),
        (Box::new(set("/process/cwd", json!("relative"))), "absolute"),
        (Box::new(set("/process/env", json!(["A=\0"]))), "zero byte"),
        (Box::new(set("/linux/cgroupsPath", json!("/kapsel-config/../../x"))), "cgroupsPath"),
        (Box::new(set("/linux/namespaces", namespace("/proc/self/ns/net"))), "a network namespace; a pid"),
        (Box::new(set("/linux/namespaces", json!([{"type": "uts"}]))), "mount namespace"),
        (Box::new(set("/linux/namespaces", json!([{"type": "moon"}]))), "moon"),
        (Box::new(user), "host id 1009"),
        (Box::new(set("/linux/rootfsPropagation", json!("moon"))), "moon"),
        (Box::new(set("/linux/seccomp/defaultAction", json!("SCMP_ACT_MOON"))), "SCMP_ACT_MOON"),
        (Box::new(set("/linux/seccomp/architectures", json!(["SCMP_ARCH_MOON"]))), "SCMP_ARCH_MOON"),
        (
            Box::new(set("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_MOON"]))),
            "SECCOMP_FILTER_FLAG_MOON",
        ),
        (
            Box::new(set("/linux/seccomp/syscalls", rule("/args/0/op", json!("SCMP_CMP_MOON")))),
            "SCMP_CMP_MOON",
        ),
        (Box::new(set("/linux/seccomp/syscalls", rule("/args/0/index", json!(6)))), "arguments 0 to 5"),
        (Box::new(set("/linux/seccomp/syscalls", rule("/action", json!("SCMP_ACT_NOTIFY")))), "listenerPath"),
        (Box::new(set("/linux/seccomp/defaultErrnoRet", json!(1))), "errnoRet"),
        (Box::new(set("/linux/intelRdt", json!({"closID": "moon"}))), "intelRdt"),
        (Box::new(set("/linux/resources/pids/limit", json!("many"))), "cannot be read"),
        (
            Box::new(set("/mounts", json!([{"destination": "/proc/self/fd/../../../x", "type": "moonfs"}]))),
            "moonfs",
        ),
        (Box::new(set("/mounts", json!([{"destination": "/", "type": "tmpfs"}]))), "below /"),
        (
            Box::new(set("/mounts", json!([{"destination": "/x", "type": "bind", "source": "no/such"}]))),
            "no/such",
        ),
        (
            Box::new(set(
                "/mounts",
                json!([{"destination": "/x", "type": "bind", "source": "/tmp", "options": ["moon"]}]),
            )),
            "moon",
        ),
        (Box::new(set("/hooks", json!({"createRuntime": [{"path": "/no/such/hook"}]}))), "/no/such/hook"),
        (Box::new(set("/hooks", json!({"createRuntime": [{"path": "relative"}]}))), "absolute"),
    ];
    let bundle = Bundle::new();
    for (change, words) in cases {
        let mut config = bundle.document();
        change(&mut config);
        let outcome = bundle.run(config.to_string().as_bytes());
        let error = outcome.error.unwrap_or_else(|| panic!("{words}: accepted, status {}", outcome.status));
        assert_eq!(outcome.status, 1, "{error}");
        assert!(error["msg"].as_str().unwrap().contains(words), "{words}: {error}");
    }
}

/// Words that documents are made of, and none that names something of the machine's.
const WORDS: [&str; 24] = [
    "process",
    "args",
    "cwd",
    "user",
    "rlimits",
    "soft",
    "mounts",
    "destination",
    "options",
    "namespaces",
    "type",
    "path",
    "seccomp",
    "syscalls",
    "SCMP_ACT_TRAP",
    "resources",
    "pids",
    "limit",
    "tmpfs",
    "proc",
    "ro",
    "/x",
    "../y",
    "1.0.0",
];

#[test]
fn any_bundle_is_a_container_or_one_line() {
    let bundle = Bundle::new();
    let (mut ran, mut refused) = (0, 0);
    cases(150, usize::MAX, |chance| {
        let mut config = bundle.document();
        let mut text;
        if chance.below(4) == 0 {
            text = config.to_string().into_bytes();
            mutate(chance, &mut text, &WORDS);
        } else {
            change(chance, &mut config, &WORDS);
            if let Some(linux) = config.get_mut("linux").filter(|linux| linux.is_object()) {
                linux["cgroupsPath"] = json!(bundle.id);
            }
            if let Some(process) = config.get_mut("process").filter(|process| process.is_object()) {
                process["terminal"] = json!(false);
            }
            text = config.to_string().into_bytes();
        }
        let outcome = bundle.run(&text);
        let shown = String::from_utf8_lossy(&text);
        assert_ne!(outcome.status, 124, "it hangs: {shown}");
        match outcome.error {
            Some(error) => {
                refused += 1;
                assert_eq!(outcome.status, 1, "{error}: {shown}");
            }
            None => ran += 1,
        }
    });
    let one = std::env::var_os("KAPSEL_SEED").is_some();
    assert!(one || ran > 10 && refused > 10, "{ran} ran, {refused} were refused");
}

#[test]
fn any_process_of_exec_is_a_program_or_one_line_and_the_container_goes_on() {
    let bundle = Bundle::new();
    let mut config = bundle.document();
    config["process"]["args"] = json!(["sleep", "60"]);
    fs::write(bundle.sandbox.path("bundle/config.json"), config.to_string()).unwrap();
    let mut run = bundle.command();
    run.args(["run", "--detach", "--bundle"]).arg(bundle.sandbox.path("bundle")).arg(&bundle.id);
    // Not the test's own streams: the container keeps them.
    assert!(run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let _end = End(&bundle);
    let (mut ran, mut refused) = (0, 0);
    let file = bundle.sandbox.path("process.json");
    cases(100, usize::MAX, |chance| {
        let mut process = common::process("true");
        // The document is small: a change of it is seldom a good one.
        if chance.below(3) > 0 {
            change(chance, &mut process, &WORDS);
        }
        if process.is_object() {
            process["terminal"] = json!(false);
        }
        let mut text = process.to_string().into_bytes();
        if chance.below(4) == 0 {
            mutate(chance, &mut text, &WORDS);
        }
        fs::write(&file, &text).unwrap();
        let mut exec = bundle.command();
        let output = exec.args(["exec", "--process"]).arg(&file).arg(&bundle.id).output().unwrap();
        let shown = String::from_utf8_lossy(&text);
        match bundle.outcome(&output) {
            Outcome { error: Some(error), status } => {
                refused += 1;
                assert_eq!(status, 255, "{error}: {shown}");
            }
            Outcome { status, .. } => {
                ran += 1;
                assert_ne!(status, 124, "it hangs: {shown}");
            }
        }
    });
    let state = bundle.command().arg("state").arg(&bundle.id).output().unwrap();
    assert!(String::from_utf8_lossy(&state.stdout).contains("running"), "the container has ended: {state:?}");
    let one = std::env::var_os("KAPSEL_SEED").is_some();
    assert!(one || ran > 10 && refused > 10, "{ran} ran, {refused} were refused");
}

/// Ends the container, also where the test fails.
struct End<'a>(&'a Bundle);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let _ = self.0.command().args(["delete", "--force"]).arg(&self.0.id).status();
        if !std::thread::panicking() {
            self.0.expect_nothing_left();
        }
    }
}
