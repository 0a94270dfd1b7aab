//! Trees packed by GNU tar, bsdtar and Python come out as they were packed, and as `tar -x` makes them.

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kapsel_storage::unpack::Options;
use support::*;

/// A tree with one of everything that all packers can express.
fn plant(top: &Path) {
    let write = |path: &str, data: &[u8]| {
        std::fs::create_dir_all(top.join(path).parent().unwrap()).unwrap();
        std::fs::write(top.join(path), data).unwrap();
    };
    write("plain", b"text\n");
    write("empty", b"");
    write("exactly-a-block", &[b'x'; 512]);
    write("large", &(0..100_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    write(&format!("{}/{}", "long/".repeat(40), "n".repeat(200)), b"far away");
    write("d/ünïcödé näme", b"1");
    write("d/with\nnewline and 'quotes'", b"2");
    write("d/sub/f", b"3");
    symlink("plain", top.join("soft")).unwrap();
    symlink("t".repeat(300), top.join("d/long-link")).unwrap();
    symlink("/etc/passwd", top.join("absolute")).unwrap();
    std::fs::hard_link(top.join("plain"), top.join("d/hard")).unwrap();
    nix::unistd::mkfifo(&top.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (path, mode) in
        [("plain", 0o640), ("large", 0o4755), ("d", 0o1777), ("d/sub", 0o2750), ("empty", 0o000)]
    {
        std::fs::set_permissions(top.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    if root() {
        run("mknod", &[top.join("null").to_str().unwrap(), "c", "1", "3"]);
        for (path, uid, gid) in [("plain", 1000, 1001), ("d/sub", 3_000_000, 4_000_000), ("soft", 33, 33)] {
            let (uid, gid) = (Some(uid.into()), Some(gid.into()));
            nix::unistd::fchownat(
                nix::fcntl::AT_FDCWD,
                &top.join(path),
                uid,
                gid,
                nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
            )
            .unwrap();
        }
    }
    // Times with fractions, before 1970, and after 2038; directories last.
    for (path, time) in [
        ("plain", "2001-09-09T01:46:40.123456789Z"),
        ("empty", "1969-07-20T20:17:40.5Z"),
        ("large", "2100-01-01T00:00:00Z"),
        ("soft", "1999-12-31T23:59:59Z"),
        ("d/sub/f", "2020-02-02T02:02:02.2Z"),
        ("d/sub", "2010-10-10T10:10:10.1Z"),
        ("d", "2011-11-11T11:11:11.11Z"),
        ("", "2012-12-12T12:12:12.12Z"),
    ] {
        run("touch", &["-h", "-d", time, top.join(path).to_str().unwrap().trim_end_matches('/')]);
    }
}

/// What is in a tree as far as this format can say it.
fn seen(top: &Path, whole_seconds: bool) -> BTreeMap<PathBuf, Facts> {
    let mut all = facts(top);
    for facts in all.values_mut() {
        if whole_seconds {
            facts.mtime.1 = 0;
        }
        facts.sparse = false;
    }
    all
}

/// Ours; a tar that is not compressed also comes back from its recipe, bit for bit.
fn ours(archive: &Path) -> tempfile::TempDir {
    let top = tempfile::tempdir().unwrap();
    let options = Options { rootless: false, ..options(top.path()) };
    let bytes = std::fs::read(archive).unwrap();
    if bytes.starts_with(b"\x1f\x8b") || bytes.starts_with(b"\x28\xb5\x2f\xfd") {
        unpack_bytes(bytes, &options).unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
    } else {
        unpack_and_back(&bytes, &options);
    }
    top
}

fn theirs(archive: &Path) -> tempfile::TempDir {
    let top = tempfile::tempdir().unwrap();
    let (top_name, archive) = (top.path().to_str().unwrap(), archive.to_str().unwrap());
    run(
        "tar",
        &["-x", "-p", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", top_name, "-f", archive],
    );
    top
}

fn pack(tree: &Path, command: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    let script = format!("cd '{}' && OUT='{}' && {command}", tree.display(), archive.display());
    run("sh", &["-c", &script]);
    (directory, archive)
}

const PYTHON: &str = "python3 - \"$OUT\" <<'E'\nimport sys, tarfile\n\
with tarfile.open(sys.argv[1], 'w:MODE', format=tarfile.FORMAT) as tar: tar.add('.')\nE";

#[test]
fn what_others_pack_comes_out_as_it_was_and_as_tar_makes_it() {
    if !root() {
        return;
    }
    let tree = tempfile::tempdir().unwrap();
    plant(tree.path());
    let python = |mode: &str, format: &str| PYTHON.replace("MODE", mode).replace("FORMAT", format);
    // The second column: the format has no fractions of seconds.
    let cases = [
        ("tar -c --format=gnu -f \"$OUT\" .".to_owned(), true),
        ("tar -c --format=posix -f \"$OUT\" .".to_owned(), false),
        ("tar -c --format=posix --numeric-owner -z -f \"$OUT\" .".to_owned(), false),
        ("tar -c --format=posix --zstd -f \"$OUT\" .".to_owned(), false),
        ("tar -c --format=gnu -f \"$OUT\" --sort=name *".to_owned(), true),
        ("bsdtar -c --format=pax -f \"$OUT\" .".to_owned(), false),
        ("bsdtar -c --format=gnutar -f \"$OUT\" .".to_owned(), true),
        ("bsdtar -c --format=pax -z -f \"$OUT\" .".to_owned(), false),
        (python("", "PAX_FORMAT"), false),
        (python("gz", "GNU_FORMAT"), true),
    ];
    for (command, whole_seconds) in cases {
        let (_directory, archive) = pack(tree.path(), &command);
        let mut expected = seen(tree.path(), whole_seconds);
        let found = ours(&archive);
        let mut found = seen(found.path(), whole_seconds);
        let tars = theirs(&archive);
        let mut tars = seen(tars.path(), whole_seconds);
        if command.contains('*') {
            // Without an entry for the root.
            for all in [&mut expected, &mut found, &mut tars] {
                all.remove(Path::new(""));
            }
        }
        for (path, facts) in &expected {
            let (found, tars) = (found.get(path), tars.get(path));
            if command.starts_with("python3") && facts.mtime.0 < 0 {
                continue; // it rounds fractions of what was before 1970
            }
            if (whole_seconds || command.starts_with("bsdtar")) && facts.mtime.0 < 0 {
                // Each packer rounds what was before 1970 its own way; tar and we read the same in it.
                assert_eq!(found, tars, "{command}: {}", path.display());
                continue;
            }
            let close = |a: &Facts, b: &Facts| {
                // Python writes times as floating point.
                let same_time = if command.starts_with("python3") {
                    a.mtime.0 == b.mtime.0 && (a.mtime.1 - b.mtime.1).abs() < 1000
                } else {
                    a.mtime == b.mtime
                };
                same_time && Facts { mtime: b.mtime, ..a.clone() } == *b
            };
            assert!(
                found.is_some_and(|found| close(found, facts)),
                "{command}: {found:?}\nis not\n{facts:?}"
            );
            // GNU tar itself loses the time of a directory whose links come late.
            let tars = tars.map(|tars| {
                if facts.kind == 'd' { Facts { mtime: facts.mtime, ..tars.clone() } } else { tars.clone() }
            });
            assert!(
                tars.as_ref().is_some_and(|tars| close(tars, facts)),
                "tar itself, {command}: {tars:?} {facts:?}"
            );
        }
        assert_eq!(found.len(), expected.len(), "{command}");
    }
}

/// What the oldest formats can say: short names, small numbers, whole seconds.
fn plant_modestly(top: &Path) {
    std::fs::create_dir_all(top.join("d/sub")).unwrap();
    std::fs::write(top.join("d/file"), "text\n").unwrap();
    std::fs::write(top.join("d/sub/empty"), "").unwrap();
    std::fs::write(top.join("large"), vec![b'x'; 70_000]).unwrap();
    symlink("d/file", top.join("soft")).unwrap();
    std::fs::hard_link(top.join("large"), top.join("d/hard")).unwrap();
    std::fs::set_permissions(top.join("large"), std::fs::Permissions::from_mode(0o4711)).unwrap();
    for path in ["d/file", "d/sub/empty", "large", "soft", "d/sub", "d", ""] {
        run(
            "touch",
            &["-h", "-d", "2001-09-09T01:46:40Z", top.join(path).to_str().unwrap().trim_end_matches('/')],
        );
    }
}

/// Go's writer, as Docker, Podman and skopeo have it: a layer that umoci makes, with everything below `tree`.
const UMOCI: &str = "umoci init --layout \"$OUT.oci\" && umoci new --image \"$OUT.oci:x\" && \
    umoci insert --image \"$OUT.oci:x\" \"$PWD\" /tree && cd \"$OUT.oci/blobs/sha256\" && \
    for blob in *; do gzip -dc $blob > \"$OUT\" 2> /dev/null && break; done";

#[test]
fn every_dialect_comes_out_as_it_was_and_comes_back_from_its_recipe() {
    if !root() {
        return;
    }
    let tree = tempfile::tempdir().unwrap();
    plant_modestly(tree.path());
    let mut commands: Vec<String> = ["v7", "oldgnu", "gnu", "ustar", "posix"]
        .map(|format| format!("tar -c --format={format} -f \"$OUT\" ."))
        .into();
    commands.extend(
        ["v7tar", "ustar", "pax", "gnutar"]
            .map(|format| format!("bsdtar -c --format={format} -f \"$OUT\" .")),
    );
    commands
        .extend(["USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT"].map(|format| {
            PYTHON.replace("MODE", "").replace("tarfile.FORMAT", &format!("tarfile.{format}"))
        }));
    // A big block, an archive to which something was added, and one without its end.
    commands.push("tar -c -b 200 -f \"$OUT\" .".to_owned());
    commands.push("tar -c -f \"$OUT\" . && tar -r -f \"$OUT\" d large".to_owned());
    commands.push("tar -c -f - . | head -c $((74 * 1024)) > \"$OUT\"".to_owned());
    commands.push(UMOCI.to_owned());
    for command in commands {
        let (_directory, archive) = pack(tree.path(), &command);
        let found = ours(&archive);
        let (mut found, expected) = (seen(found.path(), true), seen(tree.path(), true));
        if command == UMOCI {
            let inside = |path: &Path| path.strip_prefix("tree").map(Path::to_owned);
            found =
                found.into_iter().filter_map(|(path, facts)| Some((inside(&path).ok()?, facts))).collect();
            found.values_mut().for_each(|facts| facts.first = inside(&facts.first).unwrap());
        }
        assert_eq!(found, expected, "{command}");
    }
}

#[test]
fn extended_attributes_come_out_as_they_went_in() {
    if !root() {
        return;
    }
    let tree = tempfile::tempdir().unwrap();
    for name in ["f", "su"] {
        std::fs::write(tree.path().join(name), "x").unwrap();
    }
    std::fs::create_dir(tree.path().join("d")).unwrap();
    set_xattr(&tree.path().join("f"), "user.text", b"value");
    set_xattr(&tree.path().join("f"), "user.binary", b"\0\n=\xff");
    set_xattr(&tree.path().join("d"), "user.on.directory", &[b'x'; 900]);
    set_xattr(&tree.path().join("d"), "trusted.mine", b"1");
    run("setcap", &["cap_net_raw+ep", tree.path().join("su").to_str().unwrap()]);
    for command in [
        "tar -c --format=posix --xattrs --xattrs-include='*' -f \"$OUT\" .",
        "bsdtar -c --format=pax --xattrs -f \"$OUT\" .",
    ] {
        let (_directory, archive) = pack(tree.path(), command);
        assert_eq!(facts(ours(&archive).path()), facts(tree.path()), "{command}");
    }
}

#[test]
fn sparse_files_keep_their_holes_in_all_of_gnus_formats() {
    let tree = tempfile::tempdir().unwrap();
    let sparse = |name: &str, size: u64, data: &[(u64, usize)]| {
        let file = std::fs::File::create(tree.path().join(name)).unwrap();
        file.set_len(size).unwrap();
        for &(offset, length) in data {
            file.write_all_at(&vec![b'd'; length], offset).unwrap();
        }
    };
    sparse("hole-only", 8 << 20, &[]);
    sparse("start", 8 << 20, &[(0, 4096)]);
    sparse("end", 8 << 20, &[((8 << 20) - 4096, 4096)]);
    sparse("odd", (4 << 20) + 17, &[(1 << 20, 10_000), (3 << 20, 5000)]);
    // More runs than a header, or one extension, has room for.
    let many: Vec<(u64, usize)> = (0..120).map(|i| (i << 16, 4096)).collect();
    sparse(&format!("many-{}", "n".repeat(120)), 120 << 16, &many);
    for format in
        ["gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix --sparse-version=1.0"]
    {
        let (_directory, archive) = pack(tree.path(), &format!("tar -c -S --format={format} -f \"$OUT\" ."));
        assert!(archive.metadata().unwrap().len() < 4 << 20, "tar made no sparse archive");
        let top = ours(&archive);
        let (found, expected) = (facts(top.path()), facts(tree.path()));
        assert_eq!(found.len(), expected.len());
        for (path, expected) in expected.iter().filter(|(_, facts)| facts.kind == '-') {
            let found = &found[path];
            assert_eq!(
                (found.size, &found.content),
                (expected.size, &expected.content),
                "{format} {}",
                path.display()
            );
            assert!(found.sparse, "{format}: {} has no holes", path.display());
        }
    }
}

/// A small generator: the same trees every time, and no dependency for it.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn name(&mut self) -> String {
        let alphabet: Vec<char> = "abcXYZ019 ._-+='\"\\\n\tßé漢".chars().collect();
        let length = [1, 3, 10, 60][self.below(4)];
        let name: String = (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect();
        // Names of a layer's own language say something else.
        if matches!(&name[..], "." | "..") || name.starts_with(".wh.") { format!("x{name}") } else { name }
    }

    fn grow(&mut self, directory: &Path, depth: usize, files: &mut Vec<PathBuf>) {
        for _ in 0..1 + self.below(6) {
            let path = directory.join(self.name());
            if path.symlink_metadata().is_ok() {
                continue;
            }
            match self.below(if depth < 6 { 7 } else { 4 }) {
                0 => symlink(self.name(), &path).unwrap(),
                1 if !files.is_empty() => {
                    std::fs::hard_link(&files[self.below(files.len())], &path).unwrap();
                }
                1..=3 => {
                    let length = [0, 1, 511, 512, 513, 5000][self.below(6)];
                    std::fs::write(&path, vec![self.below(256) as u8; length]).unwrap();
                    let mode = self.below(0o10000) as u32;
                    if root() {
                        let (uid, gid) = (self.below(70_000) as u32, self.below(3_000_000) as u32);
                        nix::unistd::chown(&path, Some(uid.into()), Some(gid.into())).unwrap();
                    }
                    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode | 0o400)).unwrap();
                    let time = std::time::UNIX_EPOCH
                        + std::time::Duration::new(self.below(1 << 31) as u64, self.below(1 << 29) as u32);
                    std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
                    files.push(path);
                }
                _ => {
                    std::fs::create_dir(&path).unwrap();
                    self.grow(&path, depth + 1, files);
                    let mode = self.below(0o10000) as u32 | 0o700;
                    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
                    let time = std::time::UNIX_EPOCH
                        + std::time::Duration::new(self.below(1 << 31) as u64, self.below(1 << 29) as u32);
                    std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
                }
            }
        }
    }
}

#[test]
fn any_tree_packed_by_tar_and_unpacked_is_itself() {
    for seed in 0..15 {
        let tree = tempfile::tempdir().unwrap();
        Random(seed).grow(tree.path(), 0, &mut Vec::new());
        let packing = ["", "-z", "--zstd"][seed as usize % 3];
        let (_directory, archive) =
            pack(tree.path(), &format!("tar -c --format=posix {packing} -f \"$OUT\" ."));
        if root() {
            assert_eq!(seen(ours(&archive).path(), false), seen(tree.path(), false), "seed {seed}");
        } else {
            assert_eq!(
                ours(&archive).path().read_dir().unwrap().count(),
                tree.path().read_dir().unwrap().count()
            );
        }
    }
}

#[test]
fn what_git_archives_is_its_tree_and_nothing_else() {
    let tree = tempfile::tempdir().unwrap();
    std::fs::create_dir(tree.path().join("d")).unwrap();
    std::fs::write(tree.path().join("d/f"), "text").unwrap();
    std::fs::write(tree.path().join("d").join("n".repeat(150)), "far").unwrap();
    symlink("d/f", tree.path().join("soft")).unwrap();
    // The commit's name is in a global header at the beginning.
    let git = "git -c user.name=x -c user.email=x@x -c init.defaultBranch=main";
    let (_directory, archive) = pack(
        tree.path(),
        &format!(
            "{git} init -q && {git} add . && {git} commit -qm x && {git} archive -o \"$OUT\" --format=tar HEAD"
        ),
    );
    assert_eq!(std::fs::read(&archive).unwrap()[156], b'g');
    let [ours, theirs] = [ours(&archive), theirs(&archive)].map(|top| {
        let mut all = seen(top.path(), true);
        // No entry speaks of the root.
        all.remove(Path::new(""));
        all
    });
    assert_eq!(ours, theirs);
}
