//! What a container has of its own: namespaces, root, devices, mounts, and nothing left of it afterwards.

mod common;

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Command};

use common::{Sandbox, field};
use serde_json::json;

#[test]
fn every_namespace_is_its_own() {
    let script = "for n in mnt pid uts ipc net cgroup user; do echo $n $(readlink /proc/self/ns/$n); done";
    let inside = Sandbox::new(script).output();
    for name in ["mnt", "pid", "uts", "ipc", "net", "cgroup", "user"] {
        let host = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let own = field(&inside, &format!("{name} ")).to_owned();
        // No user namespace was asked for.
        assert_eq!(Path::new(&own) == host, name == "user", "{name}: {own}");
    }
}

#[test]
fn the_program_is_pid_1_and_sees_no_other() {
    assert_eq!(Sandbox::new("echo $$; ls /proc | grep -c '^[0-9]'").output().lines().next(), Some("1"));
    let processes = Sandbox::new("for p in /proc/[0-9]*; do echo ${p#/proc/}; done").output();
    assert_eq!(processes, "1");
}

#[test]
fn the_host_keeps_its_name() {
    let host = nix::unistd::gethostname().unwrap();
    let own = Sandbox::new("hostname; cat /proc/sys/kernel/domainname")
        .config(|config| config["domainname"] = json!("example"))
        .output();
    assert_eq!(own, "sandbox\nexample");
    assert_eq!(nix::unistd::gethostname().unwrap(), host);
}

#[test]
fn a_name_for_the_hosts_uts_namespace_is_refused() {
    let refusal = Sandbox::new("true")
        .config(|config| config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "pid"}]))
        .refusal();
    assert!(refusal.contains("renamed"), "{refusal}");
}

#[test]
fn a_container_without_a_mount_namespace_is_refused() {
    let refusal = Sandbox::new("true")
        .config(|config| config["linux"]["namespaces"] = json!([{"type": "uts"}]))
        .refusal();
    assert!(refusal.contains("mount namespace"), "{refusal}");
}

#[test]
fn a_new_network_has_loopback_up_and_nothing_else() {
    let out =
        Sandbox::new("ls /sys/class/net; ip -o addr; ping -c1 -W1 127.0.0.1 >/dev/null && echo reached")
            .output();
    assert!(out.starts_with("lo\n"), "{out}");
    assert!(out.contains("127.0.0.1/8") && out.ends_with("reached"), "{out}");
}

#[test]
fn writes_go_to_the_upper_directory_and_the_image_stays() {
    let sandbox = Sandbox::new("echo changed > /etc/passwd; rm /etc/group; mkdir /new; stat -f -c %T /");
    let before = fs::read(sandbox.path("image/etc/passwd")).unwrap();
    sandbox.output();
    assert_eq!(fs::read(sandbox.path("image/etc/passwd")).unwrap(), before);
    assert_eq!(fs::read(sandbox.path("upper/etc/passwd")).unwrap(), b"changed\n");
    let whiteout = fs::metadata(sandbox.path("upper/etc/group")).unwrap();
    assert_eq!(whiteout.rdev(), 0);
    assert!(sandbox.path("upper/new").is_dir());
}

#[test]
fn ten_layers_are_stacked_topmost_first() {
    let sandbox = Sandbox::new("cat /which /only0");
    let image = sandbox.path("image");
    let mut lowers = vec![];
    for number in 0..10 {
        let layer = sandbox.path(&format!("layer:{number},\\"));
        fs::create_dir(&layer).unwrap();
        fs::write(layer.join("which"), number.to_string()).unwrap();
        fs::write(layer.join(format!("only{number}")), "seen").unwrap();
        lowers.insert(0, layer);
    }
    lowers.push(image);
    let sandbox = sandbox.with(|document| document["rootfs"]["lowers"] = json!(lowers));
    assert_eq!(sandbox.output(), "9seen");
}

#[test]
fn paths_longer_than_the_kernel_takes_are_no_obstacle() {
    let sandbox = Sandbox::new("cat /deep");
    let long = sandbox.path(&["x".repeat(100), "y".repeat(100), "z".repeat(100)].join("/"));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("deep"), "found").unwrap();
    let lowers = [long, sandbox.path("image")];
    assert_eq!(sandbox.with(|document| document["rootfs"]["lowers"] = json!(lowers)).output(), "found");
}

#[test]
fn a_directory_can_be_the_root() {
    let sandbox = Sandbox::new("echo here > /made; pwd").on_directory();
    assert_eq!(sandbox.output(), "/");
    assert_eq!(fs::read(sandbox.path("image/made")).unwrap(), b"here\n");
}

#[test]
fn dev_has_the_standard_nodes_and_links_and_nothing_of_the_host() {
    let script = "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %a %t:%T %U:%G' $d; done; \
        for l in fd stdin stdout stderr ptmx; do echo $l $(readlink $l); done; ls | wc -l; echo x > null; \
        head -c3 zero | wc -c; echo x > full || echo refused";
    let out = Sandbox::new(script).output();
    for line in [
        "null 666 1:3 root:root",
        "zero 666 1:5 root:root",
        "full 666 1:7 root:root",
        "random 666 1:8 root:root",
        "urandom 666 1:9 root:root",
        "tty 666 5:0 root:root",
        "fd /proc/self/fd",
        "stdin /proc/self/fd/0",
        "ptmx pts/ptmx",
        "refused",
        // Six nodes, five links, pts, shm and mqueue.
        "14",
    ] {
        assert!(out.lines().any(|l| l == line), "{line:?} is not in {out}");
    }
}

#[test]
fn a_device_that_was_asked_for_is_there_with_its_mode_and_owner() {
    // "u" is an unbuffered character device: mknod(1)'s other word for "c".
    for kind in ["c", "u"] {
        let device = json!({"path": "/dev/sub/mine", "type": kind, "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8});
        let out = Sandbox::new("stat -c '%F %a %t:%T %u:%g' /dev/sub/mine")
            .config(|config| config["linux"]["devices"] = json!([device]))
            .output();
        assert_eq!(out, "character special file 640 1:5 7:8", "{kind}");
    }
}

#[test]
fn masked_paths_are_empty_and_cannot_be_changed() {
    let script = "cat /proc/keys /proc/timer_list; ls /proc/acpi /sys/firmware | grep -v : ; \
        touch /sys/firmware/x; chmod 777 /proc/keys; chown 5 /proc/keys; stat -c '%a %u' /dev/null";
    let outcome = Sandbox::new(script).run();
    assert_eq!(outcome.out.trim(), "666 0", "{outcome:?}");
    assert_eq!(outcome.err.matches("Read-only file system").count(), 3, "{outcome:?}");
}

#[test]
fn what_is_mounted_below_a_read_only_path_cannot_be_written_either() {
    let sandbox = Sandbox::new("touch /data/x; touch /data/below/x; echo done")
        .mount("tmpfs", "tmpfs", "/data", &[])
        .mount("tmpfs", "tmpfs", "/data/below", &[])
        .config(|config| config["linux"]["readonlyPaths"] = json!(["/data"]));
    let outcome = sandbox.run();
    let refused = outcome.err.matches("Read-only file system").count();
    assert_eq!((outcome.out.trim(), refused), ("done", 2), "{outcome:?}");
}

#[test]
fn read_only_paths_cannot_be_written() {
    let script = "for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/default_smp_affinity; do \
        [ -e $f ] && { echo x > $f && echo WROTE $f; }; done; mkdir /sys/fs/cgroup/x; exit 0";
    let outcome = Sandbox::new(script)
        .config(|config| {
            let all = "CAP_SYS_ADMIN";
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!(all));
            }
        })
        .run();
    assert!(!outcome.out.contains("WROTE"), "{outcome:?}");
    assert!(outcome.err.contains("Read-only file system"), "{outcome:?}");
}

#[test]
fn a_read_only_root_still_has_writable_mounts() {
    let outcome = Sandbox::new("touch /x; touch /dev/shm/x && echo shm")
        .config(|config| config["root"] = json!({"path": "x", "readonly": true}))
        .run();
    assert_eq!(outcome.out, "shm\n");
    assert!(outcome.err.contains("Read-only file system"), "{outcome:?}");
}

#[test]
fn a_container_has_its_own_cgroup_as_the_root() {
    let name = format!("/kapsel-test-{}-root", std::process::id());
    let members = "for file in /sys/fs/cgroup/memory/tasks /sys/fs/cgroup/cgroup.procs; do \
                   if [ -e $file ]; then wc -l < $file; fi; done";
    let mounts = "while read -r _ _ _ root point _; do case $point in /sys/fs/cgroup/*) echo mount $root;; esac; done \
                  < /proc/self/mountinfo";
    let out = Sandbox::new(&format!("{mounts}; cat /proc/self/cgroup; {members}"))
        .with(|document| document["cgroup"] = json!(name))
        .output();
    // The shell and wc.
    assert_eq!(out.lines().next_back(), Some("2"), "{out}");
    let lines = out.lines().filter(|line| line.contains(":memory:") || line.starts_with("0::"));
    assert!(lines.clone().count() > 0 && lines.clone().all(|line| line.ends_with(":/")), "{out}");
    assert!(out.lines().filter(|line| line.starts_with("mount")).all(|line| line == "mount /"), "{out}");
}

#[test]
fn parameters_of_its_namespaces_are_set_and_the_hosts_are_not() {
    let host = fs::read_to_string("/proc/sys/kernel/shmmni").unwrap();
    let sysctl = json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "1234", "fs.mqueue.msg_max": "77"});
    let out =
        Sandbox::new("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni /proc/sys/fs/mqueue/msg_max")
            .config(|config| config["linux"]["sysctl"] = sysctl)
            .output();
    assert_eq!(out, "1\n1234\n77");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/shmmni").unwrap(), host);
}

#[test]
fn the_hosts_namespaces_are_shared_where_asked() {
    let script = "for n in pid ipc net; do echo $n $(readlink /proc/self/ns/$n); done; ls /sys/class/net";
    let out = Sandbox::new(script)
        .config(|config| {
            config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}, {"type": "cgroup"}])
        })
        .output();
    for name in ["pid", "ipc", "net"] {
        let host = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        assert_eq!(Path::new(field(&out, &format!("{name} "))), host);
    }
    assert!(out.ends_with("lo") || out.contains("lo\n"), "{out}");
}

#[test]
fn an_existing_namespace_is_joined_by_its_path() {
    // A process of ours holds them.
    let mut holder = Command::new("unshare")
        .args(["-n", "-u", "-i", "-p", "-f", "sleep", "30"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", holder.id());
    let child = (0..200)
        .find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            Some(fs::read_to_string(&children).ok()?.trim().to_owned()).filter(|child| !child.is_empty())
        })
        .expect("unshare's child");
    let kinds = [("network", "net"), ("uts", "uts"), ("ipc", "ipc"), ("pid", "pid")];
    let mut namespaces = vec![json!({"type": "mount"})];
    namespaces
        .extend(kinds.map(|(kind, file)| json!({"type": kind, "path": format!("/proc/{child}/ns/{file}")})));
    let script =
        "for n in net uts ipc pid; do echo $n $(readlink /proc/self/ns/$n); done; ls -d /proc/[0-9]*";
    let outcome = Sandbox::new(script)
        .config(|config| {
            config["linux"]["namespaces"] = json!(namespaces);
            config["hostname"] = json!(null);
        })
        .run();
    let expected = kinds.map(|(_, file)| fs::read_link(format!("/proc/{child}/ns/{file}")).unwrap());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.parse().unwrap()), nix::sys::signal::SIGKILL)
        .unwrap();
    holder.wait().unwrap();
    assert_eq!(outcome.status, 0, "{outcome:?}");
    for ((_, file), expected) in kinds.iter().zip(expected) {
        assert_eq!(Path::new(field(&outcome.out, &format!("{file} "))), expected);
    }
    assert!(outcome.out.contains("/proc/1\n"), "the holder's own PID 1 is seen: {outcome:?}");
}

#[test]
fn nothing_is_left_behind() {
    let sandbox = Sandbox::new("sleep 100 & exit 3");
    let mounts = || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = sandbox.directory.path().to_str().unwrap();
        mounts.lines().filter(|line| line.contains(own)).count()
    };
    assert_eq!(sandbox.run().status, 3);
    // The background process went with its PID namespace, the overlay with its mount namespace.
    fs::remove_dir_all(sandbox.path("upper")).unwrap();
    assert_eq!(mounts(), 0);
    let sandbox = sandbox.with(|document| document["user"] = json!("nosuch"));
    sandbox.refusal();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(sandbox.directory.path().to_str().unwrap()));
}

#[test]
fn a_hundred_starts_leave_no_descriptor_in_the_caller() {
    let sandbox = Sandbox::new("true").with(|document| document["repeat"] = json!(100));
    let mut command = Command::new("sh");
    let inner = sandbox.command();
    let words: Vec<_> = inner.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    // With room for few descriptors, one leaked each time would be an error soon.
    command.args(["-c", &format!("ulimit -n 64; exec timeout {}", words.join(" "))]);
    let outcome = common::outcome(command.output().unwrap());
    assert_eq!((outcome.status, outcome.out.lines().count()), (0, 100), "{outcome:?}");
}

#[test]
fn a_container_ends_with_its_monitor() {
    // The kernel forgets the wish when another user is become.
    for user in ["", "ann"] {
        ends_with_its_monitor(user);
    }
}

fn ends_with_its_monitor(user: &str) {
    let sandbox = Sandbox::new("echo $$; exec sleep 100").with(|document| document["user"] = json!(user));
    let mut command = sandbox.command();
    // Without `timeout` in between, so that the pid is the monitor's.
    let words: Vec<_> = command.get_args().skip(3).map(ToOwned::to_owned).collect();
    command = Command::new(&words[0]);
    let mut monitor = command.args(&words[1..]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(monitor.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", monitor.id())).unwrap();
    let container: i32 = children.trim().parse().unwrap();
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let status = fs::read_to_string(format!("/proc/{container}/status")).unwrap_or_default();
        status.is_empty() || status.contains("State:\tZ")
    });
    if !gone {
        // Our own container's: nobody else would end it.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(container), nix::sys::signal::SIGKILL);
    }
    assert!(gone, "process {container} has outlived its monitor");
}

#[test]
fn the_container_cannot_see_the_hosts_mounts() {
    let out = Sandbox::new("cat /proc/self/mountinfo").output();
    let points: Vec<&str> = out.lines().map(|line| line.split(' ').nth(4).unwrap()).collect();
    for point in &points {
        let known = ["/", "/proc", "/dev", "/sys"].iter().any(|top| point == top)
            || ["/proc/", "/dev/", "/sys/"].iter().any(|top| point.starts_with(top));
        assert!(known, "{point} is in {points:?}");
    }
    assert!(!out.contains("shared:"), "{out}");
}

#[test]
fn what_is_not_carried_out_is_refused() {
    for (pointer, value, words) in [
        ("/hooks", json!({"poststart": [{"path": "/bin/true"}]}), "hooks are only run"),
        ("/linux/intelRdt", json!({"closID": "x"}), "intelRdt is not supported"),
    ] {
        let refusal = Sandbox::new("true")
            .config(|config| {
                config["hooks"] = json!({});
                config["linux"]["intelRdt"] = json!(null);
                *config.pointer_mut(pointer).unwrap() = value;
            })
            .refusal();
        assert!(refusal.contains(words), "{pointer}: {refusal}");
    }
}

#[test]
fn a_trace_names_the_phases_of_parent_and_child() {
    let sandbox = Sandbox::new("ls /proc/self/fd | wc -l");
    let file = sandbox.path("trace");
    let outcome = common::outcome(sandbox.command().env("KAPSEL_TRACE", &file).output().unwrap());
    assert_eq!(outcome.out, "4\n", "the trace is closed before the program: {outcome:?}");
    let trace = fs::read_to_string(file).unwrap();
    for phase in ["launch", "cloned", "child runs", "root entered", "paths masked", "closing"] {
        assert!(trace.contains(&format!("sandbox: {phase}")), "{phase} is not in {trace}");
    }
}
