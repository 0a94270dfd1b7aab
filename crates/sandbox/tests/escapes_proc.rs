//! Escapes by a forged /proc: what the runtime tells the kernel must go to the kernel, and what the kernel has must not
//! come to lie under the image's names.
//!
//! | escape | test | failed when |
//! |---|---|---|
//! | CVE-2019-19921, 2025-52881, youki 2025-62596 | `parameters_go_…` | sysctl.rs, process.rs: written by path once inside |
//! | CVE-2019-16884, 2025-52881 | `a_label_is_told_…` | labels.rs: written by path |
//! | the same, where /proc of the runtime itself is covered | `what_is_mounted_over_…` | kapsel-proc: no instance of its own |
//! | CVE-2025-52565 | `a_terminal_is_the_…` | terminal.rs: the slave is bound by its path |

mod common;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use common::Sandbox;
use nix::sys::stat::{Mode, SFlag, mknod};
use serde_json::json;

/// Takes the kernel's /proc away, and has one at /kernel.
fn without_proc(sandbox: Sandbox) -> Sandbox {
    sandbox.on_directory().mount("proc", "proc", "/kernel", &[]).config(|config| {
        config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/proc");
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    })
}

fn forge(sandbox: &Sandbox, file: &str) -> std::path::PathBuf {
    let forged = sandbox.path("image/proc").join(file);
    fs::create_dir_all(forged.parent().unwrap()).unwrap();
    fs::write(&forged, "forged").unwrap();
    forged
}

#[test]
fn parameters_go_to_the_kernel_and_not_to_the_images_proc() {
    let sandbox = without_proc(Sandbox::new(
        "cat /kernel/sys/net/ipv4/ip_forward /kernel/self/oom_score_adj /kernel/sys/kernel/domainname",
    ));
    let forged =
        ["sys/net/ipv4/ip_forward", "sys/kernel/domainname", "self/oom_score_adj", "1/oom_score_adj"]
            .map(|file| forge(&sandbox, file));
    let sandbox = sandbox.config(|config| {
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.domainname": "inside"});
        config["process"]["oomScoreAdj"] = json!(321);
    });
    assert_eq!(sandbox.output(), "1\n321\ninside");
    for file in forged {
        assert_eq!(fs::read_to_string(&file).unwrap(), "forged", "{}", file.display());
    }
}

#[test]
fn what_is_mounted_over_the_hosts_own_proc_is_not_asked() {
    // The runtime may itself be in a container, whose maker or whose other inhabitants have covered a part of /proc.
    let sandbox = Sandbox::new("cat /proc/sys/kernel/domainname").config(|config| {
        config["linux"]["sysctl"] = json!({"kernel.domainname": "inside"});
    });
    let forged = sandbox.path("forged");
    fs::write(&forged, "0").unwrap();
    let monitor = sandbox.command();
    let mut covered = std::process::Command::new("unshare");
    let cover = "mount --bind \"$0\" /proc/sys/kernel/domainname && exec \"$@\"";
    covered.args(["--mount", "sh", "-c", cover]).arg(&forged);
    let outcome =
        common::outcome(covered.arg(monitor.get_program()).args(monitor.get_args()).output().unwrap());
    assert_eq!((outcome.status, outcome.out.as_str()), (0, "inside\n"), "{outcome:?}");
    assert_eq!(fs::read_to_string(&forged).unwrap(), "0");
}

#[test]
fn a_label_is_told_to_the_kernel_and_not_to_the_images_proc() {
    for (field, files) in [
        ("apparmorProfile", &["self/attr/apparmor/exec", "self/attr/exec", "thread-self/attr/exec"][..]),
        ("selinuxLabel", &["self/attr/exec", "thread-self/attr/exec"]),
    ] {
        let sandbox = without_proc(Sandbox::new("echo ran without its label"));
        let forged: Vec<_> = files.iter().map(|file| forge(&sandbox, file)).collect();
        let sandbox = sandbox.config(|config| config["process"][field] = json!("kapsel-test:no:such:label"));
        // A forgery would take it for granted.
        let refusal = sandbox.refusal();
        assert!(refusal.contains("label") || refusal.contains("profile"), "{refusal}");
        for file in forged {
            assert_eq!(fs::read_to_string(&file).unwrap(), "forged", "{}", file.display());
        }
    }
}

#[test]
fn a_terminal_is_the_one_that_was_opened_though_its_path_keeps_changing() {
    // /dev is a volume in which an accomplice swaps pts while the container starts.
    let sandbox =
        Sandbox::new("stat -c %t:%T /dev/console").with(|document| document["terminal"] = json!(true));
    let volume = sandbox.path("volume");
    fs::create_dir_all(volume.join("evil")).unwrap();
    fs::create_dir(volume.join("pts")).unwrap();
    for (name, minor) in [("null", 3), ("zero", 5)] {
        mknod(&volume.join(name), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), libc::makedev(1, minor))
            .unwrap();
    }
    fs::write(volume.join("console"), "").unwrap();
    symlink("/dev/zero", volume.join("evil/0")).unwrap();
    let sandbox = sandbox.config(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| {
            let destination = mount["destination"].as_str().unwrap();
            !destination.starts_with("/dev") || destination == "/dev/pts"
        });
        mounts.insert(
            0,
            json!({"destination": "/dev", "type": "bind", "source": volume, "options": ["rbind"]}),
        );
    });
    let stop = AtomicBool::new(false);
    let (mut good, mut bad) = (0, Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&volume, &stop));
        for _ in 0..60 {
            // Where pts is not there at the wrong moment the start fails, as it may.
            let outcome = sandbox.run();
            if outcome.status == 0 {
                good += 1;
                if !outcome.out.starts_with("88:") {
                    bad.push(outcome.out);
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(bad.is_empty(), "{bad:?} of {good}");
    assert!(good > 0);
}

fn swap(volume: &Path, stop: &AtomicBool) {
    let (pts, evil, aside) = (volume.join("pts"), volume.join("evil"), volume.join("aside"));
    while !stop.load(Ordering::Relaxed) {
        let _ = fs::rename(&pts, &aside);
        let _ = fs::rename(&evil, &pts);
        std::thread::sleep(std::time::Duration::from_micros(200));
        let _ = fs::rename(&pts, &evil);
        let _ = fs::rename(&aside, &pts);
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
}
