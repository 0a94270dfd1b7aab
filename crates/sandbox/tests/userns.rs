//! A container in a user namespace of its own, made by root.

mod common;

use std::{fs, os::unix::fs::MetadataExt, process::Command};

use common::Sandbox;
use serde_json::{Value, json};

fn in_user_namespace(config: &mut Value) {
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}

#[test]
fn the_image_belongs_to_the_containers_root_and_stays_as_it_was() {
    let sandbox = Sandbox::new("stat -c %u / /bin/busybox; rm /etc/group; touch /new; mkdir /etc/d")
        .config(in_user_namespace);
    let before = fs::metadata(sandbox.path("image/bin/busybox")).unwrap();
    assert_eq!(sandbox.output(), "0\n0");
    let after = fs::metadata(sandbox.path("image/bin/busybox")).unwrap();
    assert_eq!((before.uid(), before.ctime()), (after.uid(), after.ctime()));
    assert_eq!(fs::metadata(sandbox.path("upper/new")).unwrap().uid(), 100_000);
}

#[test]
fn its_root_has_no_power_over_the_host() {
    let script = "id -u; cat /proc/self/uid_map; echo 1 > /proc/sysrq-trigger; mknod /n b 8 0 || echo no node; \
        cat /secret || echo no secret; hostname changed && hostname";
    let sandbox = Sandbox::new(script).config(in_user_namespace).config(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SYS_ADMIN"));
        }
    });
    let secret = sandbox.path("secret");
    fs::write(&secret, "of the host").unwrap();
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let sandbox = sandbox.mount("bind", &secret, "/secret", &["bind"]);
    let out = sandbox.run().out;
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "100000", "65536", "no", "node", "no", "secret", "changed"]);
}

#[test]
fn a_device_node_of_the_image_does_not_work() {
    let sandbox = Sandbox::new("head -c1 /node || echo refused").config(in_user_namespace);
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    nix::sys::stat::mknod(
        &sandbox.path("image/node"),
        nix::sys::stat::SFlag::S_IFCHR,
        mode,
        libc::makedev(1, 5),
    )
    .unwrap();
    assert_eq!(sandbox.output(), "refused");
}

#[test]
fn a_volume_can_be_shown_with_the_containers_ids() {
    for (options, owner) in [(&["rbind", "idmap"][..], "0"), (&["rbind"], "65534")] {
        let sandbox = Sandbox::new("stat -c %u /v/f").config(in_user_namespace);
        let volume = sandbox.path("volume");
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("f"), "").unwrap();
        assert_eq!(sandbox.mount("bind", &volume, "/v", options).output(), owner);
    }
}

#[test]
fn it_has_terminals_and_an_init() {
    let sandbox = Sandbox::new("tty; echo $PPID").config(in_user_namespace).with(|document| {
        document["terminal"] = json!(true);
        document["init"] = json!(true);
    });
    assert_eq!(sandbox.output().replace('\r', ""), "/dev/pts/0\n1");
}

#[test]
fn maps_that_are_missing_or_without_root_are_errors() {
    let refusal = Sandbox::new("true")
        .config(|config| config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"})))
        .refusal();
    assert!(refusal.contains("uidMappings"), "{refusal}");
    let refusal = Sandbox::new("true")
        .config(in_user_namespace)
        .config(|config| config["linux"]["uidMappings"][0]["containerID"] = json!(5))
        .refusal();
    assert!(refusal.contains("id 0"), "{refusal}");
}

/// A process that holds a user and a network namespace; ends with the value.
struct Holder(std::process::Child);

impl Holder {
    fn new(flags: &[&str]) -> Self {
        let child = Command::new("unshare").args(flags).args(["sleep", "30"]).spawn().unwrap();
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let path = format!("/proc/{}/ns/net", child.id());
        let uid_map = format!("/proc/{}/uid_map", child.id());
        for _ in 0..500 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let mapped = fs::read_to_string(&uid_map).is_ok_and(|map| !map.is_empty());
            if mapped && fs::read_link(&path).is_ok_and(|link| link != own) {
                // The program is executed a moment after the namespaces are made.
                std::thread::sleep(std::time::Duration::from_millis(50));
                break;
            }
        }
        Self(child)
    }

    fn namespace(&self, kind: &str, file: &str) -> Value {
        json!({"type": kind, "path": format!("/proc/{}/ns/{file}", self.0.id())})
    }

    fn id(&self, file: &str) -> String {
        fs::read_link(format!("/proc/{}/ns/{file}", self.0.id())).unwrap().display().to_string()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_existing_user_namespace_is_joined_and_the_others_are_made_in_it() {
    let holder = Holder::new(&["-U", "-n", "-r"]);
    let script = "readlink /proc/self/ns/user; readlink /proc/self/ns/net; echo $$; mount | grep -c ' /proc '; ls /sys/class/net";
    let sandbox = Sandbox::new(script).config(|config| {
        config["linux"]["namespaces"] = json!([
            {"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "ipc"}, {"type": "cgroup"},
            holder.namespace("user", "user"), holder.namespace("network", "net"),
        ]);
    });
    assert_eq!(sandbox.output(), format!("{}\n{}\n1\n1\nlo", holder.id("user"), holder.id("net")));
}

#[test]
fn a_new_user_namespace_can_have_an_existing_network() {
    let holder = Holder::new(&["-n"]);
    let sandbox = Sandbox::new(
        "readlink /proc/self/ns/net; id -u; touch /x; ls /sys > /dev/null && echo sys",
    )
    .config(|config| {
        config["linux"]["namespaces"] = json!([
            {"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "ipc"}, {"type": "cgroup"},
            holder.namespace("network", "net"),
        ]);
        in_user_namespace(config);
    });
    assert_eq!(sandbox.output(), format!("{}\n0\nsys", holder.id("net")));
}

#[test]
fn its_oom_score_is_set() {
    let sandbox = Sandbox::new("cat /proc/self/oom_score_adj").config(in_user_namespace);
    let sandbox = sandbox.config(|config| config["process"]["oomScoreAdj"] = json!(55));
    assert_eq!(sandbox.output(), "55");
}
