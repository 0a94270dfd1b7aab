//! Any document is a container or one line that says why not: no panic, no hang, no more memory than the text deserves,
//! and nothing left of it. The words below name nothing of the machine's: what comes of them happens in namespaces of
//! the test's own.

#[path = "../../../seccomp/tests/property/chance.rs"]
mod chance;
#[path = "../common/mod.rs"]
mod common;

use std::{fs, process::Command};

use chance::{Chance, Counting, cases, change, mutate};
use common::{Sandbox, config, outcome};
use kapsel_sandbox::spec::Config;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The longest text here has some 20 KiB.
const MOST: usize = 2 << 20;

/// Words that documents are made of.
const WORDS: [&str; 78] = [
    "ociVersion",
    "process",
    "terminal",
    "user",
    "uid",
    "umask",
    "additionalGids",
    "args",
    "cwd",
    "env",
    "capabilities",
    "bounding",
    "ambient",
    "rlimits",
    "type",
    "soft",
    "hard",
    "noNewPrivileges",
    "oomScoreAdj",
    "scheduler",
    "policy",
    "nice",
    "ioPriority",
    "execCPUAffinity",
    "final",
    "mounts",
    "destination",
    "source",
    "options",
    "uidMappings",
    "containerID",
    "hostID",
    "size",
    "linux",
    "namespaces",
    "path",
    "devices",
    "major",
    "fileMode",
    "sysctl",
    "timeOffsets",
    "monotonic",
    "secs",
    "maskedPaths",
    "readonlyPaths",
    "rootfsPropagation",
    "personality",
    "domain",
    "memoryPolicy",
    "mode",
    "nodes",
    "netDevices",
    "moon0",
    "hostname",
    "RLIMIT_CORE",
    "CAP_CHOWN",
    "SCHED_BATCH",
    "MPOL_BIND",
    "0-3",
    "pid",
    "mount",
    "user",
    "time",
    "network",
    "cgroup",
    "tmpfs",
    "proc",
    "devpts",
    "rshared",
    "rro",
    "idmap",
    "remount",
    "tmpcopyup",
    "size=4k",
    "/x",
    "../y",
    "net.ipv4.ip_forward",
    "c",
];

/// Docker's document with a little of everything else.
fn document() -> Value {
    let mut config = config("true");
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
    config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 1, "flags": []});
    config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    config["process"]["user"]["additionalGids"] = json!([1, 2]);
    config["linux"]["devices"] =
        json!([{"path": "/dev/more", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0}]);
    config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": []});
    config["linux"]["personality"] = json!({"domain": "LINUX"});
    config["linux"]["rootfsPropagation"] = json!("rprivate");
    config["mounts"].as_array_mut().unwrap().push(
        json!({"destination": "/x", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=4k", "rro"]}),
    );
    config
}

fn try_text(text: &[u8]) -> Option<Config> {
    let config: Config = serde_json::from_slice(text).ok()?;
    let again: Config = serde_json::from_slice(&serde_json::to_vec(&config).unwrap()).unwrap();
    assert_eq!(config, again, "what was written is not what is read");
    Some(config)
}

#[test]
fn any_text_is_a_document_or_an_error() {
    cases(4000, MOST, |chance| {
        let mut text = document().to_string().into_bytes();
        mutate(chance, &mut text, &WORDS);
        try_text(&text);
    });
}

#[test]
fn any_json_is_a_document_or_an_error() {
    let mut accepted = 0;
    cases(4000, MOST, |chance| {
        let mut document = document();
        change(chance, &mut document, &WORDS);
        accepted += u32::from(try_text(document.to_string().as_bytes()).is_some());
    });
    assert!(
        accepted > 400 || std::env::var_os("KAPSEL_SEED").is_some(),
        "hardly one was a document: {accepted}"
    );
}

/// A document that reads as one, changed somewhere.
fn changed(chance: &mut Chance) -> Value {
    loop {
        let mut config = document();
        change(chance, &mut config, &WORDS);
        // A start that makes a program wait, or sets a terminal up, is for other tests.
        let plain = config.pointer("/process/terminal").is_none_or(|terminal| *terminal == json!(false));
        if plain && try_text(config.to_string().as_bytes()).is_some() {
            return config;
        }
    }
}

#[test]
fn any_document_is_a_container_or_one_line() {
    let (mut started, mut refused) = (0, 0);
    cases(150, usize::MAX, |chance| {
        let sandbox = Sandbox::new("true").config(|config| *config = changed(chance));
        let inner = sandbox.command();
        let mut command = Command::new("unshare");
        // What a container shares with its caller is not the machine's.
        command.args(["--mount", "--net", "--uts", "--ipc", "timeout"]).args(inner.get_args());
        let outcome = outcome(command.output().unwrap());
        let config = &sandbox.document["config"];
        match outcome.status {
            125..=127 => {
                refused += 1;
                assert_eq!(outcome.err.trim_end().lines().count(), 1, "{outcome:?} {config}");
                assert!(!outcome.err.contains("panicked"), "{outcome:?} {config}");
            }
            // busybox itself, under limits that it cannot live with.
            _ => started += 1,
        }
        assert_ne!(outcome.status, 124, "it hangs: {config}");
        assert!(!outcome.err.contains("panicked"), "{outcome:?} {config}");
    });
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains("kapsel-test-"), "a mount is left");
    let one = std::env::var_os("KAPSEL_SEED").is_some();
    assert!(one || started > 10 && refused > 10, "{started} started, {refused} were refused");
}
