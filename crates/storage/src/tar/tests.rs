//! The reader against the writer, and against bytes no writer makes.

use super::writer::Writer;
use super::*;
use std::io::Write;

fn write(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.entry(entry).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap()
}

/// Feeds `tar` in pieces of `step` bytes.
fn read(tar: &[u8], step: usize) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = Reader::default();
    let mut found: Vec<(Entry, Vec<u8>)> = Vec::new();
    let mut open = false;
    for mut piece in tar.chunks(step) {
        while let Some(event) = reader.next(&mut piece)? {
            match event {
                Event::Entry(entry) => {
                    assert!(!open);
                    open = true;
                    let room = vec![0; entry.size as usize];
                    found.push((*entry, room));
                }
                Event::Data { offset, bytes } => {
                    let at = offset as usize;
                    found.last_mut().unwrap().1[at..at + bytes.len()].copy_from_slice(bytes);
                }
                Event::EntryEnd => open = false,
            }
        }
    }
    reader.finish()?;
    Ok(found)
}

/// Replaces bytes of the header at `at` and mends its checksum.
fn patch(tar: &mut [u8], at: usize, field: usize, bytes: &[u8]) {
    tar[at + field..at + field + bytes.len()].copy_from_slice(bytes);
    tar[at + 148..at + 156].fill(b' ');
    let sum: u32 = tar[at..at + BLOCK].iter().map(|&b| u32::from(b)).sum();
    tar[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn what_the_writer_writes_the_reader_reads_in_pieces_of_any_size() {
    let long = [b"d/".repeat(90), b"n".repeat(200)].concat();
    let mut linked = Entry::new(b"link", Kind::Symlink);
    linked.link = b"t".repeat(300);
    let mut rich = Entry::file(&long, 1000);
    rich.uid = 3_000_000_000;
    rich.gid = 8_000_000;
    rich.mode = 0o4755;
    rich.mtime = Time { seconds: -5, nanoseconds: 250_000_000 };
    rich.xattrs = vec![(b"user.a".to_vec(), b"1\n\0=".to_vec()), (b"user.b".to_vec(), vec![b'x'; 5000])];
    let mut device = Entry::new(b"dev/null", Kind::CharDevice);
    device.device = (1, 3);
    let prefixed = Entry::file(&[b"p".repeat(120), b"/name".to_vec()].concat(), 0);
    let entries = [
        (Entry::new(b"dir/", Kind::Directory), vec![]),
        (rich, (0..1000).map(|i| i as u8).collect()),
        (linked, vec![]),
        (device, vec![]),
        (prefixed, vec![]),
        (Entry::file(b"block", 512), vec![7; 512]),
    ];
    let tar = write(&entries);
    for step in [1, 7, 511, 512, 513, 100_000] {
        assert_eq!(read(&tar, step).unwrap(), entries, "in steps of {step}");
    }
}

#[test]
fn a_tar_cut_anywhere_but_between_entries_is_truncated() {
    let tar = write(&[(Entry::file(b"a", 600), vec![1; 600]), (Entry::file(&b"b".repeat(150), 0), vec![])]);
    // a: header, two blocks; b: pax header, its data, header; the end: two blocks of zeros.
    let whole = [0, 3 * BLOCK, 6 * BLOCK];
    for cut in 0..6 * BLOCK {
        let result = read(&tar[..cut], 4096);
        assert_eq!(result.is_ok(), whole.contains(&cut), "cut at {cut}");
        if let Err(error) = result {
            assert!(matches!(error, TarError::Truncated(_)), "cut at {cut}: {error:?}");
        }
    }
}

#[test]
fn what_follows_the_end_is_ignored() {
    let mut tar = write(&[(Entry::file(b"a", 0), vec![])]);
    tar.extend(b"rubbish".repeat(999));
    assert_eq!(read(&tar, 1000).unwrap().len(), 1);
}

#[test]
fn no_bytes_at_all_are_an_empty_tar() {
    assert_eq!(read(&[], 1).unwrap(), []);
    assert_eq!(read(&[0; 1024], 100).unwrap(), []);
}

#[test]
fn a_damaged_header_is_invalid() {
    let mut tar = write(&[(Entry::file(b"a", 0), vec![]), (Entry::file(b"b", 0), vec![])]);
    tar[BLOCK] ^= 1;
    assert_eq!(
        read(&tar, 512).unwrap_err(),
        TarError::Invalid("the header after entry 'a' has a wrong checksum".to_owned())
    );
    assert!(matches!(read(&[b'<'; 2048], 512), Err(TarError::Invalid(text)) if text.contains("not a tar")));
}

#[test]
fn unknown_types_are_refused_and_contiguous_files_are_files() {
    let mut tar = write(&[(Entry::file(b"a", 0), vec![])]);
    patch(&mut tar, 0, 156, b"7");
    assert_eq!(read(&tar, 512).unwrap()[0].0.kind, Kind::File);
    for flag in [b"V", b"M", b"D", b"Z", b"\x01"] {
        patch(&mut tar, 0, 156, flag);
        assert!(matches!(read(&tar, 512), Err(TarError::Invalid(_))), "{flag:?}");
    }
}

#[test]
fn owners_and_sizes_that_cannot_be_are_refused() {
    for (field, bytes) in [
        (108, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff][..]), // uid -1: chown would leave it
        (116, &[0xff; 8]),
        (124, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (124, &[0xff; 12]),
        (100, b"rwxr-xr-"),
    ] {
        let mut tar = write(&[(Entry::file(b"a", 0), vec![])]);
        patch(&mut tar, 0, field, bytes);
        assert!(matches!(read(&tar, 512), Err(TarError::Invalid(_))), "{field} {bytes:?}");
    }
}

#[test]
fn an_extended_header_of_more_than_a_mebibyte_is_refused_before_it_is_read() {
    for flag in [b"x", b"L", b"K", b"g"] {
        let mut tar = write(&[(Entry::file(b"a", 0), vec![])]);
        patch(&mut tar, 0, 124, b"00004000001\0");
        patch(&mut tar, 0, 156, flag);
        assert!(matches!(read(&tar, 512), Err(TarError::Limit(_))), "{flag:?}");
    }
}

#[test]
fn a_global_header_changes_no_entry_whatever_it_says() {
    let records = b"13 path=evil\n16 linkpath=evil\n10 size=1\n12 uid=1000\n27 SCHILY.xattr.user.evil=1\n";
    let entries = [
        (Entry::file(b"short", 5), b"whole".to_vec()),
        // This one has a header of its own, which counts.
        (Entry::file(&b"n".repeat(150), 3), b"own".to_vec()),
        (Entry { link: b"target".to_vec(), ..Entry::new(b"link", Kind::Symlink) }, vec![]),
    ];
    let mut global = write(&[(Entry::file(b"pax_global_header", records.len() as u64), records.to_vec())]);
    patch(&mut global, 0, 156, b"g");
    let global = &global[..2 * BLOCK];
    // At the beginning, as `git archive` has it, and between any two.
    let one_by_one = entries.iter().flat_map(|entry| {
        let alone = write(std::slice::from_ref(entry));
        [global, &alone[..alone.len() - 2 * BLOCK]].concat()
    });
    let tar: Vec<u8> = one_by_one.chain([0; 2 * BLOCK]).collect();
    for step in [1, 512, 100_000] {
        assert_eq!(read(&tar, step).unwrap(), entries, "in steps of {step}");
    }
}

#[test]
fn a_name_with_a_nul_from_a_pax_header_is_refused() {
    let mut tar = write(&[(Entry::file(&[b"a".repeat(150), b"b".to_vec()].concat(), 0), vec![])]);
    let at = tar.windows(5).position(|w| w == b"path=").unwrap() + 20;
    tar[at] = 0;
    assert!(matches!(read(&tar, 512), Err(TarError::Invalid(text)) if text.contains("NUL")));
}

#[test]
fn data_of_links_and_directories_does_not_exist_whatever_their_size_says() {
    let mut tar = write(&[(Entry::new(b"d/", Kind::Directory), vec![]), (Entry::file(b"a", 0), vec![])]);
    patch(&mut tar, 0, 124, b"00000001000\0");
    assert_eq!(read(&tar, 512).unwrap().len(), 2);
}

#[test]
fn damaged_tars_never_panic() {
    let mut rich = Entry::file(&b"n".repeat(150), 700);
    rich.xattrs = vec![(b"user.a".to_vec(), b"v".to_vec())];
    let tar = write(&[(rich, vec![9; 700]), (Entry::new(b"d/", Kind::Directory), vec![])]);
    // A small generator of its own: the same damage every time.
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    for _ in 0..20_000 {
        let mut damaged = tar.clone();
        let header = [0, BLOCK * 2][random() % 2];
        for _ in 0..=random() % 4 {
            let at = random() % damaged.len();
            damaged[at] = random() as u8;
        }
        if random() % 2 == 0 {
            patch(&mut damaged, header, 124, b"00000"); // a checksum that is right again
        }
        let _ = read_unbounded(&damaged);
    }
}

/// Like `read`, without making room for what a header claims.
fn read_unbounded(mut tar: &[u8]) -> Result<(), TarError> {
    let mut reader = Reader::default();
    while reader.next(&mut tar)?.is_some() {}
    reader.finish()
}
