//! Tree and recipe are the tar again, bit for bit, whatever the tar does; and a damaged recipe is one clear error.

mod support;

use std::io::Write;
use std::path::Path;

use kapsel_storage::tar::{Entry, Kind};
use support::*;

fn back(tar: &[u8]) {
    let top = tempfile::tempdir().unwrap();
    unpack_and_back(tar, &options(top.path()));
}

#[test]
fn what_an_ordinary_layer_has_comes_back() {
    let (mut owned, data) = file(&format!("{}/x", "long/".repeat(60)), "far away");
    (owned.uid, owned.mode, owned.xattrs) = (0, 0o4755, vec![(b"user.a".to_vec(), b"\0=\n".to_vec())]);
    let large: String = (0..400_000u64).map(|i| char::from(b'a' + (i * i % 23) as u8)).collect();
    back(&tar(&[
        directory("d"),
        file("d/f", "text"),
        file("d/empty", ""),
        file("d/large", &large),
        link(Kind::Symlink, "s", "d/f"),
        link(Kind::HardLink, "h", "d/f"),
        node(Kind::Fifo, "p", (0, 0)),
        file("d/.wh..wh..opq", ""),
        file(".wh.gone", ""),
        (owned, data),
    ]));
}

#[test]
fn layers_without_a_byte_or_an_entry_or_an_end_come_back() {
    back(&[]);
    back(&[0; 512]);
    back(&tar(&[]));
    let whole = tar(&[file("f", "text")]);
    back(&whole[..1024]);
    back(&[&whole[..], b"garbage after the end".repeat(100_000).as_slice()].concat());
}

#[test]
fn a_file_that_is_replaced_is_kept() {
    let long = "first ".repeat(500_000);
    back(&tar(&[
        file("f", &long),
        file("f", "second"),
        file("f", "third"),
        // By another kind, and a directory full of files by a file.
        file("g", "was a file"),
        link(Kind::Symlink, "g", "f"),
        file("d/a", "a"),
        file("d/b/c", &long),
        file("d", "was a directory"),
        // Under the same names again.
        link(Kind::Symlink, "d", "nowhere"),
        directory("d"),
        file("d/a", "another a"),
        file("same", "x"),
        file("same", "x"),
    ]));
}

#[test]
fn second_names_are_kept_where_the_first_is_replaced() {
    back(&tar(&[
        file("f", "one"),
        link(Kind::HardLink, "g", "f"),
        file("f", "two"),
        link(Kind::HardLink, "h", "g"),
        file("g", "three"),
        link(Kind::HardLink, "d/i", "h"),
        file("d", "four"),
        file("h", "five"),
    ]));
}

#[test]
fn whiteouts_with_content_and_of_the_layers_own_files_come_back() {
    back(&tar(&[
        file("f", "stays"),
        file(".wh.f", "a whiteout with a text"),
        file(".wh.g", "another"),
        file("g", "comes after its whiteout"),
        file("d/f", "x"),
        file(".wh.d", ""),
        file(".wh..wh.plnk", "aufs"),
    ]));
}

#[test]
fn files_reached_through_links_come_back() {
    back(&tar(&[
        file("b/f", "old"),
        link(Kind::Symlink, "l", "b"),
        link(Kind::Symlink, "deep/er", "/l/../l/./"),
        file("l/f", "new, by a link"),
        file("b/g", "g"),
        file("deep/er/g", "new g, by a link to a link"),
        file("deep/er/h/i", "a new directory there"),
        link(Kind::Symlink, "l", "elsewhere"),
        directory("elsewhere"),
        file("l/f", "now somewhere else"),
        file("b/f", "newest"),
    ]));
}

#[test]
fn a_link_repeated_and_replaced_does_not_make_the_recipe_grow() {
    let mut entries = vec![file("f", &"0123456789abcdef".repeat(1 << 16))];
    for _ in 0..200 {
        entries.push(link(Kind::HardLink, "d/l", "f"));
        entries.push(file("d", ""));
        entries.push(link(Kind::Symlink, "d", "x"));
        entries.push(directory("d"));
    }
    let top = tempfile::tempdir().unwrap();
    let recipe = unpack_and_back(&tar(&entries), &options(top.path()));
    assert!(recipe.path().metadata().unwrap().len() < 200_000);
}

#[test]
fn a_hole_is_kept_as_one() {
    // GNU tar's own, of a gigabyte: its content replaced would fill the recipe if it were read.
    let tree = tempfile::tempdir().unwrap();
    let name = tree.path().join("f");
    std::fs::File::create(&name).unwrap().set_len(1 << 30).unwrap();
    std::os::unix::fs::FileExt::write_all_at(
        &std::fs::File::options().write(true).open(&name).unwrap(),
        b"data",
        1 << 29,
    )
    .unwrap();
    for format in
        ["gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix --sparse-version=1.0"]
    {
        let script = format!("cd '{}' && tar -c -S --format={format} f f", tree.path().display());
        // The second is written as a hard link of it: the same bytes twice are two files.
        let once = run("sh", &["-c", &script.replace(" f f", " f")]).stdout;
        let end = once.iter().rposition(|&byte| byte != 0).unwrap() / 512 * 512 + 512;
        let twice = [&once[..end], &once[..]].concat();
        let top = tempfile::tempdir().unwrap();
        let recipe = unpack_and_back(&twice, &options(top.path()));
        assert!(recipe.path().metadata().unwrap().len() < 20_000, "{format}");
    }
}

#[test]
fn a_tree_that_was_changed_is_found_out() {
    let bytes = tar(&[file("d/f", "some text"), file("d/g", "other text"), file("d/h", "x")]);
    let fresh = || {
        let top = tempfile::tempdir().unwrap();
        let recipe = unpack_and_back(&bytes, &options(top.path()));
        (top, recipe)
    };
    let code = |spoil: &dyn Fn(&Path)| {
        let (top, recipe) = fresh();
        spoil(top.path());
        layer(top.path(), recipe.path()).map(|(written, _)| written.diff_id)
    };
    let damaged = |spoil: &dyn Fn(&Path)| code(spoil).unwrap_err().code;
    assert_eq!(damaged(&|top| std::fs::remove_file(top.join("d/f")).unwrap()), "LAYER_DAMAGED");
    assert_eq!(damaged(&|top| std::fs::write(top.join("d/f"), "x").unwrap()), "LAYER_DAMAGED");
    assert_eq!(
        damaged(&|top| {
            std::fs::remove_file(top.join("d/f")).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", top.join("d/f")).unwrap();
        }),
        "LAYER_DAMAGED"
    );
    assert_eq!(
        damaged(&|top| {
            std::fs::rename(top.join("d"), top.join("e")).unwrap();
            std::os::unix::fs::symlink("e", top.join("d")).unwrap();
        }),
        "LAYER_DAMAGED"
    );
    assert_eq!(
        damaged(&|top| {
            std::fs::remove_file(top.join("d/f")).unwrap();
            nix::unistd::mkfifo(&top.join("d/f"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        "LAYER_DAMAGED"
    );
    let (top, recipe) = fresh();
    std::fs::write(top.path().join("d/f"), "SOME TEXT").unwrap();
    let diff_id = Some(kapsel_storage::Digest::of(&bytes));
    let tree = std::fs::File::open(top.path()).unwrap().into();
    let recipe = recipe.reopen().unwrap();
    let error = kapsel_storage::layer::write(tree, recipe, diff_id, &mut std::io::sink()).unwrap_err();
    assert_eq!(error.code, "DIFF_ID_MISMATCH");
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let top = tempfile::tempdir().unwrap();
    let bytes = tar(&[file("f", &"text".repeat(20 << 20))]);
    let recipe = unpack_and_back(&bytes, &options(top.path()));
    let tree = std::fs::File::open(top.path()).unwrap().into();
    let error =
        kapsel_storage::layer::write(tree, recipe.reopen().unwrap(), None, &mut Full(100)).unwrap_err();
    assert_eq!(error.code, "OUTPUT_FAILED");
}

#[test]
fn a_damaged_recipe_is_one_error() {
    let bytes = tar(&[
        file("d/f", &"some text ".repeat(1000)),
        file("d/f", "replaced"),
        (Entry::file(b"d/g", 4), b"data".to_vec()),
    ]);
    let top = tempfile::tempdir().unwrap();
    let recipe = unpack_and_back(&bytes, &options(top.path()));
    let whole = std::fs::read(recipe.path()).unwrap();
    let tried = |spoiled: &[u8]| {
        std::fs::write(recipe.path(), spoiled).unwrap();
        let (written, bytes) = layer(top.path(), recipe.path())?;
        Ok::<_, kapsel_storage::Error>((written.diff_id, kapsel_storage::Digest::of(&bytes)))
    };
    for length in 0..whole.len() {
        assert_eq!(
            tried(&whole[..length]).map_err(|error| error.code),
            Err("RECIPE_DAMAGED"),
            "cut at {length}"
        );
    }
    // A fixed budget: every byte, in a few ways.
    for at in 0..whole.len() {
        for flip in [1, 0x80, 0xff] {
            let mut spoiled = whole.clone();
            spoiled[at] ^= flip;
            match tried(&spoiled) {
                // What LZ4 does not notice the digest does.
                Ok((told, found)) => assert_eq!(told, found, "{at}"),
                Err(error) => assert!(
                    matches!(error.code, "RECIPE_DAMAGED" | "LAYER_DAMAGED"),
                    "{at}: {} {error}",
                    error.code
                ),
            }
        }
    }
}

#[test]
fn a_recipe_that_the_disk_has_no_room_for_ends_before_the_disk_is_full() {
    if !root() {
        return;
    }
    let mut seed = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    })
    .take(40 << 20)
    .collect();
    let top = tempfile::tempdir().unwrap();
    let bomb = top.path().join("bomb.tar");
    std::fs::write(&bomb, [tar(&[file("f", "x")]), noise].concat()).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=16m tmpfs '{0}' && mkdir '{0}/into' && ! '{1}' --free --recipe '{0}/into' < /dev/fd/3 && df --output=avail '{0}'",
        top.path().display(),
        unpacker().display()
    );
    let output =
        run("unshare", &["--mount", "sh", "-ec", &format!("exec 3< '{}'; {script}", bomb.display())]);
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("DISK_FULL "), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let left: u64 = said.lines().last().unwrap().trim().parse().unwrap();
    assert!(left >= 100, "{left} KiB are left");
}
