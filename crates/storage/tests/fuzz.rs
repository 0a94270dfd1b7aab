//! Damaged tars, a fixed budget of them: each is one error with a code of its own, or a layer whose recipe gives the
//! same bytes again; nothing panics, and nothing is made outside of the tree.
#![allow(clippy::print_stdout)] // a test that fails shows its seed

mod support;

use std::io::Write;

use kapsel_storage::tar::writer::Writer;
use kapsel_storage::tar::{Entry, Kind, Time};
use kapsel_storage::unpack::unpack;
use support::*;

const ROUNDS: u64 = 400;

const CODES: [&str; 6] =
    ["LAYER_TRUNCATED", "LAYER_INVALID", "LAYER_ESCAPES", "LAYER_DEVICE", "LAYER_LIMIT", "UNPACK_FAILED"];

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Everything that the parsers know, in little space.
fn rich() -> Vec<u8> {
    let long = format!("{}/f", "long/".repeat(50));
    let (mut adorned, data) = file("adorned", "x");
    adorned.xattrs = vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.=".to_vec(), b"\n".to_vec())];
    (adorned.uid, adorned.mtime) = (3_000_000_000, Time { seconds: -5, nanoseconds: 7 });
    let mut writer = Writer::new(Vec::new());
    let entries = [
        directory("d"),
        file("d/f", "some text"),
        file(&long, "far"),
        link(Kind::Symlink, "l", "d"),
        link(Kind::HardLink, "h", "d/f"),
        node(Kind::Fifo, "p", (0, 0)),
        node(Kind::CharDevice, "null", (1, 3)),
        file("l/g", "through a link"),
        file("d/.wh.gone", ""),
        file("d/.wh..wh..opq", ""),
        (adorned, data),
        file("d/f", "replaced"),
        file("d", "now a file"),
        (Entry::new(b"./", Kind::Directory), Vec::new()),
    ];
    for (entry, data) in &entries {
        writer.entry(entry).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap()
}

/// GNU's own: long names in its way, and sparse files in all three.
fn gnu() -> Vec<Vec<u8>> {
    let tree = tempfile::tempdir().unwrap();
    let name = tree.path().join("n".repeat(120));
    std::fs::File::create(&name).unwrap().set_len(1 << 20).unwrap();
    let file = std::fs::File::options().write(true).open(&name).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[b'd'; 5000], 100_000).unwrap();
    ["gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix --sparse-version=1.0"]
        .map(|format| {
            let script = format!("cd '{}' && tar -c -S --format={format} .", tree.path().display());
            run("sh", &["-c", &script]).stdout
        })
        .into()
}

/// Makes the checksum of every block right again that was a header before.
fn mend(tar: &mut [u8], was: &[u8]) {
    for (block, was) in tar.chunks_exact_mut(512).zip(was.chunks_exact(512)) {
        if &was[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
}

#[test]
fn a_damaged_tar_is_one_error_or_a_layer_that_comes_back() {
    let mut originals = gnu();
    originals.push(rich());
    // A tree beside that of the layer, to see that nothing reaches it.
    let top = tempfile::tempdir().unwrap();
    let (into, beside) = (top.path().join("into"), top.path().join("beside"));
    std::fs::create_dir(&beside).unwrap();
    let (mut whole, mut refused) = (0, 0);
    for seed in 0..ROUNDS {
        let mut random = Random(seed);
        // The richest as often as all others.
        let original = &originals[random.below(2 * originals.len()).min(originals.len() - 1)];
        let mut tar = original.clone();
        for _ in 0..1 + random.below(4) {
            let length = tar.len();
            let at = random.below(length);
            match random.below(6) {
                0 => tar[at] = random.below(256) as u8,
                1 => tar[at] ^= 1 << random.below(8),
                2 => tar[at] = b"0179/.\0 =\n-"[random.below(11)],
                // A block twice, or none, or elsewhere.
                3 => tar.copy_within(at / 512 * 512..(at / 512 * 512 + 512).min(length), 0),
                4 => tar.truncate(at.max(1)),
                _ => {
                    let word = [&b"../"[..], b"/etc", b".wh.", b"\xff\xff\xff\xff", b"99999999", b"-1"]
                        [random.below(6)];
                    let end = (at + word.len()).min(length);
                    tar[at..end].copy_from_slice(&word[..end - at]);
                }
            }
        }
        if random.below(4) > 0 {
            mend(&mut tar, original);
        }
        std::fs::create_dir(&into).unwrap();
        let recipe = tempfile::NamedTempFile::new().unwrap();
        let result =
            unpack(std::io::Cursor::new(tar.clone()), &options(&into), Some(recipe.reopen().unwrap()));
        println!("seed {seed}: {:?}", result.as_ref().map(|unpacked| unpacked.entries));
        match result {
            Ok(_) => {
                whole += 1;
                let (_, again) = layer(&into, recipe.path()).unwrap();
                assert!(again == tar, "it came back changed");
            }
            Err(error) => {
                refused += 1;
                assert!(CODES.contains(&error.code), "{}", error.code);
                assert!(!error.message.contains(['\n', '\0', '\x1b']), "{:?}", error.message);
            }
        }
        kapsel_storage::remove::remove_tree(&into).unwrap();
        assert_eq!(std::fs::read_dir(&beside).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), 1);
    }
    // Neither all nor none of them: the damage is of the right size.
    assert!(whole > ROUNDS / 10 && refused > ROUNDS / 10, "{whole} whole, {refused} refused");
}
