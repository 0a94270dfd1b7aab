//! A user who is not root: the same containers in a user namespace that the executable makes first.

mod common;

use std::{fs, os::unix::fs::chown, process::Command};

use common::{Outcome, Sandbox, outcome};
use serde_json::json;

/// An id that nobody has.
const USER: u32 = 4_711_000;

fn rootless(script: &str) -> Sandbox {
    let sandbox = Sandbox::new(script).with(|document| document["rootless"] = json!(true));
    for name in ["upper", "work", "image"] {
        chown(sandbox.path(name), Some(USER), Some(USER)).unwrap();
    }
    sandbox
}

/// Runs it as the user, in a mount namespace with these subordinate ids.
fn run(sandbox: &Sandbox, subordinate: &str) -> Outcome {
    // A place that another user may execute from, whatever the build directory's modes are.
    let program = sandbox.path("sandbox");
    fs::copy(common::executable(), &program).unwrap();
    fs::write(sandbox.path("document.json"), sandbox.document.to_string()).unwrap();
    for name in ["subuid", "subgid"] {
        fs::write(sandbox.path(name), subordinate).unwrap();
    }
    // newuidmap knows only users who have a name.
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    fs::write(sandbox.path("passwd"), format!("{passwd}kapsel-test:x:{USER}:{USER}::/:/bin/sh\n")).unwrap();
    let at = |name: &str| sandbox.path(name).display().to_string();
    let script = format!(
        "mount --bind {} /etc/subuid; mount --bind {} /etc/subgid; \
         mount --bind {} /etc/passwd; \
         exec timeout 20 setpriv --reuid {USER} --regid {USER} --clear-groups {} {}",
        at("subuid"),
        at("subgid"),
        at("passwd"),
        at("sandbox"),
        at("document.json"),
    );
    outcome(
        Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", &script])
            .output()
            .unwrap(),
    )
}

#[test]
fn a_single_id_is_root_inside_and_the_user_outside() {
    let sandbox = rootless("id -u; touch /made; cat /proc/self/uid_map; cat /proc/self/setgroups");
    let outcome = run(&sandbox, "");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(outcome.out.split_whitespace().collect::<Vec<_>>(), ["0", "0", "4711000", "1", "deny"]);
    assert!(outcome.err.contains("Single"), "{outcome:?}");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(sandbox.path("upper/made")).unwrap()), USER);
}

#[test]
fn it_has_the_same_isolation() {
    let script = "ps | wc -l; hostname; ls /dev | wc -l; echo x > /dev/null && echo null; ls /sys/class/net; \
        touch /sys/x /proc/sys/kernel/hostname; cat /proc/keys; touch /dev/shm/x && echo shm; ip -o addr | grep -c lo";
    let outcome = run(&rootless(script), "");
    assert_eq!(outcome.out, "4\nsandbox\n14\nnull\nlo\nshm\n2\n", "{outcome:?}");
    assert!(outcome.err.contains("Read-only"), "{outcome:?}");
}

#[test]
fn another_user_or_group_needs_subordinate_ids() {
    let sandbox = rootless("true").with(|document| document["user"] = json!("1000"));
    let outcome = run(&sandbox, "");
    assert_eq!(outcome.status, 125);
    assert!(outcome.err.contains("/etc/subuid"), "{outcome:?}");
    let sandbox = rootless("true").with(|document| document["groupAdd"] = json!(["44"]));
    let outcome = run(&sandbox, "");
    assert_eq!(outcome.status, 125);
    assert!(outcome.err.contains("/etc/subgid"), "{outcome:?}");
}

#[test]
fn subordinate_ids_are_mapped_from_1_on() {
    let sandbox = rootless("id -u; id -G; touch /made; cat /proc/self/uid_map").with(|document| {
        document["user"] = json!("ann");
    });
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        &sandbox.path("upper"),
        nix::sys::stat::Mode::from_bits_truncate(0o777),
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )
    .unwrap();
    let outcome = run(&sandbox, &format!("{USER}:6000000:1500\n{USER}:7000000:500\n"));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let words: Vec<&str> = outcome.out.split_whitespace().collect();
    assert_eq!(words[..3], ["1000", "100", "44"], "{outcome:?}");
    assert_eq!(words[3..], ["0", "4711000", "1", "1", "6000000", "1500", "1501", "7000000", "500"]);
    assert!(outcome.err.contains("Range { uids: 2001, gids: 2001 }"), "{outcome:?}");
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(sandbox.path("upper/made")).unwrap()),
        6_000_999
    );
}

#[test]
fn the_hosts_network_and_processes_can_be_shared() {
    let sandbox = rootless("readlink /proc/self/ns/net; readlink /proc/self/ns/pid; touch /sys/x; ls /sys/kernel > /dev/null && echo sys")
        .config(|config| {
            config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}, {"type": "cgroup"}]);
        });
    let outcome = run(&sandbox, "");
    let host = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display().to_string();
    assert_eq!(outcome.out, format!("{}\n{}\nsys\n", host("net"), host("pid")), "{outcome:?}");
    assert!(outcome.err.contains("Read-only"), "{outcome:?}");
}

#[test]
fn no_cgroup_of_the_host_is_writable() {
    // CVE-2023-25809, although the document says "rw".
    let script = "for d in /sys/fs/cgroup/*; do mkdir $d/x && echo MADE $d; echo 1 > $d/cgroup.procs && echo WROTE; done; true";
    let sandbox = rootless(script).config(|config| {
        for mount in config["mounts"].as_array_mut().unwrap() {
            if mount["type"] == "cgroup" {
                mount["options"] = json!(["rw", "nosuid", "noexec", "nodev"]);
            }
        }
    });
    let outcome = run(&sandbox, "");
    assert!(outcome.out.is_empty() && outcome.err.contains("Read-only"), "{outcome:?}");
}

#[test]
fn the_executable_is_sealed_there_too() {
    let attack = "exec 9< /proc/1/exe; chmod 4777 /proc/self/fd/9; echo evil > /proc/self/fd/9; true";
    let sandbox = rootless(attack)
        .with(|document| {
            document["init"] = json!(true);
            document["seal"] = json!(true);
        })
        .config(|config| {
            for set in ["bounding", "effective", "permitted"] {
                config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SYS_PTRACE"));
            }
        });
    // The user's own file, as in a directory of npm's.
    let outcome = run(&sandbox, "");
    assert_eq!(
        fs::read(sandbox.path("sandbox")).unwrap(),
        fs::read(common::executable()).unwrap(),
        "{outcome:?}"
    );
}

#[test]
fn its_processes_can_be_joined() {
    let mut process = common::process("id -u; hostname; ls /proc/self/fd | wc -l");
    process["oomScoreAdj"] = json!(500);
    let sandbox = rootless("").with(|document| {
        document["config"]["process"]["args"] = json!(["sleep", "100"]);
        document["exec"] = json!([{"process": process}]);
    });
    let outcome = run(&sandbox, "");
    assert_eq!((outcome.status, outcome.out.as_str()), (0, "0\nsandbox\n4\n"), "{outcome:?}");
}
