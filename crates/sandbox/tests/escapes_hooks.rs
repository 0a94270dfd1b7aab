//! Escapes attempted where the way into the container is another one: with hooks, which see the root where the bundle has
//! it, so that mounts are attached while the host is still there; behind a gate; and without pivot_root.
//!
//! | escape | test | failed when |
//! |---|---|---|
//! | CVE-2021-30465 with hooks | `links_of_the_image_…` | resolve.rs: no RESOLVE_IN_ROOT |
//! | devices behind a link and `..` | `a_device_that_…` | resolve.rs: no RESOLVE_IN_ROOT |
//! | masks behind a link and `..` | `what_is_masked_…` | never by resolve.rs alone: the host is gone when masks are made |
//! | CVE-2021-30465, 2024-45310 with hooks | `a_mount_point_that_keeps_changing_…` | resolve.rs: no RESOLVE_IN_ROOT |
//! | CVE-2026-41579 with hooks | `a_dev_that_is_a_link_…` | mounts/build.rs: `plain` is false (for /dev, devices.rs and masks refuse as well) |
//! | CVE-2024-21626 for hooks | `hooks_inherit_nothing_…` | hooks.rs: no close_on_exec_from; streams.rs: no close_range; gate.rs: no O_CLOEXEC |
//! | runc issue 1962 | `without_pivot_root_…` | launch.rs: no `strip`, or chroot(2) where pivot_root(2) is allowed |

mod common;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
};

use common::{Outcome, Sandbox, executable, outcome};
use serde_json::{Value, json};

fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]})
}

fn with_hooks(sandbox: Sandbox, hooks: Value) -> Sandbox {
    let bundle = sandbox.path("");
    sandbox
        .on_directory()
        .with(|document| document["bundle"] = json!(bundle))
        .config(|config| config["hooks"] = hooks)
}

/// A directory of the "host" with a file in it.
fn victim(sandbox: &Sandbox) -> PathBuf {
    let victim = sandbox.path("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("secret"), "the host's").unwrap();
    victim
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn links_of_the_image_stay_inside_while_the_host_is_still_there() {
    for target in ["{victim}", "../../../../../../../../..{victim}", "{victim}/new/deep"] {
        let sandbox = Sandbox::new("touch /data/inside");
        let victim = victim(&sandbox);
        symlink(target.replace("{victim}", victim.to_str().unwrap()), sandbox.path("image/data")).unwrap();
        let volume = sandbox.path("volume");
        fs::create_dir(&volume).unwrap();
        let seen = sandbox.path("seen");
        // In the container's mount namespace, with everything mounted: what has come to lie on the host's tree?
        let look = hook(&format!("ls {} > {}", victim.display(), seen.display()));
        let sandbox = with_hooks(sandbox, json!({"createContainer": [look]})).mount(
            "bind",
            &volume,
            "/data",
            &["rbind"],
        );
        let outcome = sandbox.run();
        assert_eq!(outcome.status, 0, "{target}: {outcome:?}");
        assert!(volume.join("inside").exists(), "{target}");
        assert_eq!(fs::read_to_string(seen).unwrap(), "secret\n", "{target}");
        assert_eq!(names(&victim), ["secret"], "{target}");
    }
}

/// Links of an image that lead to a directory of the host's, where the image has one of the same name.
const WAYS_OUT: [&str; 2] = ["{victim}", "../../../../../../../../..{victim}"];

#[test]
fn a_device_that_climbs_or_is_behind_a_link_is_made_inside() {
    for target in WAYS_OUT {
        let sandbox = Sandbox::new("ls /out /climbed");
        let victim = victim(&sandbox);
        let place = victim.to_str().unwrap();
        symlink(target.replace("{victim}", place), sandbox.path("image/out")).unwrap();
        let paths = [
            "/out/linked".to_owned(),
            format!("/dev/../../../../../../../..{place}/climbed"),
            "/../climbed".to_owned(),
        ];
        let node = |path: &String| json!({"path": path, "type": "c", "major": 1, "minor": 3});
        let nodes: Vec<Value> = paths.iter().map(node).collect();
        let sandbox = with_hooks(sandbox, json!({"createContainer": [hook("true")]}))
            .config(|config| config["linux"]["devices"] = json!(nodes));
        let outcome = sandbox.run();
        assert_eq!(names(&victim), ["secret"], "{target}: {outcome:?}");
        assert_eq!(outcome.out, "/climbed\n\n/out:\nclimbed\nlinked\n", "{target}: {outcome:?}");
    }
}

#[test]
fn what_is_masked_or_read_only_behind_a_link_is_what_is_inside() {
    for target in WAYS_OUT {
        let sandbox = Sandbox::new("cat /out/secret; echo more > /out/file; cat /out/file");
        let victim = victim(&sandbox);
        let place = victim.to_str().unwrap();
        symlink(target.replace("{victim}", place), sandbox.path("image/out")).unwrap();
        let inside = sandbox.path("image").join(&place[1..]);
        fs::create_dir_all(&inside).unwrap();
        fs::write(inside.join("secret"), "the image's").unwrap();
        fs::write(inside.join("file"), "as it was").unwrap();
        fs::write(victim.join("file"), "the host's").unwrap();
        let seen = sandbox.path("seen");
        // In the container's mount namespace, with everything covered: what of the host is?
        let look = hook(&format!("cat {place}/secret {place}/file > {}; : > {place}/file", seen.display()));
        let sandbox = with_hooks(sandbox, json!({"createContainer": [look]})).config(|config| {
            config["linux"]["maskedPaths"] = json!(["/out/secret"]);
            config["linux"]["readonlyPaths"] = json!([format!("/../..{place}/file")]);
        });
        let outcome = sandbox.run();
        assert_eq!(outcome.out, "as it was", "{target}: {outcome:?}");
        assert!(outcome.err.contains("Read-only file system"), "{target}: {outcome:?}");
        assert_eq!(fs::read_to_string(seen).unwrap(), "the host'sthe host's", "{target}");
        assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "", "{target}");
    }
}

#[test]
fn a_dev_that_is_a_link_is_refused_while_the_host_is_still_there() {
    for name in ["dev", "proc", "sys"] {
        let sandbox = Sandbox::new("true");
        let victim = victim(&sandbox);
        symlink(&victim, sandbox.path("image").join(name)).unwrap();
        let refusal = with_hooks(sandbox, json!({"createContainer": [hook("true")]})).refusal();
        assert!(refusal.contains("symbolic link"), "{name}: {refusal}");
    }
}

#[test]
fn a_mount_point_that_keeps_changing_stays_inside_while_the_host_is_still_there() {
    let sandbox = Sandbox::new("true");
    let victim = victim(&sandbox);
    let (volume, shared) = (sandbox.path("volume"), sandbox.path("image/shared"));
    fs::create_dir(&volume).unwrap();
    fs::create_dir(&shared).unwrap();
    symlink(format!("../../../../../../../../../../..{}", victim.display()), shared.join("link")).unwrap();
    fs::create_dir(shared.join("real")).unwrap();
    let sandbox = with_hooks(sandbox, json!({"createContainer": [hook("true")]})).mount(
        "bind",
        &volume,
        "/shared/point/new",
        &["rbind"],
    );
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (point, link, real) = (shared.join("point"), shared.join("link"), shared.join("real"));
            while !stop.load(Ordering::Relaxed) {
                for what in [&link, &real] {
                    let _ = fs::rename(what, &point);
                    std::thread::yield_now();
                    let _ = fs::rename(&point, what);
                }
            }
        });
        for _ in 0..40 {
            // Some of the starts fail, as they may.
            let _ = sandbox.run();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(names(&victim), ["secret"]);
}

#[test]
fn hooks_inherit_nothing_of_the_runtime_or_its_caller_inside_the_container() {
    let sandbox = Sandbox::new("cat /tmp/fds; echo program; ls /proc/self/fd");
    let gate = sandbox.path("");
    let seen = sandbox.path("seen");
    // ls itself has the directory that it reads.
    let list = |file: &str| json!({"path": "/bin/busybox", "args": ["sh", "-c", format!("ls /proc/self/fd > {file}")], "env": ["PATH=/bin"]});
    let outside = sandbox.path("outside");
    let hooks = json!({
        "createRuntime": [list(outside.to_str().unwrap())],
        "createContainer": [list(seen.to_str().unwrap())],
        "startContainer": [list("/tmp/fds")],
    });
    let sandbox = with_hooks(sandbox, hooks).with(|document| document["gate"] = json!(gate));
    // What the runtime has open (the tree, the channel, the gate) is its own; what its caller forgot to close would lead
    // the image's programs out.
    let monitor = sandbox.command();
    let started = |descriptors: &str| {
        let mut shell = std::process::Command::new("bash");
        let close = "for f in /proc/self/fd/*; do n=${f##*/}; [ $n -gt 2 ] && eval \"exec $n>&-\"; done";
        shell.args(["-c", &format!("{close}; {descriptors}; exec \"$@\""), "bash"]);
        shell.arg(monitor.get_program()).args(monitor.get_args());
        outcome(shell.stdin(Stdio::null()).output().unwrap())
    };
    assert_eq!(started("true").out, "0\n1\n2\n3\nprogram\n0\n1\n2\n3\n");
    assert_eq!(fs::read_to_string(&seen).unwrap(), "0\n1\n2\n3\n");
    fs::remove_file(sandbox.path("go")).unwrap();
    fs::remove_file(sandbox.path("fate")).unwrap();
    let outcome = started("exec 3</ 4</tmp 9</etc");
    assert_eq!(outcome.out, "0\n1\n2\n3\nprogram\n0\n1\n2\n3\n", "{outcome:?}");
    assert_eq!(fs::read_to_string(&seen).unwrap(), "0\n1\n2\n3\n", "createContainer");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "0\n1\n2\n3\n", "createRuntime");
}

#[test]
fn without_pivot_root_nobody_climbs_out_and_the_hosts_mounts_are_gone() {
    let attack = |how: &str, capability: &[&str], hooks: bool| {
        let sandbox = Sandbox::new("").with(|document| document["noPivot"] = json!(true)).config(|config| {
            config["process"]["args"] = json!(["/attack", "--break-out", how]);
            for set in ["bounding", "effective", "permitted"] {
                let set = config["process"]["capabilities"][set].as_array_mut().unwrap();
                set.extend(capability.iter().map(|name| json!(name)));
            }
        });
        fs::copy(executable(), sandbox.path("image/attack")).unwrap();
        if hooks {
            with_hooks(sandbox, json!({"createContainer": [hook("true")]}))
        } else {
            sandbox.on_directory()
        }
    };
    let seen = |outcome: Outcome| {
        assert_eq!(outcome.status, 0, "{outcome:?}");
        outcome.out.trim_end().to_owned()
    };
    for hooks in [false, true] {
        // Docker's capabilities: the classic way out of a chroot(2), by a directory that was kept.
        assert_eq!(seen(attack("climb", &[], hooks).run_without_pivot()), "", "hooks: {hooks}");
        // Who may unmount uncovers the bare root, an initramfs where this is needed; but nothing that was mounted on it.
        let uncover = || attack("uncover", &["CAP_SYS_ADMIN"], hooks);
        assert_eq!(seen(uncover().run_without_pivot()), "/usr", "hooks: {hooks}");
        // And where it is not needed, nothing.
        assert_eq!(seen(uncover().run()), "", "hooks: {hooks}");
    }
}
