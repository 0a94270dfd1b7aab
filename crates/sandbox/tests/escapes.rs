//! The escapes of the past (and what is like them), attempted for real: each must fail, and the host be as it was.
//!
//! The last column is what was really done: that defence was taken out of a copy, and the test failed. Where one defence
//! alone was not enough to see it fail, another holds as well, and both were taken out.
//!
//! | escape | test (here or in the file named) | failed when |
//! |---|---|---|
//! | CVE-2019-5736 | `the_runtimes_executable_…`, rootless.rs, oci/escape.rs | seal.rs: `seal` does nothing; and: mounted writable |
//! | CVE-2016-9962 | exec.rs `nobody_inside_…`, oci/escape.rs `who_…` | namespaces.rs: `hide` does nothing. Of its calls in join.rs, launch.rs and process.rs three combinations were taken out |
//! | CVE-2019-16884, 2019-19921, 2023-27561, 2023-28642, 2026-41579, crun 2026-47766 | `a_kernel_directory_…` | mounts/build.rs: `plain` is false |
//! | CVE-2025-52881, youki 2025-62596 | `nothing_is_mounted_over_…`; escapes_proc.rs | mounts/mod.rs: no refuse_kernel_files |
//! | youki CVE-2025-54867 | `a_device_name_that_…` | devices.rs: EEXIST is no error |
//! | CVE-2021-30465, 2024-45310 | `a_mount_point_behind_…`, `a_mount_point_that_…`; escapes_hooks.rs | resolve.rs: no RESOLVE_IN_ROOT, and mounts attached before pivot_root; with hooks the first alone |
//! | CVE-2023-25809 | rootless.rs `no_cgroup_of_…` | mounts/build.rs: not read-only |
//! | CVE-2022-29162, crun 2022-27650 | exec.rs `it_gets_no_…`, oci/escapes.rs | capabilities.rs: inheritable = permitted; and: the ambient set is not cleared |
//! | CVE-2024-21626 | `a_working_directory_through_…`, exec.rs, program.rs | workdir.rs: chdir by path. Without RESOLVE_NO_MAGICLINKS and `verify` the kernel still refuses: RESOLVE_IN_ROOT allows no magic link; streams.rs: no close_range |
//! | CVE-2025-31133, youki 2025-62161 | `what_masks_a_path_…` | devices.rs: `null` looks at nothing |
//! | CVE-2025-52565 | escapes_proc.rs, terminal.rs `a_console_…` | terminal.rs: bound by path |
//! | crun CVE-2026-30892 | program.rs `an_unknown_or_malformed_…`, oci/escapes.rs | identity/accounts.rs: what does not parse is 0; oci/bundle.rs: null is absent |
//! | runc issue 1962 | `even_with_every_…`; escapes_hooks.rs | root.rs: the old root is not taken off |
//! | CVE-2022-0492 | `release_agent_…` | CAP_SYS_ADMIN is given, and no cgroup namespace: the test does it itself, and then the attack writes |
//! | CRI-O CVE-2022-0811 | `parameters_of_the_host_…` | sysctl.rs: no check_namespace; no check_value; any name |
//! | CVE-2022-23648 | `a_volume_whose_…` | mounts/build.rs: the destination is not cleaned |
//! | podman CVE-2026-55686 | `a_working_directory_that_…` | launch.rs: the directory is made by path before the root is entered |
//! | a terminal of another place | terminal.rs `a_device_node_…`, `a_link_in_place_…` | terminal.rs: any file system's ptmx; links followed |
//! | a container without a monitor | isolation.rs `a_container_ends_…`, oci/crash.rs `a_creator_killed_during_…` | process.rs: no PR_SET_PDEATHSIG at all, or none after the user is another; launch.rs: none while it is made |
//! | files of accounts | `user_files_that_…` | identity: no O_NONBLOCK and any kind of file, together |

mod common;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use common::{Sandbox, executable};
use serde_json::{Value, json};

fn give(config: &mut Value, capability: &str) {
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!(capability));
    }
}

/// A directory of the "host" that the container must never change, and its contents as a sorted list.
fn victim(sandbox: &Sandbox) -> std::path::PathBuf {
    let victim = sandbox.path("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("secret"), "the host's").unwrap();
    victim
}

fn contents(directory: &Path) -> Vec<(String, u64, i64)> {
    let entry = |entry: fs::DirEntry| {
        let data = entry.metadata().unwrap();
        (entry.file_name().into_string().unwrap(), data.ino(), data.ctime())
    };
    let mut all: Vec<_> = fs::read_dir(directory).unwrap().map(|e| entry(e.unwrap())).collect();
    all.sort();
    all
}

#[test]
fn a_kernel_directory_that_is_a_link_or_a_file_is_refused() {
    // CVE-2019-16884, 2019-19921, 2023-27561, 2023-28642, 2026-41579, crun 2026-47766, youki 2025-54867.
    for name in ["proc", "sys", "dev"] {
        for target in ["/victim", "../../../../../../../..", "/tmp"] {
            let sandbox = Sandbox::new("true");
            let victim = victim(&sandbox);
            symlink(
                if target == "/victim" { victim.to_str().unwrap() } else { target },
                sandbox.path("image").join(name),
            )
            .unwrap();
            let before = contents(&victim);
            let refusal = sandbox.refusal();
            assert!(refusal.contains("symbolic link"), "{name}: {refusal}");
            assert_eq!(contents(&victim), before);
        }
        let sandbox = Sandbox::new("true");
        fs::write(sandbox.path("image").join(name), "a file").unwrap();
        assert!(sandbox.refusal().starts_with("MOUNT_FAILED"));
    }
}

#[test]
fn a_forged_proc_is_covered_by_the_kernels() {
    let sandbox = Sandbox::new("cat /proc/self/attr/exec /proc/version");
    fs::create_dir_all(sandbox.path("image/proc/self/attr")).unwrap();
    fs::write(sandbox.path("image/proc/version"), "forged").unwrap();
    let outcome = sandbox.run();
    assert!(outcome.out.contains("Linux version") && !outcome.out.contains("forged"), "{outcome:?}");
}

#[test]
fn a_mount_point_behind_a_link_stays_inside() {
    // CVE-2021-30465: absolute, relative and dangling links out of the image.
    for target in ["/victim", "../../../../../../../../../../..{victim}", "{victim}", "{victim}/new/deep"] {
        let sandbox = Sandbox::new("touch /data/inside");
        let victim = victim(&sandbox);
        let target = target.replace("{victim}", victim.to_str().unwrap());
        symlink(&target, sandbox.path("image/data")).unwrap();
        let volume = sandbox.path("volume");
        fs::create_dir(&volume).unwrap();
        let before = contents(&victim);
        let sandbox = sandbox.mount("bind", &volume, "/data", &["rbind"]);
        let outcome = sandbox.run();
        assert_eq!(outcome.status, 0, "{target}: {outcome:?}");
        assert!(volume.join("inside").exists(), "{target}");
        assert_eq!(contents(&victim), before, "{target}");
    }
}

#[test]
fn a_mount_point_that_keeps_changing_into_a_link_stays_inside() {
    // CVE-2021-30465, CVE-2024-45310: another process of the attacker's swaps it while containers start.
    let sandbox = Sandbox::new("true").on_directory();
    let victim = victim(&sandbox);
    let (volume, shared) = (sandbox.path("volume"), sandbox.path("image/shared"));
    fs::create_dir(&volume).unwrap();
    fs::create_dir(&shared).unwrap();
    symlink(format!("../../../../../../../../../../..{}", victim.display()), shared.join("link")).unwrap();
    fs::create_dir(shared.join("real")).unwrap();
    let sandbox = sandbox
        .mount("bind", &volume, "/shared/point/new", &["rbind"])
        .with(|document| document["repeat"] = json!(60));
    let before = contents(&victim);
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
        for _ in 0..5 {
            // Some of the starts fail, as they may.
            let _ = sandbox.run();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(contents(&victim), before);
}

#[test]
fn nothing_is_mounted_over_files_of_proc() {
    // CVE-2025-52881: an image's link, or the document itself, leads a volume into /proc.
    let volume_file = |sandbox: &Sandbox| {
        let file = sandbox.path("file");
        fs::write(&file, "forged").unwrap();
        file
    };
    let sandbox = Sandbox::new("cat /proc/self/attr/exec");
    symlink("/proc/self/attr/exec", sandbox.path("image/data")).unwrap();
    let file = volume_file(&sandbox);
    assert!(sandbox.mount("bind", &file, "/data", &["bind"]).refusal().contains("/proc"));
    let sandbox = Sandbox::new("true");
    let file = volume_file(&sandbox);
    assert!(sandbox.mount("bind", &file, "/proc/sysrq-trigger", &["bind"]).refusal().contains("/proc"));
    // What LXCFS does is allowed.
    let sandbox = Sandbox::new("cat /proc/uptime");
    let file = volume_file(&sandbox);
    assert_eq!(sandbox.mount("bind", &file, "/proc/uptime", &["bind"]).output(), "forged");
}

#[test]
fn what_masks_a_path_is_the_null_device() {
    // CVE-2025-31133, youki CVE-2025-62161: a /dev of the attacker's, in which null is something else.
    for forge in ["file", "link", "other device"] {
        let sandbox = Sandbox::new("cat /proc/keys");
        let volume = sandbox.path("volume");
        fs::create_dir(&volume).unwrap();
        match forge {
            "file" => fs::write(volume.join("null"), "forged").unwrap(),
            "link" => symlink("/proc/self/environ", volume.join("null")).unwrap(),
            _ => {
                let kind = nix::sys::stat::SFlag::S_IFCHR;
                let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
                nix::sys::stat::mknod(&volume.join("null"), kind, mode, libc::makedev(1, 5)).unwrap();
            }
        }
        let refusal = sandbox.mount("bind", &volume, "/dev", &["rbind"]).refusal();
        assert!(refusal.contains("/dev/null"), "{forge}: {refusal}");
    }
}

#[test]
fn a_device_name_that_the_image_occupied_is_refused() {
    let sandbox = Sandbox::new("true").on_directory().config(|config| {
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    });
    let victim = victim(&sandbox);
    fs::create_dir(sandbox.path("image/dev")).unwrap();
    // Not null, which is looked at once more before it masks anything.
    symlink(victim.join("secret"), sandbox.path("image/dev/zero")).unwrap();
    let before = contents(&victim);
    assert!(sandbox.refusal().contains("/dev/zero"));
    assert_eq!(contents(&victim), before);
}

#[test]
fn a_working_directory_through_a_descriptor_or_a_link_never_leaves() {
    // CVE-2024-21626: every number that a runtime might have left open, and the host's root that its caller did.
    let sandbox = Sandbox::new("pwd; ls");
    for number in 3..=64 {
        for suffix in ["", "/..", "/../../.."] {
            if number > 16 && !suffix.is_empty() {
                continue;
            }
            let mut document = sandbox.document.clone();
            document["config"]["process"]["cwd"] = json!(format!("/proc/self/fd/{number}{suffix}"));
            let program = executable().to_owned();
            let attempt = Sandbox { directory: tempfile::tempdir().unwrap(), document, program };
            let monitor = attempt.command();
            let mut careless = std::process::Command::new("bash");
            careless.args(["-c", "exec 3</ 7</ 12</ 30</ 64</; exec \"$@\"", "bash"]);
            careless.arg(monitor.get_program()).args(monitor.get_args());
            let outcome = common::outcome(careless.output().unwrap());
            let inside = outcome.out.starts_with('/') && !outcome.out.contains("boot");
            assert!(outcome.status == 125 || inside, "{number}{suffix}: {outcome:?}");
            assert!(!suffix.is_empty() || outcome.status == 125, "{number}: {outcome:?}");
        }
    }
}

#[test]
fn a_working_directory_that_is_a_link_makes_nothing_outside() {
    // podman CVE-2026-55686: an absolute link and one that climbs, over an overlay and over a directory of the host.
    for up in ["", "../../../../../../../../../.."] {
        for directory in [false, true] {
            let sandbox = Sandbox::new("pwd").config(|config| config["process"]["cwd"] = json!("/work/new"));
            let sandbox = if directory { sandbox.on_directory() } else { sandbox };
            let victim = victim(&sandbox);
            symlink(format!("{up}{}", victim.display()), sandbox.path("image/work")).unwrap();
            let before = contents(&victim);
            let outcome = sandbox.run();
            assert_eq!(contents(&victim), before);
            assert_eq!(outcome.out.trim(), victim.join("new").to_str().unwrap(), "made inside: {outcome:?}");
        }
    }
}

#[test]
fn the_runtimes_executable_cannot_be_changed() {
    // CVE-2019-5736, in its three forms: the program is /proc/self/exe, a script has it as its interpreter, and the init.
    let attack = "for p in /proc/[0-9]*/exe /proc/self/exe; do (exec 9< $p; f=/proc/self/fd/9; \
        chmod 4777 $f; chown 1000 $f; echo evil > $f; echo evil >> $f; dd if=/dev/zero of=$f conv=notrunc count=1; \
        touch $f); done 2>&1";
    let state = |sandbox: &Sandbox| {
        let data = fs::metadata(&sandbox.program).unwrap();
        (data.mode(), data.uid(), data.len(), data.mtime(), data.ctime(), fs::read(&sandbox.program).unwrap())
    };
    let powerful = |script: &str| {
        Sandbox::new(script).on_copy().config(|config| {
            for capability in ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH"] {
                give(config, capability);
            }
        })
    };
    // The init, with everything that lets its /proc/1/exe be opened; remounting is tried too.
    let script = format!("{attack}; mount -o remount,rw,bind /proc/1/exe; {attack}");
    let sandbox = powerful(&script).with(|document| document["init"] = json!(true));
    let before = state(&sandbox);
    let outcome = sandbox.run();
    assert!(outcome.out.contains("Read-only file system"), "the attack got as far as that: {outcome:?}");
    assert!(before == state(&sandbox));

    // The program itself, attacked by a process that was there before. The monitor runs sealed, as the runtime does.
    for program in ["/proc/self/exe", "/script"] {
        let name = format!("/kapsel-test-{}-seal", std::process::id());
        let sandbox = powerful(&format!("while :; do {attack}; done")).with(|document| {
            document["seal"] = json!(true);
            document["cgroup"] = json!(name);
            let mut process = common::process("");
            process["args"] = json!([program, "--sleep"]);
            document["exec"] = json!(vec![json!({"process": process}); 3]);
        });
        let script = sandbox.path("image/script");
        fs::write(&script, "#!/proc/self/exe --sleep\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let before = state(&sandbox);
        let outcome = sandbox.run();
        assert!(outcome.out.contains("Read-only file system"), "the attack got as far as that: {outcome:?}");
        assert_eq!(outcome.status, 0, "{}", outcome.err);
        assert!(before == state(&sandbox), "{program} gave a way to change the runtime");
    }
}

#[test]
fn release_agent_is_out_of_reach() {
    // CVE-2022-0492, also as root of a user namespace. An attack that succeeds writes what is there: nothing.
    let attack = "for f in /sys/fs/cgroup/*/release_agent; do echo > $f && echo WROTE; done; mkdir /m; \
        mount -t cgroup -o memory cgroup /m && echo > /m/release_agent && echo WROTE; \
        unshare -r -m -C sh -c 'mount -t cgroup -o memory cgroup /m && echo > /m/release_agent && echo WROTE'; true";
    let agent = Path::new("/sys/fs/cgroup/memory/release_agent");
    let before = fs::read_to_string(agent).unwrap_or_default();
    let name = format!("/kapsel-test-{}-agent", std::process::id());
    let sandbox = Sandbox::new(attack).with(|document| document["cgroup"] = json!(name));
    let outcome = sandbox.run();
    assert!(!outcome.out.contains("WROTE"), "{outcome:?}");
    if agent.exists() && before.trim().is_empty() {
        // The attack is one: who has what the container has not, writes.
        let powerful = sandbox.config(|config| {
            give(config, "CAP_SYS_ADMIN");
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|kind| kind["type"] != "cgroup");
        });
        let outcome = powerful.run();
        assert!(outcome.out.contains("WROTE"), "{outcome:?}");
    }
    assert_eq!(fs::read_to_string(agent).unwrap_or_default(), before);
}

#[test]
fn parameters_of_the_host_are_refused() {
    // CRI-O CVE-2022-0811.
    for (key, value) in [
        ("kernel.core_pattern", "|/bin/sh"),
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|/x"),
        ("kernel.shm_rmid_forced+kernel.core_pattern", "1"),
        ("net/../kernel/core_pattern", "x"),
        ("net.ipv4.ip_forward", "1\n1"),
        ("kernel.hostname", "x"),
    ] {
        let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        let refusal =
            Sandbox::new("true").config(|config| config["linux"]["sysctl"] = json!({key: value})).refusal();
        assert!(refusal.starts_with("CONFIG_INVALID") && refusal.contains("sysctl"), "{key}: {refusal}");
        assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
    }
    let refusal = Sandbox::new("true")
        .config(|config| {
            config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
            config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}]);
        })
        .refusal();
    assert!(refusal.contains("network"), "{refusal}");
}

#[test]
fn user_files_that_are_no_files_do_no_harm() {
    for forge in ["fifo", "directory", "huge", "magic"] {
        let sandbox = Sandbox::new("id -u").with(|document| document["user"] = json!("ann"));
        let file = sandbox.path("image/etc/passwd");
        fs::remove_file(&file).unwrap();
        match forge {
            "fifo" => nix::unistd::mkfifo(&file, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap(),
            "directory" => fs::create_dir(&file).unwrap(),
            "huge" => fs::File::create(&file).unwrap().set_len(1 << 40).unwrap(),
            _ => symlink("/proc/1/root/etc/passwd", &file).unwrap(),
        }
        let refusal = sandbox.refusal();
        assert!(refusal.contains("/etc/passwd"), "{forge}: {refusal}");
    }
}

#[test]
fn a_volume_whose_destination_climbs_stays_inside() {
    // CVE-2022-23648.
    let sandbox = Sandbox::new("cat /victim/f");
    let volume = sandbox.path("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("f"), "inside").unwrap();
    assert_eq!(sandbox.mount("bind", &volume, "/a/../../../victim", &["rbind"]).output(), "inside");
}

#[test]
fn even_with_every_capability_there_is_no_way_back_to_the_hosts_root() {
    // With chroot instead of pivot_root (runc issue 1962) this leads out.
    let script = "mkdir /j; cd /; chroot /j /x 2>/dev/null; umount -l /proc; \
        for i in 1 2 3 4 5 6 7 8 9; do cd ..; done; ls -d usr 2>/dev/null; \
        mkdir -p /m; mount --bind / /m; ls -d /m/usr 2>/dev/null; umount -l /; ls -d /usr 2>/dev/null; echo done";
    let sandbox = Sandbox::new(script).config(|config| {
        for capability in ["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_DAC_READ_SEARCH"] {
            give(config, capability);
        }
    });
    assert!(Path::new("/usr").exists());
    let output = sandbox.output();
    assert!(output.ends_with("done") && !output.contains("usr"), "{output}");
    fs::copy(executable(), sandbox.path("image/attack")).unwrap();
    let mut sandbox = sandbox;
    for how in ["climb", "uncover"] {
        sandbox.document["config"]["process"]["args"] = json!(["/attack", "--break-out", how]);
        assert!(!sandbox.output().contains("usr"), "{how}");
    }
}
