//! Files that layers have alike become one file, and nobody can tell.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use kapsel_storage::share::{Newcomer, Saved, share};
use support::set_xattr;

/// Layers below one directory.
struct Store(tempfile::TempDir);

impl Store {
    fn new() -> Self {
        Store(tempfile::tempdir().unwrap())
    }

    fn tree(&self, name: &str) -> PathBuf {
        let tree = self.0.path().join(name);
        fs::create_dir_all(&tree).unwrap();
        tree
    }

    /// A file of this text, again and again, with fixed times, and its directories too.
    fn file(&self, layer: &str, path: &str, text: &str) -> PathBuf {
        let path = self.tree(layer).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text.repeat(8192 / text.len())).unwrap();
        age(&path);
        age(path.parent().unwrap());
        path
    }

    fn share(&self, layer: &str, with: &[&str]) -> Saved {
        let with = with.iter().map(|name| self.0.path().join(name)).collect();
        share(&Newcomer { tree: self.tree(layer), with }).unwrap()
    }
}

fn age(path: &Path) {
    let then = UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    fs::File::open(path).unwrap().set_modified(then).unwrap();
}

fn inode(path: &Path) -> (u64, u64) {
    let facts = fs::symlink_metadata(path).unwrap();
    (facts.ino(), facts.nlink())
}

#[test]
fn what_is_alike_under_one_path_is_one_file_and_its_blocks_are_free() {
    let store = Store::new();
    let (first, second) = (store.file("a", "usr/lib/x", "same"), store.file("b", "usr/lib/x", "same"));
    let bytes = fs::metadata(&second).unwrap().blocks() * 512;
    let directory = second.parent().unwrap().to_owned();
    let before = fs::metadata(&directory).unwrap().modified().unwrap();
    assert_eq!(store.share("b", &["gone", "a"]), Saved { files: 1, bytes });
    assert_eq!(inode(&first), inode(&second));
    assert_eq!(inode(&first).1, 2);
    assert_eq!(fs::metadata(&directory).unwrap().modified().unwrap(), before);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    // Of three, and the third removed.
    store.file("c", "usr/lib/x", "same");
    assert_eq!(store.share("c", &["b", "a"]).files, 1);
    assert_eq!(inode(&first).1, 3);
    fs::remove_dir_all(store.tree("c")).unwrap();
    assert_eq!((inode(&first).1, fs::read(&second).unwrap().len()), (2, 8192));
}

#[test]
fn whatever_a_container_could_see_keeps_them_apart() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 6] = [
        ("bytes", |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[8000] ^= 1;
            fs::write(path, bytes).unwrap();
            age(path);
        }),
        ("length", |path| {
            fs::write(path, "same".repeat(2047)).unwrap();
            age(path);
        }),
        ("mode", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o4755)).unwrap()),
        ("owner", |path| nix::unistd::chown(path, Some(1000.into()), None).unwrap()),
        ("time", |path| {
            let then = UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_788);
            fs::File::open(path).unwrap().set_modified(then).unwrap();
        }),
        ("attribute", |path| {
            set_xattr(path, "user.containers.override_stat", b"1:1:0644");
        }),
    ];
    for (what, change) in changes {
        if what == "owner" && !nix::unistd::geteuid().is_root() {
            continue;
        }
        let store = Store::new();
        store.file("a", "f", "same");
        change(&store.file("b", "f", "same"));
        assert_eq!(store.share("b", &["a"]), Saved::default(), "{what}");
    }
}

#[test]
fn no_container_sees_one_file_under_names_that_were_not_linked() {
    let store = Store::new();
    store.file("a", "one", "same");
    store.file("a", "small", "same");
    fs::write(store.tree("a").join("small"), "same").unwrap();
    // Another path, a file that has two names of its own, one that is too small to matter.
    store.file("b", "two", "same");
    fs::hard_link(store.file("b", "one", "same"), store.tree("b").join("again")).unwrap();
    fs::copy(store.tree("a").join("small"), store.tree("b").join("small")).unwrap();
    assert_eq!(store.share("b", &["a"]), Saved::default());
    // One name of b's two: what lies on b must not look linked to the other.
    store.file("c", "one", "same");
    fs::remove_file(store.tree("a").join("one")).unwrap();
    assert_eq!(store.share("c", &["b", "a"]), Saved::default());
    assert_eq!(inode(&store.tree("c").join("one")).1, 1);
}

#[test]
fn links_lead_nowhere_and_names_that_are_taken_stay() {
    let store = Store::new();
    let outside = store.file("outside", "d/f", "same");
    store.file("a", "x", "same");
    symlink(store.tree("outside").join("d"), store.tree("a").join("d")).unwrap();
    store.file("b", "d/f", "same");
    // Inside, too: that file has another path.
    store.file("a", "real/f", "same");
    symlink("real", store.tree("a").join("e")).unwrap();
    store.file("b", "e/f", "same");
    assert_eq!(store.share("b", &["a"]), Saved::default());
    symlink(&outside, store.tree("c").join("f")).unwrap();
    symlink(store.tree("outside").join("d"), store.tree("c").join("d")).unwrap();
    store.file("a", "f", "same");
    assert_eq!(store.share("c", &["a", "outside"]), Saved::default());
    assert_eq!(inode(&outside).1, 1);
    // A hostile layer may have the name that the link has for a moment.
    let (mine, taken) = (store.file("e", "f", "same"), store.file("e", ".kapsel-shared", "taken"));
    assert_eq!(store.share("e", &["a"]), Saved::default());
    assert_eq!((inode(&mine).1, &fs::read(taken).unwrap()[..5]), (1, &b"taken"[..]));
}

#[test]
fn holes_are_neither_read_nor_taken_for_a_difference() {
    let store = Store::new();
    let make = |layer: &str, written: bool| {
        let path = store.file(layer, "f", "same");
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        if written {
            use std::os::unix::fs::FileExt;
            file.write_all_at(&[0; 4096], 1 << 30).unwrap();
        }
        age(&path);
        path
    };
    let (first, second) = (make("a", false), make("b", true));
    assert_eq!(store.share("b", &["a"]).files, 1);
    assert_eq!(inode(&first), inode(&second));
}
