//! Any tree → layer → tree is the identity; what lies on each other is exported as the kernel's overlayfs shows it.

#![allow(clippy::print_stdout)] // a test that fails shows its seed

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use kapsel_storage::changes::{ChangeKind, list, write_layer, write_merged};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use support::*;

/// A small generator: the same trees every time, and no dependency for it.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn name(&mut self) -> String {
        let alphabet: Vec<char> = "abcXYZ019 ._-+='\"\\\n\tßé漢".chars().collect();
        let length = self.one(&[1, 3, 10, 60]);
        let name: String = (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect();
        if matches!(&name[..], "." | "..") || name.starts_with(".wh.") { format!("x{name}") } else { name }
    }

    /// Owner, mode, attributes and times of something.
    fn adorn(&mut self, path: &Path) {
        let kind = path.symlink_metadata().unwrap().file_type();
        let id = |random: &mut Random| random.one(&[0, 1, 1000, 0o7777777, 0o10000000, 3_000_000_000]);
        let (uid, gid) = (Some(id(self).into()), Some(id(self).into()));
        nix::unistd::fchownat(AT_FDCWD, path, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW).unwrap();
        if kind.is_file() || kind.is_dir() {
            for _ in 0..self.below(3) {
                let value: Vec<u8> = (0..self.one(&[0, 1, 40, 900])).map(|_| self.below(256) as u8).collect();
                set_xattr(path, &format!("user.{}", self.one(&["a", "b.c", "=", "ß"])), &value);
            }
            if kind.is_file() && self.below(4) == 0 {
                // VFS_CAP_REVISION_2 with cap_net_raw.
                let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                set_xattr(path, "security.capability", &capability);
            }
            if kind.is_dir() && self.below(4) == 0 {
                set_xattr(path, "trusted.mine", b"1");
            }
        }
        if !kind.is_symlink() {
            let mode = self.below(0o10000) as u32;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let seconds = self.one(&[0, 1, -1, -1_000_000_000, 1_700_000_000, 0o77777777777 - 1, 0o100000000000]);
        let time = TimeSpec::new(seconds, self.one(&[0, 1, 500_000_000, 999_999_999]));
        utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
    }

    fn file(&mut self, path: &Path) {
        let file = std::fs::File::create(path).unwrap();
        match self.below(8) {
            0 => {
                // Sparse: runs of whole blocks, a hole at the start, in between, or at the end.
                let blocks = 1 + self.below(60) as u64;
                file.set_len(blocks * 4096 + self.one(&[0, 1, 4095])).unwrap();
                for _ in 0..self.below(4) {
                    file.write_all_at(&[b'd'; 4096], self.below(blocks as usize) as u64 * 4096).unwrap();
                }
            }
            _ => {
                let length = self.one(&[0, 1, 511, 512, 513, 5000, 40_000]);
                file.write_all_at(&vec![1 + self.below(255) as u8; length], 0).unwrap();
            }
        }
    }

    fn grow(&mut self, directory: &Path, depth: usize, files: &mut Vec<PathBuf>) {
        for _ in 0..1 + self.below(6) {
            let path = directory.join(self.name());
            if path.symlink_metadata().is_ok() {
                continue;
            }
            match self.below(if depth < 6 { 10 } else { 8 }) {
                0 => symlink(self.one(&["x", "/etc/passwd", "../..", &"long/".repeat(60)]), &path).unwrap(),
                1 if !files.is_empty() => {
                    std::fs::hard_link(&files[self.below(files.len())], &path).unwrap();
                    continue;
                }
                2 => {
                    let kind = self.one(&[SFlag::S_IFCHR, SFlag::S_IFBLK]);
                    mknod(&path, kind, Mode::S_IRUSR, makedev(1 + self.below(300) as u64, 3)).unwrap();
                }
                3 => nix::unistd::mkfifo(&path, Mode::S_IRUSR).unwrap(),
                4..=7 | 1 => {
                    self.file(&path);
                    files.push(path.clone());
                }
                _ => {
                    std::fs::create_dir(&path).unwrap();
                    self.grow(&path, depth + 1, files);
                }
            }
            self.adorn(&path);
        }
        if depth == 0 {
            self.adorn(directory);
        }
    }
}

/// Facts that a layer keeps: those of names, of which a hard link's first is the first in the order of the tar.
fn kept(top: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut all = facts(top);
    for facts in all.values_mut() {
        // A small file has no hole; and ext4 keeps the smallest in the inode.
        facts.sparse &= facts.size >= 8192;
    }
    all
}

fn layer_of(tree: &Path) -> Vec<u8> {
    let mut tar = Vec::new();
    write_layer(tree, None, &mut tar).unwrap();
    tar
}

#[test]
fn any_tree_is_itself_again() {
    if !root() {
        return;
    }
    for seed in 0..60 {
        println!("seed {seed}");
        let (tree, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Random(seed).grow(tree.path(), 0, &mut Vec::new());
        let tar = layer_of(tree.path());
        unpack_and_back(&tar, &options(there.path()));
        assert_eq!(kept(there.path()), kept(tree.path()));
        // The same tree is the same layer.
        assert!(layer_of(there.path()) == tar);
    }
}

#[test]
fn others_read_what_is_written() {
    if !root() {
        return;
    }
    for seed in 100..112 {
        println!("seed {seed}");
        let (tree, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Random(seed).grow(tree.path(), 0, &mut Vec::new());
        let tar = there.path().with_extension("tar");
        std::fs::write(&tar, layer_of(tree.path())).unwrap();
        let (name, into) = (tar.to_str().unwrap(), there.path().to_str().unwrap());
        run(
            "tar",
            &["-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", into, "-f", name],
        );
        std::fs::remove_file(&tar).unwrap();
        let plain = |top: &Path| -> BTreeMap<PathBuf, Facts> {
            let strip = |(path, facts): (PathBuf, Facts)| {
                // GNU tar makes no holes unasked, and loses the time of a directory whose links come late.
                let mtime = if facts.kind == 'd' { (0, 0) } else { facts.mtime };
                (path, Facts { sparse: false, mtime, ..facts })
            };
            facts(top).into_iter().map(strip).collect()
        };
        assert_eq!(plain(there.path()), plain(tree.path()));
    }
}

#[test]
fn what_is_newer_than_the_epoch_is_of_it() {
    let tree = tempfile::tempdir().unwrap();
    for (name, seconds) in [("old", 1000), ("new", 3000)] {
        let file = std::fs::File::create(tree.path().join(name)).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::new(seconds, 5)).unwrap();
    }
    let (mut tar, there) = (Vec::new(), tempfile::tempdir().unwrap());
    write_layer(tree.path(), Some(2000), &mut tar).unwrap();
    unpack_bytes(tar, &options(there.path())).unwrap();
    let mtime = |name: &str| {
        let found = there.path().join(name).metadata().unwrap();
        (found.mtime(), found.mtime_nsec())
    };
    assert_eq!([mtime("old"), mtime("new"), mtime("")], [(1000, 5), (2000, 0), (2000, 0)]);
}

/// Three layers with everything that hides something, the topmost first.
fn stack(top: &Path) -> Vec<PathBuf> {
    let [upper, middle, base] = ["upper", "middle", "base"].map(|name| top.join(name));
    let write = |tree: &Path, path: &str, text: &str| {
        std::fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
        std::fs::write(tree.join(path), text).unwrap();
    };
    let whiteout = |tree: &Path, path: &str| {
        std::fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
        mknod(&tree.join(path), SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
    };
    for path in [
        "same",
        "gone",
        "d/kept",
        "d/gone",
        "opaque/hidden",
        "opaque/again",
        "deep/a/b/c",
        "file-dir/x",
        "dir-file",
    ] {
        write(&base, path, "base");
    }
    write(&middle, "same", "middle");
    write(&middle, "deep/a/new", "middle");
    write(&middle, "gone-twice", "middle");
    whiteout(&middle, "gone");
    set_xattr(&middle.join("deep/a"), "trusted.overlay.opaque", b"y");
    whiteout(&upper, "gone-twice");
    whiteout(&upper, "d/gone");
    write(&upper, "opaque/again", "upper");
    set_xattr(&upper.join("opaque"), "trusted.overlay.opaque", b"y");
    write(&upper, "file-dir", "now a file");
    write(&upper, "dir-file/x", "now a directory");
    write(&upper, "gone", "back again");
    write(&upper, "deep/a/upper", "upper");
    write(&upper, "new/one", "upper");
    std::fs::hard_link(upper.join("new/one"), upper.join("new/two")).unwrap();
    vec![upper, middle, base]
}

#[test]
fn an_export_is_what_overlayfs_shows() {
    if !root() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let layers = stack(top.path());
    let mut tar = Vec::new();
    write_merged(&layers, None, &mut tar).unwrap();
    let there = top.path().join("there");
    std::fs::create_dir(&there).unwrap();
    unpack_bytes(tar, &options(&there)).unwrap();
    // The kernel's own view, packed by GNU tar in a mount namespace of its own.
    let seen = top.path().join("seen");
    std::fs::create_dir(&seen).unwrap();
    let lowers: Vec<_> = layers.iter().map(|layer| layer.to_str().unwrap()).collect();
    let script = format!(
        "mkdir '{0}/mnt' && mount -t overlay -o ro,lowerdir='{1}' overlay '{0}/mnt' && tar -c --format=posix -C '{0}/mnt' . | tar -x -p -C '{0}/seen'",
        top.path().display(),
        lowers.join(":")
    );
    run("unshare", &["--mount", "sh", "-ec", &script]);
    assert_eq!(facts(&there), facts(&seen));
    assert!(facts(&there).len() > 12);
}

#[test]
fn the_list_says_what_was_there_before() {
    if !root() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let layers = stack(top.path());
    let mut lines = Vec::new();
    list(&layers[0], &layers[1..], |kind, path| {
        let letter = match kind {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        };
        lines.push(format!("{letter} {}", String::from_utf8_lossy(path)));
        Ok(())
    })
    .unwrap();
    lines.sort_by(|a, b| a[2..].cmp(&b[2..]));
    assert_eq!(
        lines,
        [
            "C /d",
            "D /d/gone",
            "C /deep",
            "C /deep/a",
            "A /deep/a/upper",
            "C /dir-file",
            "A /dir-file/x",
            "C /file-dir",
            "A /gone",
            "D /gone-twice",
            "A /new",
            "A /new/one",
            "A /new/two",
            "C /opaque",
            "C /opaque/again",
            "D /opaque/hidden",
        ]
    );
}

#[test]
fn a_layer_made_of_changes_hides_the_same() {
    if !root() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let layers = stack(top.path());
    for layer in &layers {
        let there = tempfile::tempdir().unwrap();
        unpack_and_back(&layer_of(layer), &options(there.path()));
        let mut expected = facts(layer);
        for facts in expected.values_mut().filter(|facts| (facts.kind, facts.device) == ('c', 0)) {
            // Ours all look the same.
            facts.mtime = (0, 0);
        }
        assert_eq!(facts(there.path()), expected);
    }
}
