//! What is wrong in a document is one line that names it, and nothing was made.

mod common;

use std::fs;

use common::{Sandbox, config};
use serde_json::{Value, json};

/// Puts a value at a JSON pointer of the config, where `-` is a new last element.
fn set(pointer: &str, value: Value) -> impl FnOnce(&mut Value) {
    move |config| {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = config.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
        match (parent, name) {
            (Value::Array(items), "-") => items.push(value),
            (Value::Array(items), at) => items[at.parse::<usize>().unwrap()] = value,
            (parent, name) => parent[name] = value,
        }
    }
}

#[test]
fn a_document_that_contradicts_itself_is_refused_by_name() {
    let fifo = tempfile::tempdir().unwrap();
    let fifo = fifo.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let namespace = |kind: &str, path: Value| json!({"type": kind, "path": path});
    let user = |config: &mut Value| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    };
    let mapping = |size: u32| json!([{"containerID": 0, "hostID": 100_000, "size": size}]);
    type Change = Box<dyn FnOnce(&mut Value)>;
    let cases: Vec<(Change, &str)> = vec![
        // Namespaces.
        (Box::new(set("/linux/namespaces/-", json!({"type": "pid"}))), "twice"),
        (
            Box::new(set("/linux/namespaces/0", namespace("mount", json!("/proc/self/ns/net")))),
            "a network namespace; a mount",
        ),
        (Box::new(set("/linux/namespaces/1", namespace("pid", json!("/etc/passwd")))), "no namespace; a pid"),
        (
            Box::new(set("/linux/namespaces/1", namespace("pid", json!("/proc/self/status")))),
            "no namespace; a pid",
        ),
        (Box::new(set("/linux/namespaces/1", namespace("pid", json!(fifo)))), "no namespace; a pid"),
        (Box::new(set("/linux/namespaces/4", namespace("network", json!("ns/net")))), "must be absolute"),
        (Box::new(set("/linux/namespaces/4", namespace("network", json!("/no/such")))), "no such file"),
        (Box::new(set("/linux/namespaces", json!([{"type": "mount"}, {"type": "pid"}]))), "uts namespace"),
        (Box::new(set("/linux/timeOffsets", json!({"monotonic": {"secs": 1}}))), "time namespace"),
        // Mappings.
        (Box::new(set("/linux/uidMappings", mapping(1))), "user namespace"),
        (Box::new(user), "uidMappings: there is no mapping"),
        (
            Box::new(move |config| {
                user(config);
                config["linux"]["uidMappings"] = mapping(10);
                config["linux"]["gidMappings"] = mapping(0);
            }),
            "gidMappings: a mapping has the size 0",
        ),
        // Paths.
        (Box::new(set("/process/cwd", json!("tmp"))), "absolute"),
        (Box::new(set("/process/cwd", json!(""))), "absolute"),
        (Box::new(set("/linux/maskedPaths/-", json!("proc/keys"))), "maskedPaths"),
        (Box::new(set("/linux/readonlyPaths/-", json!("proc/sys"))), "readonlyPaths"),
        (Box::new(set("/linux/rootfsPropagation", json!("sharde"))), "sharde"),
        (
            Box::new(set("/mounts/-", json!({"destination": "/x", "type": "bind", "source": "etc"}))),
            "must be an absolute path",
        ),
        (
            Box::new(set("/mounts/-", json!({"destination": "/x", "type": "bind"}))),
            "must be an absolute path",
        ),
        // The program and what it may spend.
        (Box::new(set("/process/args", json!([]))), "process.args"),
        (Box::new(set("/process", Value::Null)), "process is missing"),
        (Box::new(set("/process/rlimits", json!([{"type": "RLIMIT_MOON"}]))), "RLIMIT_MOON"),
        (Box::new(set("/process/oomScoreAdj", json!(-1001))), "oomScoreAdj"),
        (Box::new(set("/process/capabilities/bounding/-", json!("CAP_MOON"))), "CAP_MOON"),
        (Box::new(set("/linux/personality", json!({"domain": "MOON"}))), "MOON"),
        (Box::new(set("/linux/memoryPolicy", json!({"mode": "MPOL_MOON"}))), "MPOL_MOON"),
        // Devices, parameters, and what is not there at all.
        (Box::new(set("/linux/devices", json!([{"path": "/dev/x", "type": "q"}]))), "q"),
        (
            Box::new(set(
                "/linux/devices",
                json!([{"path": "/dev/x", "type": "c", "major": -1, "minor": 0}]),
            )),
            "/dev/x",
        ),
        (Box::new(set("/linux/sysctl", json!({"kernel.core_pattern": "|/x"}))), "core_pattern"),
        (
            Box::new(set(
                "/linux/intelRdt",
                json!({"closID": "x", "schemata": ["L3:0=f"], "enableMonitoring": true}),
            )),
            "intelRdt",
        ),
    ];
    // One image for all: none of them gets so far as to change it.
    let mut sandbox = Sandbox::new("true");
    for (change, words) in cases {
        let mut config = config("true");
        change(&mut config);
        sandbox.document["config"] = config;
        let refusal = sandbox.refusal();
        assert!(refusal.contains(words), "{words}: {refusal}");
    }
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains("kapsel-test-"), "a mount is left");
}
