//! Namespaces by path that the other tests do not join: mount, cgroup, time, and a user namespace whose mappings volumes
//! take.

mod common;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::chown,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use common::Sandbox;
use serde_json::{Value, json};

/// A process in namespaces of its own; ends with the value.
struct Holder(Child);

impl Holder {
    fn new(flags: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(flags).args(["sh", "-c", "echo ready; exec sleep 600"]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn path(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{file}", self.0.id()))
    }

    fn id(&self, file: &str) -> String {
        fs::read_link(self.path(file)).unwrap().display().to_string()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Joins one of the namespaces in place of making it.
fn join(config: &mut Value, kind: &str, path: PathBuf) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != kind);
    namespaces.push(json!({"type": kind, "path": path}));
}

#[test]
fn a_cgroup_namespace_is_joined() {
    let holder = Holder::new(&["--cgroup"]);
    let out = Sandbox::new("readlink /proc/self/ns/cgroup")
        .config(|config| join(config, "cgroup", holder.path("cgroup")))
        .output();
    assert_eq!(out, holder.id("cgroup"));
}

#[test]
fn a_time_namespace_is_joined_and_what_is_executed_in_the_container_joins_it_too() {
    let holder = Holder::new(&["--time", "--boottime", "604800"]);
    // Before Linux 6.3 the holder itself stays where it was: only its children are inside.
    let (file, script) = ("time_for_children", "readlink /proc/self/ns/time; cut -d. -f1 /proc/uptime");
    let sandbox = Sandbox::new(script).config(|config| join(config, "time", holder.path(file)));
    let check = |out: &str| {
        let (id, uptime) = out.split_once('\n').unwrap();
        assert_eq!(id.strip_prefix("time:"), holder.id(file).split_once(':').map(|(_, id)| id));
        assert!(uptime.parse::<u64>().unwrap() >= 604_800, "{out}");
    };
    check(&sandbox.output());
    let exec = sandbox.with(|document| {
        document["exec"] = json!([{"process": common::process(script), "user": ""}]);
        document["config"]["process"]["args"] = json!(["sleep", "30"]);
    });
    check(&exec.output());
}

#[test]
fn a_mount_namespace_is_joined_and_the_containers_root_is_its_root() {
    let host = fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    let holder = Holder::new(&["--mount"]);
    let out = Sandbox::new("readlink /proc/self/ns/mnt; ls -d /image /proc/1 2>&1; cat /etc/group | head -1")
        .config(|config| join(config, "mount", holder.path("mnt")))
        .output();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        [holder.id("mnt").as_str(), "ls: /image: No such file or directory", "/proc/1", "root:x:0:"]
    );
    assert_ne!(lines[0], host);
    // The host is as it was.
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains("kapsel-test-"));
}

#[test]
fn a_volume_takes_the_mappings_of_a_user_namespace_that_is_joined() {
    let holder = Holder::new(&["--user"]);
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{map}", holder.0.id()), "0 100000 1000").unwrap();
    }
    let sandbox = Sandbox::new("stat -c %u:%g /volume/file").on_directory();
    let image = sandbox.path("image");
    assert!(Command::new("chown").args(["-R", "100000:100000"]).arg(&image).status().unwrap().success());
    let volume = sandbox.path("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "").unwrap();
    chown(volume.join("file"), Some(7), Some(7)).unwrap();
    let sandbox = sandbox.mount("bind", volume, "/volume", &["idmap"]).config(|config| {
        join(config, "user", holder.path("user"));
        // Podman names some here that mean nothing.
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    });
    assert_eq!(sandbox.output(), "7:7");
}
