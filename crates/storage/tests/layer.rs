//! What a layer's tar becomes on disk: overlayfs's marks, attributes in the right order, compression by magic,
//! digests, and one clear error for what is damaged.

mod support;

use std::io::Write;
use std::path::Path;

use kapsel_storage::Digest;
use kapsel_storage::tar::{Entry, Kind, Time};
use kapsel_storage::unpack::Options;
use sha2::{Digest as _, Sha256};
use support::*;

fn unpacked(entries: &[Made]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    unpack_bytes(tar(entries), &options(directory.path())).unwrap();
    directory
}

fn opaque(facts: &Facts) -> bool {
    let name =
        if nix::unistd::geteuid().is_root() { "trusted.overlay.opaque" } else { "user.overlay.opaque" };
    facts.xattrs.get(name.as_bytes()).is_some_and(|value| value == b"y")
}

fn whiteout(facts: &Facts) -> bool {
    (facts.kind, facts.device) == ('c', 0)
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn whiteouts_become_devices_and_opaque_directories_get_a_mark() {
    let directory = unpacked(&[
        file("etc/.wh.passwd", ""),
        file("a/new", "1"),
        // After its siblings, as some writers have it.
        file("a/.wh..wh..opq", ""),
        file("only/opaque/.wh..wh..opq", ""),
        file(".wh..wh.plnk/x", "").clone(),
        file(".wh..wh.aufs", ""),
    ]);
    let all = facts(directory.path());
    assert!(whiteout(&all[Path::new("etc/passwd")]));
    assert!(opaque(&all[Path::new("a")]) && opaque(&all[Path::new("only/opaque")]));
    assert!(!opaque(&all[Path::new("only")]) && !opaque(&all[Path::new("etc")]));
    assert_eq!(all[Path::new("a/new")].content, b"1");
    assert!(!all.keys().any(|path| path.to_str().unwrap().contains(".wh..wh..opq")));
    assert!(!all.contains_key(Path::new(".wh..wh.aufs")));
}

#[test]
fn a_whiteout_removes_from_lower_layers_only() {
    // Whichever comes first, what the layer itself has stays; a directory then starts empty.
    for order in [[0, 1], [1, 0]] {
        let both = |first: Made, second: Made| {
            let pair = [first, second];
            order.map(|i| pair[i].clone())
        };
        let directory = unpacked(&both(file(".wh.f", ""), file("f", "new")));
        assert_eq!(facts(directory.path())[Path::new("f")].content, b"new");
        let directory = unpacked(&both(file(".wh.d", ""), file("d/x", "new")));
        let all = facts(directory.path());
        assert!(opaque(&all[Path::new("d")]));
        assert_eq!(all[Path::new("d/x")].content, b"new");
        let directory = unpacked(&both(file(".wh.d", ""), self::directory("d")));
        assert!(opaque(&facts(directory.path())[Path::new("d")]));
        let directory = unpacked(&both(file(".wh.l", ""), link(Kind::Symlink, "l", "x")));
        assert_eq!(facts(directory.path())[Path::new("l")].kind, 'l');
    }
}

#[test]
fn a_bare_whiteout_is_an_error() {
    for name in [".wh.", "a/.wh.", ".wh..", ".wh..."] {
        let directory = tempfile::tempdir().unwrap();
        let error = unpack_bytes(tar(&[file(name, "")]), &options(directory.path())).unwrap_err();
        assert_eq!(error.code, "LAYER_INVALID");
        assert!(error.message.contains(name), "{}", error.message);
    }
}

#[test]
fn without_root_marks_are_those_that_userxattr_reads() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { rootless: true, ..options(directory.path()) };
    unpack_bytes(tar(&[file("a/.wh..wh..opq", ""), file(".wh.b", "")]), &options).unwrap();
    let all = facts(directory.path());
    assert_eq!(all[Path::new("a")].xattrs[&b"user.overlay.opaque"[..]], b"y");
    assert!(whiteout(&all[Path::new("b")]));
}

#[test]
fn owner_xattrs_mode_and_times_all_survive_each_other() {
    if !root() {
        return;
    }
    let (mut entry, data) = file("su", "program");
    entry.mode = 0o6755;
    (entry.uid, entry.gid) = (1000, 2000);
    entry.mtime = Time { seconds: 1_000_000_000, nanoseconds: 123_456_789 };
    // VFS_CAP_REVISION_2, effective, CAP_NET_RAW.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    entry.xattrs =
        vec![(b"security.capability".to_vec(), capability.to_vec()), (b"user.a".to_vec(), b"b".to_vec())];
    let expected = entry.clone();
    let directory = unpacked(&[(entry, data)]);
    let found = &facts(directory.path())[Path::new("su")];
    assert_eq!((found.mode, found.owner), (0o6755, (1000, 2000)));
    assert_eq!(found.mtime, (1_000_000_000, 123_456_789));
    assert_eq!(found.xattrs, expected.xattrs.into_iter().collect());
}

#[test]
fn directories_keep_their_times_and_modes_whatever_is_made_in_them() {
    let mut entries = vec![];
    for (path, mode) in [("d", 0o000), ("d/e", 0o555), ("./", 0o2710)] {
        let (mut entry, data) = directory(path);
        entry.mode = mode;
        entry.mtime = Time { seconds: 5, nanoseconds: 5 };
        entries.push((entry, data));
    }
    entries.push(file("d/e/f", "x"));
    entries.push(link(Kind::Symlink, "d/e/s", "f"));
    let top = unpacked(&entries);
    let all = facts(top.path());
    for (path, mode) in [("", 0o2710), ("d", 0), ("d/e", 0o555)] {
        let found = &all[Path::new(path)];
        assert_eq!((found.mode, found.mtime), (mode, (5, 5)), "{path}");
    }
}

#[test]
fn a_directory_over_a_directory_changes_only_attributes_and_all_else_replaces() {
    let (mut again, data) = directory("d");
    again.mode = 0o700;
    let top = unpacked(&[
        directory("d"),
        file("d/kept", "1"),
        (again, data),
        directory("gone"),
        file("gone/x", "2"),
        file("gone", "a file"),
        file("f", "old"),
        link(Kind::Symlink, "f", "d"),
        link(Kind::Symlink, "l", "d"),
        directory("l"),
        file("l/x", "3"),
    ]);
    let all = facts(top.path());
    assert_eq!((all[Path::new("d")].mode, &all[Path::new("d/kept")].content[..]), (0o700, &b"1"[..]));
    assert_eq!((all[Path::new("gone")].kind, all[Path::new("f")].kind), ('-', 'l'));
    assert_eq!((all[Path::new("l")].kind, &all[Path::new("l/x")].content[..]), ('d', &b"3"[..]));
    assert!(!all.contains_key(Path::new("d/x")));
    // What a directory replaces has hidden what lower layers have under its name.
    assert!(opaque(&all[Path::new("l")]) && !opaque(&all[Path::new("d")]));
}

#[test]
fn missing_parents_are_0755_and_the_same_each_time() {
    let top = unpacked(&[file("a/b/c", "")]);
    let all = facts(top.path());
    for path in ["", "a", "a/b"] {
        assert_eq!((all[Path::new(path)].mode, all[Path::new(path)].mtime), (0o755, (0, 0)), "{path}");
    }
}

#[test]
fn devices_and_pipes_are_made_as_root() {
    if !root() {
        return;
    }
    let top = unpacked(&[
        node(Kind::CharDevice, "null", (1, 3)),
        node(Kind::BlockDevice, "disk", (259, 1_000_000)),
        node(Kind::Fifo, "pipe", (0, 0)),
    ]);
    let all = facts(top.path());
    assert_eq!((all[Path::new("null")].kind, all[Path::new("null")].device), ('c', nix::libc::makedev(1, 3)));
    assert_eq!(
        (all[Path::new("disk")].kind, all[Path::new("disk")].device),
        ('b', nix::libc::makedev(259, 1_000_000))
    );
    assert_eq!((all[Path::new("pipe")].kind, all[Path::new("pipe")].mode), ('p', 0o644));
}

#[test]
fn compression_is_found_by_magic_and_both_digests_are_right() {
    let plain = tar(&[file("f", &"text ".repeat(100_000)), directory("d")]);
    let half = plain.len() / 2;
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"skip"].concat();
    let cases = [
        ("", plain.clone()),
        ("+gzip", gzip(&plain)),
        ("+gzip", [gzip(&plain[..half]), gzip(&[]), gzip(&plain[half..])].concat()),
        ("+gzip", [gzip(&plain), vec![0; 1000]].concat()),
        ("+gzip", [gzip(&plain), b"rubbish".to_vec()].concat()),
        ("+zstd", zstd(&plain)),
        ("+zstd", [zstd(&plain[..half]), zstd(&plain[half..])].concat()),
        ("+zstd", [skippable.clone(), zstd(&plain), skippable].concat()),
    ];
    for (index, (suffix, bytes)) in cases.into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let (digest, size) = (sha256(&bytes), bytes.len() as u64);
        let options =
            Options { digest: Some(digest), diff_id: Some(sha256(&plain)), ..options(directory.path()) };
        let unpacked = unpack_bytes(bytes, &options).unwrap_or_else(|error| panic!("case {index}: {error}"));
        assert_eq!(unpacked.media_type, format!("application/vnd.oci.image.layer.v1.tar{suffix}"));
        assert_eq!((unpacked.digest, unpacked.size), (digest, size));
        assert_eq!((unpacked.diff_id, unpacked.unpacked_size), (sha256(&plain), plain.len() as u64));
        assert_eq!(unpacked.entries, 2);
        assert_eq!(facts(directory.path())[Path::new("f")].size, 500_000);
    }
}

#[test]
fn the_answer_is_the_json_of_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let unpacked = unpack_bytes(tar(&[]), &options(directory.path())).unwrap();
    let json = serde_json::to_value(&unpacked).unwrap();
    let names: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["diffId", "digest", "entries", "mediaType", "size", "unpackedSize"]);
    assert_eq!(json["digest"], sha256(&[0; 1024]).to_string());
}

#[test]
fn an_empty_stream_is_an_empty_layer() {
    let directory = tempfile::tempdir().unwrap();
    let unpacked = unpack_bytes(vec![], &options(directory.path())).unwrap();
    assert_eq!((unpacked.entries, unpacked.size), (0, 0));
}

#[test]
fn damaged_layers_say_how_in_one_line() {
    let plain = tar(&[file("f", &"some text that is long enough\n".repeat(20_000))]);
    let zstd = zstd::encode_all(&plain[..], 3).unwrap();
    let gzip = gzip(&plain);
    let changed = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0xff;
        bytes
    };
    let cases = [
        ("LAYER_TRUNCATED", plain[..plain.len() / 2].to_vec(), "'f'"),
        ("LAYER_TRUNCATED", gzip[..gzip.len() / 2].to_vec(), "ends"),
        ("LAYER_TRUNCATED", gzip[..gzip.len() - 4].to_vec(), "ends"),
        ("LAYER_TRUNCATED", gzip[..5].to_vec(), "ends"),
        ("LAYER_TRUNCATED", zstd[..zstd.len() - 9].to_vec(), "ends"),
        ("LAYER_CORRUPT", changed(&gzip, gzip.len() - 6), "damaged"), // the CRC
        ("LAYER_CORRUPT", changed(&zstd, 12), "damaged"),
        ("LAYER_INVALID", b"<html>not found</html>".repeat(100), "not a tar"),
        ("LAYER_INVALID", self::gzip(&b"<html>not found</html>".repeat(100)), "not a tar"),
        ("COMPRESSION_UNSUPPORTED", b"\xfd7zXZ\0rest".to_vec(), "xz"),
        ("COMPRESSION_UNSUPPORTED", b"BZh91AY&SYrest".to_vec(), "bzip2"),
    ];
    for (code, bytes, named) in cases {
        let directory = tempfile::tempdir().unwrap();
        let error = unpack_bytes(bytes, &options(directory.path())).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(named) && !error.message.contains('\n'), "{error}");
    }
}

#[test]
fn wrong_digests_are_told_with_both() {
    let bytes = gzip(&tar(&[file("f", "x")]));
    let wrong = sha256(b"something else");
    let check = |digest, diff_id, code| {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { digest, diff_id, ..options(directory.path()) };
        let error = unpack_bytes(bytes.clone(), &options).unwrap_err();
        assert_eq!(error.code, code);
        assert!(error.message.contains(&wrong.to_string()), "{error}");
    };
    check(Some(wrong), None, "DIGEST_MISMATCH");
    check(None, Some(wrong), "DIFF_ID_MISMATCH");
    check(Some(wrong), Some(wrong), "DIGEST_MISMATCH");
}

#[test]
fn a_target_that_is_not_empty_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mine"), "data").unwrap();
    let error = unpack_bytes(tar(&[file("mine", "theirs")]), &options(directory.path())).unwrap_err();
    assert_eq!(error.code, "TARGET_NOT_EMPTY");
    assert_eq!(std::fs::read(directory.path().join("mine")).unwrap(), b"data");
}

#[test]
fn a_reader_that_fails_is_told() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from_raw_os_error(nix::libc::ECONNRESET))
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let error = kapsel_storage::unpack::unpack(Broken, &options(directory.path()), None).unwrap_err();
    assert_eq!((error.code, error.errno), ("UNPACK_FAILED", Some(nix::libc::ECONNRESET)));
}

#[test]
fn a_bad_layer_is_refused_while_its_sender_still_sends() {
    // The input never ends: the error must not wait for it.
    struct Endless(std::io::Cursor<Vec<u8>>);
    impl std::io::Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => loop {
                    std::thread::park();
                },
                count => Ok(count),
            }
        }
    }
    let mut bytes = tar(&[file("../x", "")]);
    bytes.resize(1 << 20, 0);
    let directory = tempfile::tempdir().unwrap();
    let result = kapsel_storage::unpack::unpack(
        Endless(std::io::Cursor::new(bytes)),
        &options(directory.path()),
        None,
    );
    assert_eq!(result.unwrap_err().code, "LAYER_ESCAPES");
}

#[test]
fn a_file_larger_than_the_disk_is_refused_before_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = tar(&[(Entry::file(b"small", 0), vec![])]);
    let mut bytes = bytes[..512].to_vec();
    bytes[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\x80\0\0\0\0");
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let error = unpack_bytes(bytes, &options(directory.path())).unwrap_err();
    assert_eq!(error.code, "DISK_FULL");
    assert!(error.message.contains("'small'") && error.message.contains("549755813888"), "{error}");
    assert_eq!(facts(directory.path()).len(), 1);
}

#[test]
fn a_disk_that_fills_up_is_told_with_the_entry() {
    if !root() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let (archive, mounted) = (top.path().join("archive"), top.path().join("mounted"));
    std::fs::create_dir(&mounted).unwrap();
    // A small disk, in a mount namespace of its own. The second fills slowly: no file of the layer is too large for it.
    // The third runs out of inodes, which no look at the space tells.
    let large = tar(&[file("first", "1"), file("second", &"x".repeat(2 << 20))]);
    let text = "x".repeat(1 << 20);
    let slow: Vec<Made> = (0..100).map(|i| file(&format!("part-{i}"), &text)).collect();
    let many: Vec<Made> = (0..100).map(|i| file(&format!("file-{i}"), "")).collect();
    for (size, bytes, named) in [
        ("size=1m", large, "'second'"),
        ("size=16m", tar(&slow), "'part-15'"),
        ("nr_inodes=50", tar(&many), "'file-4"),
    ] {
        std::fs::write(&archive, bytes).unwrap();
        let script = format!(
            "mount -t tmpfs -o {size} none \"$1\" && ! \"$2\" --free \"$1\" < \"$3\" && df -k --output=size,avail \"$1\""
        );
        let output = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", &script, "sh"])
            .args([&mounted, &unpacker(), &archive])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.starts_with("DISK_FULL ") && text.contains(named) && text.contains("free some"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
        // Others still have something to write to: a 64th of the disk at least.
        let said = String::from_utf8_lossy(&output.stdout);
        let kibibytes: Vec<u64> =
            said.lines().last().unwrap().split_whitespace().map(|n| n.parse().unwrap()).collect();
        assert!(kibibytes[1] >= kibibytes[0] / 64, "{size}: {kibibytes:?}");
    }
}

#[test]
fn overlayfs_understands_the_marks_of_root_and_of_users() {
    if !root() {
        return;
    }
    let lower =
        tar(&[file("gone", ""), file("kept", ""), file("d/old", ""), file("e/old", ""), file("f/old", "")]);
    let upper = tar(&[
        file(".wh.gone", ""),
        file("d/new", ""),
        file("d/.wh..wh..opq", ""),
        file("e/.wh.old", ""),
        file("e/new", ""),
        // Removed, and made anew: nothing of the old one shows.
        file(".wh.f", ""),
        file("f/new", ""),
    ]);
    for (rootless, namespaces, flags) in
        [(false, &["--mount"][..], ""), (true, &["--user", "--map-root-user", "--mount"], ",userxattr")]
    {
        let top = tempfile::tempdir().unwrap();
        for (name, bytes) in [("lower", &lower), ("upper", &upper)] {
            let into = top.path().join(name);
            std::fs::create_dir(&into).unwrap();
            unpack_bytes(bytes.clone(), &Options { rootless, ..options(&into) }).unwrap();
        }
        std::fs::create_dir(top.path().join("merged")).unwrap();
        let script = format!(
            "cd \"$1\" && mount -t overlay -o lowerdir=upper:lower{flags} none merged && cd merged && find . -type f"
        );
        let output = std::process::Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-c", &script, "sh"])
            .arg(top.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut found: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
        found.sort();
        assert_eq!(found, ["./d/new", "./e/new", "./f/new", "./kept"], "rootless: {rootless}");
    }
}

#[test]
fn a_whiteout_below_what_is_no_directory_says_nothing() {
    let directory = unpacked(&[
        directory("real"),
        file("real/kept", ""),
        link(Kind::Symlink, "sub", "nowhere"),
        file("sub/.wh.gone", ""),
        file("sub/.wh..wh..opq", ""),
        link(Kind::Symlink, "there", "real"),
        file("there/.wh.kept-too", ""),
        file("plain", ""),
        file("plain/.wh.gone", ""),
    ]);
    let all = facts(directory.path());
    let names: Vec<_> = all.keys().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(names, ["", "plain", "real", "real/kept", "sub", "there"]);
    assert!(!opaque(&all[Path::new("real")]));
}

#[test]
fn what_is_in_a_directory_inherits_no_acl_that_its_entry_does_not_have() {
    let top = tempfile::tempdir().unwrap();
    // Version 2: the owner, user 1000, the group, the mask and others, as setfacl(1) writes them.
    let acl: Vec<u8> =
        [(1_u16, 7_u16, u32::MAX), (2, 7, 1000), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)]
            .iter()
            .fold(2_u32.to_le_bytes().to_vec(), |mut bytes, (tag, permissions, id)| {
                bytes.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
                bytes.extend(id.to_le_bytes());
                bytes
            });
    let name = b"system.posix_acl_default".to_vec();
    let (mut shared, data) = directory("shared");
    shared.xattrs = vec![(name.clone(), acl.clone())];
    let entries =
        [(shared, data), directory("shared/below"), file("shared/below/file", "x"), file("shared/file", "x")];
    unpack_bytes(tar(&entries), &options(top.path())).unwrap();
    let all = facts(top.path());
    // A file system without ACLs has nothing to inherit.
    if let Some(found) = all[Path::new("shared")].xattrs.get(&name) {
        assert_eq!(found, &acl);
    }
    for path in ["shared/below", "shared/below/file", "shared/file"] {
        assert!(all[Path::new(path)].xattrs.is_empty(), "{path}");
    }
}
