//! Layers made to write, link or look outside of their directory, or to take more than they should.
//! Each attack is checked against what lies outside, not only against the error.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kapsel_storage::tar::{Entry, Kind};
use kapsel_storage::unpack::{Limits, Mode, Unpacked};
use kapsel_storage::{Error, Result};
use support::*;

/// A directory to unpack into, with something to hurt beside it and above it.
struct Arena {
    top: tempfile::TempDir,
    before: Outside,
}

/// All that is there, and the marks of the directory that all is in.
type Outside = (BTreeMap<PathBuf, Facts>, BTreeMap<Vec<u8>, Vec<u8>>);

impl Arena {
    fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(top.path().join("outside/etc")).unwrap();
        std::fs::create_dir(top.path().join("target")).unwrap();
        std::fs::write(top.path().join("outside/etc/passwd"), "root\n").unwrap();
        std::fs::write(top.path().join("victim"), "whole\n").unwrap();
        let mut arena = Arena { top, before: Outside::default() };
        arena.before = arena.outside();
        arena
    }

    fn target(&self) -> PathBuf {
        self.top.path().join("target")
    }

    fn outside(&self) -> Outside {
        let mut all = BTreeMap::new();
        for entry in self.top.path().read_dir().unwrap() {
            let name = PathBuf::from(entry.unwrap().file_name());
            if name != Path::new("target") {
                let below = facts(&self.top.path().join(&name));
                all.extend(below.into_iter().map(|(path, facts)| {
                    (if path == Path::new("") { name.clone() } else { name.join(path) }, facts)
                }));
            }
        }
        // A hard link made to the outside would show here.
        for (path, facts) in &mut all {
            let metadata = std::fs::symlink_metadata(self.top.path().join(path)).unwrap();
            facts.device = std::os::unix::fs::MetadataExt::nlink(&metadata);
        }
        (all, xattrs(self.top.path()))
    }

    fn attack_as(&self, mode: Mode, entries: &[Made]) -> Result<Unpacked> {
        let result =
            unpack_bytes(tar(entries), &kapsel_storage::unpack::Options { mode, ..options(&self.target()) });
        assert_eq!(self.outside(), self.before, "something outside was changed");
        if let Err(error) = &result {
            assert!(!error.message.contains('\n') && error.message.len() < 700, "{}", error.message);
        }
        result
    }

    fn attack(&self, entries: &[Made]) -> Result<Unpacked> {
        self.attack_as(Mode::Layer, entries)
    }

    fn inside(&self, path: &str) -> Facts {
        let all = facts(&self.target());
        all.get(Path::new(path)).unwrap_or_else(|| panic!("no {path} in {:?}", all.keys())).clone()
    }
}

/// Both modes must refuse it with this code, naming this.
#[track_caller]
fn refused(code: &str, named: &str, entries: &[Made]) {
    for mode in [Mode::Layer, Mode::Archive] {
        let Error { code: found, message, .. } = Arena::new().attack_as(mode, entries).unwrap_err();
        assert_eq!(found, code, "{mode:?}: {message}");
        assert!(message.contains(named), "{mode:?}: {message}");
    }
}

#[test]
fn names_that_climb_are_refused() {
    for name in ["../victim", "a/../../victim", "a/../b", "..", "./../victim", "/../victim", "a/.."] {
        refused("LAYER_ESCAPES", name, &[file(name, "hurt")]);
        refused("LAYER_ESCAPES", name, &[directory(name)]);
    }
}

#[test]
fn absolute_names_are_names_under_the_root() {
    let arena = Arena::new();
    let victim = arena.top.path().join("victim");
    arena.attack(&[file(victim.to_str().unwrap(), "inside"), file("//x", "x")]).unwrap();
    assert_eq!(arena.inside(victim.strip_prefix("/").unwrap().to_str().unwrap()).content, b"inside");
    assert_eq!(arena.inside("x").content, b"x");
}

#[test]
fn a_symlinked_ancestor_leads_nowhere_but_inside() {
    for target in ["../outside", "../../../../../../etc", "/etc", ".."] {
        let arena = Arena::new();
        let absolute = arena.top.path().join("outside");
        for target in [target, absolute.to_str().unwrap()] {
            let arena = Arena::new();
            let result = arena.attack(&[link(Kind::Symlink, "way", target), file("way/passwd", "hurt")]);
            match target {
                // It is the root itself, as it would be in the container.
                ".." => assert_eq!(arena.inside("passwd").content, b"hurt"),
                _ => assert_eq!(result.unwrap_err().code, "LAYER_ESCAPES", "{target}"),
            }
            assert_eq!(arena.inside("way").kind, 'l');
        }
    }
    assert!(!Path::new("/etc/passwd").metadata().unwrap().is_dir());
}

#[test]
fn whiteouts_hide_nothing_outside_whatever_way_they_take() {
    let arena = Arena::new();
    let outside = arena.top.path().join("outside");
    for target in ["../outside", outside.to_str().unwrap(), "../../../../../../etc", "/etc", ".."] {
        for mark in [".wh.passwd", ".wh.etc", ".wh..wh..opq", "etc/.wh.passwd", "etc/.wh..wh..opq"] {
            // A link hides what is below it of lower layers, and more is not said by a mark that goes through it.
            arena.attack(&[link(Kind::Symlink, "way", target), file(&format!("way/{mark}"), "")]).unwrap();
            let all = facts(&arena.target());
            assert_eq!(all.keys().collect::<Vec<_>>(), [Path::new(""), Path::new("way")], "{target} {mark}");
            assert!(all[Path::new("")].xattrs.is_empty() && all[Path::new("way")].kind == 'l');
            std::fs::remove_file(arena.target().join("way")).unwrap();
        }
    }
    // Absolute names are names under the root, a whiteout's too.
    let top = arena.top.path().to_str().unwrap();
    let marks = ["/.wh.victim", "/outside/.wh.passwd", "/outside/etc/.wh..wh..opq"];
    arena.attack(&marks.map(|mark| file(&format!("{top}{mark}"), ""))).unwrap();
    let inside = |name: &str| arena.inside(&format!("{}/{name}", top.trim_start_matches('/')));
    assert_eq!(["victim", "outside/passwd", "outside/etc"].map(|name| inside(name).kind), ['c', 'c', 'd']);
    assert_eq!(inside("outside/etc").xattrs.len(), 1);
    for climbing in ["../.wh.victim", "../.wh..wh..opq", "a/../../.wh.victim", "/../outside/.wh..wh..opq"] {
        let error = Arena::new().attack(&[file(climbing, "")]).unwrap_err();
        assert_eq!(error.code, "LAYER_ESCAPES", "{climbing}");
    }
}

#[test]
fn a_symlinked_ancestor_inside_leads_where_it_would_in_the_container() {
    let arena = Arena::new();
    let entries = [
        directory("run"),
        directory("var"),
        link(Kind::Symlink, "var/run", "/run"),
        file("var/run/pid", "1"),
        link(Kind::Symlink, "var/up", "../../../run"),
        file("var/up/pid2", "2"),
    ];
    arena.attack(&entries).unwrap();
    assert_eq!(arena.inside("run/pid").content, b"1");
    assert_eq!(arena.inside("run/pid2").content, b"2");
}

#[test]
fn a_directory_replaced_by_a_symlink_is_a_symlink_from_then_on() {
    let arena = Arena::new();
    // The parent's fd is kept between entries: it must not outlive what it was opened for.
    let entries =
        [directory("a"), file("a/one", "1"), link(Kind::Symlink, "a", "../outside"), file("a/two", "2")];
    assert_eq!(arena.attack(&entries).unwrap_err().code, "LAYER_ESCAPES");
    let arena = Arena::new();
    let entries = [
        directory("a"),
        file("a/one", "1"),
        directory("b"),
        link(Kind::Symlink, "a", "b"),
        file("a/two", "2"),
    ];
    arena.attack(&entries).unwrap();
    assert_eq!(arena.inside("b/two").content, b"2");
    assert!(!facts(&arena.target()).contains_key(Path::new("b/one")));
}

#[test]
fn a_last_name_is_never_followed() {
    for target in ["../victim", "/etc/passwd"] {
        let arena = Arena::new();
        arena.attack(&[link(Kind::Symlink, "x", target), file("x", "new")]).unwrap();
        assert_eq!((arena.inside("x").kind, arena.inside("x").content), ('-', b"new".to_vec()));
        let arena = Arena::new();
        arena.attack(&[link(Kind::Symlink, "x", target), directory("x")]).unwrap();
        assert_eq!(arena.inside("x").kind, 'd');
    }
}

#[test]
fn symlinks_in_a_circle_are_refused() {
    refused(
        "LAYER_ESCAPES",
        "'a/x'",
        &[link(Kind::Symlink, "a", "b"), link(Kind::Symlink, "b", "a"), file("a/x", "")],
    );
}

#[test]
fn hard_links_to_the_outside_are_refused() {
    refused("LAYER_ESCAPES", "'../victim'", &[link(Kind::HardLink, "x", "../victim")]);
    let arena = Arena::new();
    let victim = arena.top.path().join("victim");
    refused("LAYER_INVALID", "no file of this layer", &[link(Kind::HardLink, "x", victim.to_str().unwrap())]);
    for target in ["../outside", "/", "../../../../../.."] {
        let arena = Arena::new();
        let entries = [link(Kind::Symlink, "way", target), link(Kind::HardLink, "x", "way/etc/passwd")];
        assert_eq!(arena.attack(&entries).unwrap_err().code, "LAYER_INVALID");
    }
}

#[test]
fn a_hard_link_to_a_symlink_is_that_symlink() {
    let arena = Arena::new();
    let entries =
        [link(Kind::Symlink, "s", "../victim"), link(Kind::HardLink, "h", "s"), file("h", "through?")];
    arena.attack(&entries[..2]).unwrap();
    assert_eq!(arena.inside("h").kind, 'l');
    let arena = Arena::new();
    arena.attack(&entries).unwrap();
    assert_eq!((arena.inside("h").kind, arena.inside("s").kind), ('-', 'l'));
}

#[test]
fn hard_links_to_directories_to_nothing_and_to_whiteouts_are_refused() {
    refused("LAYER_INVALID", "'h'", &[directory("d"), link(Kind::HardLink, "h", "d")]);
    refused("LAYER_INVALID", "'h'", &[link(Kind::HardLink, "h", "gone")]);
    refused("LAYER_INVALID", "'h'", &[link(Kind::HardLink, "h", "")]);
    let result = Arena::new().attack(&[file(".wh.gone", ""), link(Kind::HardLink, "h", "gone")]);
    assert_eq!(result.unwrap_err().code, "LAYER_INVALID");
}

#[test]
fn a_hard_link_to_itself_changes_nothing() {
    let arena = Arena::new();
    arena.attack(&[file("f", "data"), link(Kind::HardLink, "f", "./f")]).unwrap();
    assert_eq!(arena.inside("f").content, b"data");
}

#[test]
fn devices_are_refused_without_root_and_in_archives() {
    for kind in [Kind::CharDevice, Kind::BlockDevice] {
        let arena = Arena::new();
        let mut rootless = options(&arena.target());
        rootless.rootless = true;
        let error = unpack_bytes(tar(&[node(kind, "dev/sda", (8, 0))]), &rootless).unwrap_err();
        assert_eq!(error.code, "LAYER_DEVICE");
        assert!(error.message.contains("'dev/sda'") && error.message.contains("8:0"), "{}", error.message);
        let error = Arena::new().attack_as(Mode::Archive, &[node(kind, "dev/sda", (8, 0))]).unwrap_err();
        assert_eq!(error.code, "LAYER_INVALID");
    }
    let error = Arena::new().attack_as(Mode::Archive, &[node(Kind::Fifo, "pipe", (0, 0))]).unwrap_err();
    assert_eq!(error.code, "LAYER_INVALID");
}

#[test]
fn a_pipe_or_device_in_the_way_is_replaced_and_not_opened() {
    let arena = Arena::new();
    // Opening a pipe for writing would wait for ever.
    arena.attack(&[node(Kind::Fifo, "p", (0, 0)), file("p", "file")]).unwrap();
    assert_eq!(arena.inside("p").content, b"file");
    let error = Arena::new().attack(&[node(Kind::Fifo, "p", (0, 0)), file("p/x", "")]).unwrap_err();
    assert_eq!(error.code, "LAYER_INVALID");
    if root() {
        let arena = Arena::new();
        arena.attack(&[node(Kind::CharDevice, "null", (1, 3)), file("null", "file")]).unwrap();
        assert_eq!(arena.inside("null").content, b"file");
    }
}

#[test]
fn archive_links_that_leave_are_refused() {
    for target in ["/etc/passwd", "../victim", "a/../../victim", "..", "/"] {
        let error = Arena::new().attack_as(Mode::Archive, &[link(Kind::Symlink, "x", target)]).unwrap_err();
        assert_eq!(error.code, "LAYER_ESCAPES", "{target}");
    }
    let arena = Arena::new();
    let entries = [file("ab/layer.tar", "layer"), link(Kind::Symlink, "cd/layer.tar", "../ab/layer.tar")];
    arena.attack_as(Mode::Archive, &entries).unwrap();
    assert_eq!(std::fs::read(arena.target().join("cd/layer.tar")).unwrap(), b"layer");
}

#[test]
fn archives_have_no_symlinked_directories() {
    let entries = [directory("d"), link(Kind::Symlink, "s", "d"), file("s/x", "")];
    assert_eq!(Arena::new().attack_as(Mode::Archive, &entries).unwrap_err().code, "LAYER_ESCAPES");
}

#[test]
fn archives_keep_no_owner_and_no_mode() {
    let arena = Arena::new();
    let (mut entry, data) = file("x", "data");
    (entry.mode, entry.uid, entry.gid) = (0o4777, 1000, 1000);
    entry.xattrs = vec![(b"user.a".to_vec(), b"1".to_vec())];
    arena.attack_as(Mode::Archive, &[(entry, data), file(".wh.y", "")]).unwrap();
    let found = arena.inside("x");
    let me = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    assert_eq!((found.mode, found.owner), (0o600, me));
    assert!(found.xattrs.is_empty());
    assert_eq!(arena.inside(".wh.y").kind, '-');
}

#[test]
fn marks_of_overlayfs_that_come_in_a_tar_are_dropped() {
    let arena = Arena::new();
    let mut entry = Entry::new(b"d", Kind::Directory);
    for name in [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
        "user.overlay.opaque",
        "user.overlay.redirect",
        "user.containers.override_stat",
        "security.selinux",
        "user.mine",
    ] {
        entry.xattrs.push((name.as_bytes().to_vec(), b"y".to_vec()));
    }
    let (mut other, data) = file("f", "");
    other.xattrs = entry.xattrs.clone();
    arena.attack(&[(entry, vec![]), (other, data)]).unwrap();
    for path in ["d", "f"] {
        let names: Vec<_> = arena.inside(path).xattrs.into_keys().collect();
        assert_eq!(names, [b"user.mine"], "{path}");
    }
}

#[test]
fn xattr_floods_and_monsters_are_refused() {
    let flooded = |count: usize, length: usize| {
        let (mut entry, data) = file("f", "");
        entry.xattrs = (0..count).map(|i| (format!("user.{i}").into_bytes(), vec![b'x'; length])).collect();
        vec![(entry, data)]
    };
    refused("LAYER_LIMIT", "extended", &flooded(2000, 1));
    refused("LAYER_LIMIT", "extended", &flooded(1, 2 << 20));
    // As much as the format allows, but more than the file system takes: named, not half done in silence.
    let error = Arena::new().attack(&flooded(1, 100_000)).unwrap_err();
    assert!(error.message.contains("user.0") && error.message.contains("'f'"), "{}", error.message);
}

#[test]
fn names_and_targets_that_are_too_long_are_refused() {
    refused("LAYER_LIMIT", "nnnn", &[file(&"n".repeat(256), "")]);
    refused("LAYER_LIMIT", "4096", &[file(&"d/".repeat(3000), "")]);
    refused("LAYER_LIMIT", "'s'", &[link(Kind::Symlink, "s", &"t".repeat(5000))]);
}

#[test]
fn a_tree_as_deep_as_paths_can_be_unpacks() {
    let arena = Arena::new();
    arena.attack(&[file(&format!("{}f", "d/".repeat(2000)), "deep")]).unwrap();
    kapsel_storage::remove::remove_tree(&arena.target().join("d")).unwrap();
}

#[test]
fn more_entries_or_bytes_than_allowed_are_refused() {
    let arena = Arena::new();
    let limited = |entries, unpacked_size| kapsel_storage::unpack::Options {
        limits: Limits { entries, unpacked_size },
        ..options(&arena.target())
    };
    let made = tar(&[file("a", "1"), file("b", "2"), file("c", "3")]);
    assert_eq!(unpack_bytes(made, &limited(2, 1 << 20)).unwrap_err().code, "LAYER_LIMIT");
    run("sh", &["-c", &format!("rm {}/*", arena.target().display())]);
    // Bombs: 16 MiB of zeros in some 16 KiB, as a file that says its size, and after the end, which nothing does.
    let declared = tar(&[(Entry::file(b"zeros", 16 << 20), vec![0; 16 << 20])]);
    for (zeros, named) in [(declared, "1048576 bytes"), (vec![0; 16 << 20], "bomb")] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut gzip, &zeros).unwrap();
        for bomb in [gzip.finish().unwrap(), zstd::encode_all(&zeros[..], 19).unwrap()] {
            assert!(bomb.len() < 32 << 10);
            let error = unpack_bytes(bomb, &limited(10, 1 << 20)).unwrap_err();
            assert!(error.code == "LAYER_LIMIT" && error.message.contains(named), "{error}");
            assert_eq!(facts(&arena.target()).len(), 1);
        }
    }
}

#[test]
fn the_root_is_a_directory_and_stays_one() {
    refused("LAYER_INVALID", "root", &[file("./", "").clone().into_file()]);
    refused("LAYER_INVALID", "root", &[link(Kind::Symlink, ".", "/etc")]);
    refused("LAYER_INVALID", "root", &[link(Kind::HardLink, "/", "x")]);
}

/// A name ending in a slash makes a directory: take it off.
trait IntoFile {
    fn into_file(self) -> Made;
}

impl IntoFile for Made {
    fn into_file(mut self) -> Made {
        self.0.path = b".".to_vec();
        self
    }
}

#[test]
fn names_are_escaped_in_messages() {
    let error = Arena::new().attack(&[file("../\u{1b}[31mred\nline", "")]).unwrap_err();
    assert!(!error.message.contains('\u{1b}') && !error.message.contains('\n'), "{}", error.message);
}

#[test]
fn damaged_and_shuffled_layers_change_nothing_outside() {
    let arena = Arena::new();
    let scratch = arena.top.path().join("target/scratch");
    // A small generator of its own: the same attacks every time.
    let mut state = 7u64;
    let mut random = move |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let names = [
        "a",
        "a/b",
        "a/b/c",
        "..",
        "../victim",
        "/",
        ".",
        "a/..",
        "/etc/passwd",
        "../outside",
        ".wh.a",
        "a/.wh.b",
        "a/.wh..wh..opq",
        "./a//b",
    ];
    let kinds = [Kind::File, Kind::Symlink, Kind::HardLink, Kind::Directory, Kind::Fifo];
    for round in 0..1500 {
        let mut entries = Vec::new();
        for _ in 0..1 + random(8) {
            let (name, target) = (names[random(names.len())], names[random(names.len())]);
            entries.push(match kinds[random(kinds.len())] {
                Kind::File => file(name, "data"),
                Kind::Directory => directory(name),
                kind => link(kind, name, target),
            });
        }
        let mut bytes = tar(&entries);
        if random(3) == 0 {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        std::fs::create_dir(&scratch).unwrap();
        let mode = [Mode::Layer, Mode::Archive][random(2)];
        let _ = unpack_bytes(bytes, &kapsel_storage::unpack::Options { mode, ..options(&scratch) });
        if mode == Mode::Archive {
            // Whatever link a reader of the archive follows, it stays inside.
            for path in facts(&scratch).keys() {
                if let Ok(real) = scratch.join(path).canonicalize() {
                    assert!(
                        real.starts_with(&scratch),
                        "round {round}: {} leads to {}",
                        path.display(),
                        real.display()
                    );
                }
            }
        }
        kapsel_storage::remove::remove_tree(&scratch).unwrap();
        let beside = arena.target().read_dir().unwrap().count();
        assert_eq!(beside, 0, "round {round} wrote beside its directory: {entries:?}");
    }
    assert_eq!(arena.outside(), arena.before);
}
