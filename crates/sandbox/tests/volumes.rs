//! Volumes, tmpfs, and copying an image's content up into them.

mod common;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    process::Command,
};

use common::{Sandbox, outcome};
use serde_json::json;

#[test]
fn a_directory_and_a_file_are_bound_and_their_mount_points_made() {
    let sandbox = Sandbox::new("cat /data/deep/in/f /etc/one; echo back > /data/deep/in/g");
    let (volume, file) = (sandbox.path("volume"), sandbox.path("file"));
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("f"), "volume ").unwrap();
    fs::write(&file, "file").unwrap();
    let sandbox = sandbox.mount("bind", &volume, "/data/deep/in", &["rbind", "rprivate"]).mount(
        "bind",
        &file,
        "/etc/one",
        &["bind", "ro"],
    );
    assert_eq!(sandbox.output(), "volume file");
    assert_eq!(fs::read(volume.join("g")).unwrap(), b"back\n");
}

#[test]
fn a_source_that_does_not_exist_is_an_error_in_dockers_words() {
    let refusal = Sandbox::new("true").mount("bind", "/no/such/source", "/data", &["rbind"]).refusal();
    assert!(refusal.contains("bind source path does not exist: /no/such/source"), "{refusal}");
    assert!(Sandbox::new("true").mount("bind", "relative", "/data", &[]).refusal().contains("absolute"));
    assert!(Sandbox::new("true").mount("tmpfs", "tmpfs", "/", &[]).refusal().contains("below /"));
}

#[test]
fn attributes_are_those_of_the_options() {
    let sandbox = Sandbox::new("grep -E ' /(v|t) ' /proc/self/mountinfo; touch /v/x; touch /t/x && echo t");
    let volume = sandbox.path("volume");
    fs::create_dir(&volume).unwrap();
    let result = sandbox
        .mount("bind", &volume, "/v", &["rbind", "ro", "nosuid", "nodev", "noexec", "noatime"])
        .mount("tmpfs", "tmpfs", "/t", &["nosuid", "noexec", "size=64k", "mode=700"])
        .run();
    assert!(result.out.contains(" /v ro,nosuid,nodev,noexec,noatime "), "{result:?}");
    assert!(
        result.out.contains(" /t rw,nosuid,noexec,relatime ") && result.out.contains("size=64k,mode=700")
    );
    assert!(result.err.contains("Read-only") && result.out.ends_with("t\n"), "{result:?}");
}

/// Runs the sandbox in a mount namespace of this test's own, after `prepare` in a shell.
fn in_own_mounts(sandbox: &Sandbox, prepare: &str, afterwards: &str) -> common::Outcome {
    let inner = sandbox.command();
    let words: Vec<_> = inner.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let script = format!("{prepare}; timeout {}; code=$?; {afterwards}; exit $code", words.join(" "));
    outcome(
        Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", &script])
            .output()
            .unwrap(),
    )
}

#[test]
fn recursively_read_only_means_the_mounts_below_too() {
    for (option, written) in [("ro", true), ("rro", false)] {
        let sandbox = Sandbox::new("touch /v/below/x && echo written");
        let volume = sandbox.path("volume");
        fs::create_dir_all(volume.join("below")).unwrap();
        let mount = format!("mount -t tmpfs x {}/below", volume.display());
        let sandbox = sandbox.mount("bind", &volume, "/v", &["rbind", option]);
        let result = in_own_mounts(&sandbox, &mount, "true");
        assert_eq!(result.out.contains("written"), written, "{option}: {result:?}");
    }
}

#[test]
fn a_private_volume_propagates_nothing_and_a_shared_one_does() {
    for (option, seen) in [("rprivate", false), ("rslave", false), ("rshared", true)] {
        let sandbox =
            Sandbox::new("mkdir -p /v/m; mount -t tmpfs x /v/m && touch /v/m/inside").config(|config| {
                for set in ["bounding", "effective", "permitted"] {
                    config["process"]["capabilities"][set]
                        .as_array_mut()
                        .unwrap()
                        .push(json!("CAP_SYS_ADMIN"));
                }
            });
        let volume = sandbox.path("volume");
        fs::create_dir(&volume).unwrap();
        let path = volume.display();
        let prepare = format!("mount --bind {path} {path}; mount --make-shared {path}");
        let sandbox = sandbox.mount("bind", &volume, "/v", &["rbind", option]);
        let result = in_own_mounts(&sandbox, &prepare, &format!("ls {path}/m"));
        assert_eq!(result.out.contains("inside"), seen, "{option}: {result:?}");
    }
}

#[test]
fn an_empty_volume_begins_with_the_images_content() {
    let sandbox = Sandbox::new("cat /data/sub/f; readlink /data/link");
    let image = sandbox.path("image/data");
    fs::create_dir_all(image.join("sub")).unwrap();
    fs::write(image.join("sub/f"), "content\n").unwrap();
    fs::set_permissions(image.join("sub/f"), fs::Permissions::from_mode(0o4750)).unwrap();
    chown(image.join("sub/f"), Some(7), Some(8)).unwrap();
    fs::set_permissions(image.join("sub/f"), fs::Permissions::from_mode(0o4750)).unwrap();
    symlink("/etc/passwd", image.join("link")).unwrap();
    chown(&image, Some(5), Some(6)).unwrap();
    fs::set_permissions(&image, fs::Permissions::from_mode(0o711)).unwrap();
    let volume = sandbox.path("volume");
    fs::create_dir(&volume).unwrap();
    let sandbox = sandbox
        .mount("bind", &volume, "/data", &["rbind"])
        .with(|document| document["copyUp"] = json!(["/data/"]));
    assert_eq!(sandbox.output(), "content\n/etc/passwd");
    let of = |name: &str| fs::symlink_metadata(volume.join(name)).unwrap();
    assert_eq!((of("sub/f").mode() & 0o7777, of("sub/f").uid(), of("sub/f").gid()), (0o4750, 7, 8));
    assert_eq!((of("").mode() & 0o7777, of("").uid(), of("").gid()), (0o711, 5, 6));
    // What the link leads to was not copied, let alone the host's.
    assert!(of("link").is_symlink());

    // A volume that has something keeps it.
    fs::write(volume.join("sub/f"), "mine\n").unwrap();
    assert!(sandbox.output().starts_with("mine"));
}

#[test]
fn a_tmpfs_can_begin_with_the_images_content_too() {
    let sandbox =
        Sandbox::new("cat /data/f; echo x > /data/g").mount("tmpfs", "tmpfs", "/data", &["tmpcopyup"]);
    fs::create_dir(sandbox.path("image/data")).unwrap();
    fs::write(sandbox.path("image/data/f"), "content").unwrap();
    assert_eq!(sandbox.output(), "content");
    assert!(!sandbox.path("upper/data/g").exists());
}

#[test]
fn two_first_users_of_a_volume_do_not_meet() {
    let sandbox = Sandbox::new("ls /data | wc -l");
    fs::create_dir(sandbox.path("image/data")).unwrap();
    for number in 0..200 {
        fs::write(sandbox.path("image/data").join(number.to_string()), "x").unwrap();
    }
    let volume = sandbox.path("volume");
    fs::create_dir(&volume).unwrap();
    let sandbox = sandbox
        .mount("bind", &volume, "/data", &["rbind"])
        .with(|document| document["copyUp"] = json!(["/data"]));
    let other = Sandbox::new("ls /data | wc -l").with(|document| {
        *document = sandbox.document.clone();
    });
    let (upper, work) = (other.path("upper"), other.path("work"));
    let other = other.with(|document| {
        document["rootfs"]["upper"] = json!(upper);
        document["rootfs"]["work"] = json!(work);
    });
    let second = std::thread::spawn(move || other.output());
    assert_eq!(sandbox.output(), "200");
    assert_eq!(second.join().unwrap(), "200");
}
