//! Trees that do not want to go, and things beside them that must stay.

mod support;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use kapsel_storage::remove::remove_tree;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use support::*;

/// In memory where there is such a place: a disk would take most of a minute for these trees.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn what_is_not_there_is_removed_already() {
    let top = scratch();
    remove_tree(&top.path().join("none")).unwrap();
    remove_tree(&top.path().join("none/at/all")).unwrap();
}

#[test]
fn files_links_pipes_and_trees_go() {
    let top = scratch();
    let tree = top.path().join("tree");
    std::fs::create_dir_all(tree.join("a/b/c")).unwrap();
    std::fs::write(tree.join("a/f"), "x").unwrap();
    symlink("nowhere", tree.join("a/dangling")).unwrap();
    nix::unistd::mkfifo(&tree.join("a/b/pipe"), Mode::S_IRWXU).unwrap();
    remove_tree(&tree).unwrap();
    std::fs::write(&tree, "a file").unwrap();
    remove_tree(&tree).unwrap();
    assert!(!tree.exists());
}

#[test]
fn links_are_removed_and_not_followed() {
    let top = scratch();
    let (tree, victim) = (top.path().join("tree"), top.path().join("victim"));
    std::fs::create_dir_all(victim.join("sub")).unwrap();
    std::fs::write(victim.join("sub/f"), "x").unwrap();
    std::fs::create_dir(&tree).unwrap();
    symlink(&victim, tree.join("away")).unwrap();
    symlink("../victim/sub", tree.join("relative")).unwrap();
    let before = facts(&victim);
    remove_tree(&tree).unwrap();
    assert_eq!(facts(&victim), before);
    // The top itself may be one.
    symlink(&victim, &tree).unwrap();
    remove_tree(&tree).unwrap();
    assert_eq!(facts(&victim), before);
    assert!(tree.symlink_metadata().is_err());
}

#[test]
fn names_of_any_bytes_go() {
    let top = scratch();
    let tree = top.path().join("tree");
    for name in [&b"new\nline"[..], b"-rf", b"\xff\xfe", b"*", b"...", b" ", &[b'n'; 255]] {
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name);
        std::fs::create_dir_all(tree.join("d").join(name)).unwrap();
        std::fs::write(tree.join(name), "").unwrap();
    }
    remove_tree(&tree).unwrap();
    assert!(!tree.exists());
}

#[test]
fn ten_thousand_levels_go() {
    let top = scratch();
    let tree = top.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let mut at = nix::fcntl::open(&tree, OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    for level in 0..10_000 {
        // Neighbours that sort on both sides, so that levels are left and found again in the middle.
        for name in ["a", "d", "z"] {
            mkdirat(&at, name, Mode::S_IRWXU).unwrap();
            if level % 1000 != 0 && name != "d" {
                nix::unistd::unlinkat(&at, name, nix::unistd::UnlinkatFlags::RemoveDir).unwrap();
            }
        }
        at = openat(&at, "d", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
    drop(at);
    remove_tree(&tree).unwrap();
    assert!(!tree.exists());
}

#[test]
fn many_entries_go() {
    let top = scratch();
    let tree = top.path().join("tree");
    for i in 0..3000 {
        std::fs::create_dir_all(tree.join(format!("{i}"))).unwrap();
        std::fs::write(tree.join(format!("{i}/f")), "").unwrap();
        std::fs::write(tree.join(format!("f{i}")), "").unwrap();
    }
    remove_tree(&tree).unwrap();
    assert!(!tree.exists());
}

/// In a user namespace of one id nothing of root's power helps: modes count. Run as root or not.
#[test]
fn modes_of_000_do_not_protect_an_owners_directory() {
    // Not in /dev/shm, from which nothing may be executed on many machines.
    let top = tempfile::tempdir().unwrap();
    let tree = top.path().join("tree");
    std::fs::create_dir_all(tree.join("closed/inner/deep")).unwrap();
    std::fs::write(tree.join("closed/inner/f"), "").unwrap();
    for path in ["closed/inner/deep", "closed/inner", "closed", ""] {
        let mode = if path == "closed" { 0o500 } else { 0 };
        std::fs::set_permissions(tree.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    if nix::unistd::geteuid().is_root() {
        // As nobody, with nothing but ownership.
        run("chown", &["-R", "65534:65534", top.path().to_str().unwrap()]);
        let test = std::env::current_exe().unwrap();
        let copy = top.path().join("test");
        std::fs::copy(test, &copy).unwrap();
        let output = std::process::Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(&copy)
            .args(["--exact", "remove_what_the_environment_names"])
            .env("KAPSEL_REMOVE", &tree)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    } else {
        remove_tree(&tree).unwrap();
    }
    assert!(tree.symlink_metadata().is_err());
}

/// The part of other tests that runs as somebody else or somewhere else.
#[test]
fn remove_what_the_environment_names() {
    let Some(tree) = std::env::var_os("KAPSEL_REMOVE") else { return };
    if let Err(error) = remove_tree(Path::new(&tree)) {
        panic!("{} {error}", error.code);
    }
}

#[test]
fn mounts_are_not_crossed() {
    if !root() {
        return;
    }
    let top = scratch();
    let (tree, victim) = (top.path().join("tree"), top.path().join("victim"));
    std::fs::create_dir_all(tree.join("a/mounted")).unwrap();
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("f"), "x").unwrap();
    // In a mount namespace of its own, of the same file system: only the mount itself tells it apart.
    let script =
        "mount --bind \"$1\" \"$2\"; \"$3\" --exact remove_what_the_environment_names --nocapture 2>&1";
    let output = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([&victim, &tree.join("a/mounted")])
        .arg(std::env::current_exe().unwrap())
        .env("KAPSEL_REMOVE", &tree)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && text.contains("TREE_BUSY") && text.contains("'mounted'"), "{text}");
    assert_eq!(std::fs::read(victim.join("f")).unwrap(), b"x");
    remove_tree(&tree).unwrap();
}

#[test]
fn several_at_once_remove_one_tree() {
    let top = scratch();
    let tree = top.path().join("tree");
    for _ in 0..50 {
        for directory in 0..40 {
            std::fs::create_dir_all(tree.join(format!("{directory}/a/b"))).unwrap();
        }
        std::thread::scope(|scope| {
            let removers = [(); 4].map(|()| scope.spawn(|| remove_tree(&tree)));
            for remover in removers {
                remover.join().unwrap().unwrap();
            }
        });
        assert!(!tree.exists());
    }
}

#[test]
fn trees_that_are_renamed_meanwhile_do_no_harm() {
    let top = scratch();
    let (tree, victim) = (top.path().join("tree"), top.path().join("victim"));
    std::fs::create_dir_all(victim.join("d/d/d")).unwrap();
    std::fs::write(victim.join("f"), "x").unwrap();
    let before = facts(&victim);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Swaps a directory for a link to the victim and back, as fast as it can.
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = std::fs::create_dir_all(tree.join("d/d"));
                let _ = std::fs::rename(tree.join("d"), tree.join("aside"));
                let _ = symlink(&victim, tree.join("d"));
                let _ = std::fs::remove_file(tree.join("d"));
            }
        });
        for _ in 0..300 {
            // It may fail, and may not harm.
            let _ = remove_tree(&tree);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(facts(&victim), before);
    remove_tree(&tree).unwrap();
}
