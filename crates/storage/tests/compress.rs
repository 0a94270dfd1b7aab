//! A tar packed on several threads: what others unpack of it is the tar, and the bytes are always the same.

mod support;

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kapsel_storage::Compression;
use kapsel_storage::compress::{Compressed, compress};
use kapsel_storage::unpack::unpack;
use support::*;

fn packed(tar: &[u8], compression: Compression, level: Option<i32>) -> (Compressed, Vec<u8>) {
    let mut blob = Vec::new();
    (compress(tar, compression, level, &mut blob).unwrap(), blob)
}

/// Without structure, so that blocks do not shrink to nothing.
fn noise(length: usize) -> String {
    let mut seed = 7u32;
    let next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b' ' + (seed >> 26) as u8)
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn a_blob_is_the_tar_packed_and_always_the_same() {
    let bytes = tar(&[file("noise", &noise(1_200_000)), file("text", &"text ".repeat(200_000))]);
    for (compression, level) in [
        (Compression::Gzip, None),
        (Compression::Gzip, Some(1)),
        (Compression::Gzip, Some(0)),
        (Compression::Zstd, None),
        (Compression::Zstd, Some(1)),
    ] {
        let (compressed, blob) = packed(&bytes, compression, level);
        let mut plain = Vec::new();
        match compression {
            // One member: what reads only the first has everything.
            Compression::Gzip => flate2::read::GzDecoder::new(&blob[..]).read_to_end(&mut plain).unwrap(),
            _ => zstd::Decoder::new(&blob[..]).unwrap().read_to_end(&mut plain).unwrap(),
        };
        assert!(plain == bytes, "{compression:?} {level:?}");
        assert_eq!(
            (compressed.size, compressed.digest),
            (blob.len() as u64, kapsel_storage::Digest::of(&blob))
        );
        assert!(packed(&bytes, compression, level).1 == blob);
        // And what we unpack of it is the same layer.
        let there = tempfile::tempdir().unwrap();
        let unpacked = unpack(Cursor::new(blob), &options(there.path()), None).unwrap();
        assert_eq!(unpacked.diff_id, kapsel_storage::Digest::of(&bytes));
        assert_eq!(unpacked.media_type, compression.media_type());
    }
}

/// The processor time of each thread that has the name of the calling one, which threads have from whoever starts them.
fn busy(but: &Path) -> Vec<u64> {
    let name = std::fs::read("/proc/thread-self/comm").unwrap();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let others = tasks.filter(|task| !task.ends_with(but));
    let ours = others.filter(|task| std::fs::read(task.join("comm")).is_ok_and(|found| found == name));
    ours.filter_map(|task| std::fs::read_to_string(task.join("schedstat")).ok())
        .map(|text| text.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

/// Gives all its bytes, and notes at their end how the threads have shared the work.
struct Observed<'a> {
    bytes: &'a [u8],
    caller: PathBuf,
    busy: &'a mut Vec<u64>,
}

impl Read for Observed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.bytes.is_empty() {
            *self.busy = busy(&self.caller);
        }
        self.bytes.read(buffer)
    }
}

/// Keeps the calling thread, and those that it starts, on the first of its processors.
fn on_one_processor() {
    // SAFETY: the kernel reads and writes one structure of ours, for the calling thread.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &raw mut set), 0);
        let first = (0..libc::CPU_SETSIZE as usize).find(|&cpu| libc::CPU_ISSET(cpu, &set)).unwrap();
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(first, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &raw const set), 0);
    }
}

#[test]
fn the_bytes_are_the_same_on_one_processor_and_all_others_are_used() {
    let bytes = tar(&[file("noise", &noise(16 << 20))]);
    for (compression, level) in [(Compression::Gzip, Some(6)), (Compression::Zstd, Some(9))] {
        let mut shares = Vec::new();
        let mut many = Vec::new();
        let caller = std::fs::read_link("/proc/thread-self").unwrap().file_name().unwrap().into();
        let input = Observed { bytes: &bytes, caller, busy: &mut shares };
        compress(input, compression, level, &mut many).unwrap();
        let alone = std::thread::scope(|scope| {
            let alone = || {
                on_one_processor();
                packed(&bytes, compression, level).1
            };
            scope.spawn(alone).join().unwrap()
        });
        assert!(many == alone, "{compression:?}");
        // No thread has had nearly all of the work.
        if std::thread::available_parallelism().unwrap().get() > 1 {
            let (most, all): (u64, u64) = (*shares.iter().max().unwrap(), shares.iter().sum());
            assert!(most * 4 < all * 3, "{compression:?}: {shares:?}");
        }
    }
}

#[test]
fn the_sizes_around_a_block_come_out_whole() {
    for (compression, block) in
        [(Compression::None, 4 << 20), (Compression::Gzip, 512 << 10), (Compression::Zstd, 4 << 20)]
    {
        for size in [0, 1, block - 1, block, block + 1] {
            let bytes = vec![b'x'; size];
            let (_, blob) = packed(&bytes, compression, None);
            let program = match compression {
                Compression::None => &["cat"][..],
                Compression::Gzip => &["gzip", "-dc"],
                Compression::Zstd => &["zstd", "-dc"],
            };
            let mut command = Command::new(program[0]);
            let mut child =
                command.args(&program[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let feeding = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &blob).unwrap());
            let output = child.wait_with_output().unwrap();
            feeding.join().unwrap();
            assert!(output.status.success() && output.stdout == bytes, "{compression:?} of {size}");
        }
    }
}

#[test]
fn a_level_that_there_is_not_is_refused_and_a_full_disk_is_told() {
    for (compression, level) in [(Compression::Gzip, 10), (Compression::Zstd, 23), (Compression::Zstd, -1)] {
        let error = compress(&b""[..], compression, Some(level), &mut std::io::sink()).unwrap_err();
        assert_eq!(error.code, "LEVEL_INVALID");
    }
    let mut full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let error = compress(noise(1_200_000).as_bytes(), Compression::Gzip, None, &mut full).unwrap_err();
    assert_eq!(error.code, "DISK_FULL");
}
