//! What an unpacker takes of memory does not depend on the layer: the kernel refuses it more than a little.

mod support;

use std::io::{BufWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Output, Stdio};

use kapsel_storage::tar::writer::Writer;
use kapsel_storage::tar::{Entry, Kind};
use nix::libc;
use support::*;

/// Bytes of heap, stacks and mappings of its own; the pieces that wait between its threads are 3 MB of it.
const MOST: u64 = 12 << 20;

/// Unpacks what `fill` writes and `packer` packs, with a recipe, in `most` bytes.
fn bounded(
    into: &Path,
    most: u64,
    packer: &[&str],
    fill: impl FnOnce(&mut Writer<BufWriter<ChildStdin>>),
) -> Output {
    let mut packing = Command::new(packer[0]);
    packing.args(&packer[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut packing = packing.spawn().unwrap();
    let mut command = Command::new(unpacker());
    command.args(["--free", "--recipe"]).arg(into);
    command.stdin(packing.stdout.take().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: one system call, between fork and exec, which reads a structure of ours.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            nix::errno::Errno::result(libc::setrlimit(libc::RLIMIT_DATA, &raw const limit))?;
            Ok(())
        });
    }
    let child = command.spawn().unwrap();
    // It has its own copy of the pipe: with ours open the packer would not see it go.
    drop(command);
    let mut tar = Writer::new(BufWriter::with_capacity(1 << 20, packing.stdin.take().unwrap()));
    fill(&mut tar);
    drop(tar.finish().unwrap().into_inner().unwrap());
    packing.wait().unwrap();
    child.wait_with_output().unwrap()
}

fn succeeded(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A file much larger than the memory, most of it a hole.
fn large(tar: &mut Writer<impl Write>) {
    let (noise, zeros) = (vec![7; 1 << 20], vec![0; 1 << 20]);
    tar.entry(&Entry::file(b"large", 96 << 20)).unwrap();
    for _ in 0..16 {
        tar.write_all(&noise).unwrap();
    }
    for _ in 16..96 {
        tar.write_all(&zeros).unwrap();
    }
}

#[test]
fn a_file_may_be_many_times_larger_than_the_memory_however_it_is_packed() {
    // What zstd may look back to is memory; by itself it looks back two mebibytes.
    for (packer, most) in [
        (&["cat"][..], MOST),
        (&["gzip", "-1"], MOST),
        (&["zstd", "-q"], MOST),
        (&["zstd", "-q", "--long=27"], MOST + (128 << 20)),
    ] {
        let top = tempfile::tempdir().unwrap();
        let into = top.path().join("tree");
        std::fs::create_dir(&into).unwrap();
        succeeded(&bounded(&into, most, packer, large));
        assert_eq!(std::fs::metadata(into.join("large")).unwrap().len(), 96 << 20, "{packer:?}");
    }
}

#[test]
fn a_frame_that_wants_more_memory_than_others_give_it_is_refused_in_one_line() {
    for long in ["--long=28", "--long=31"] {
        let top = tempfile::tempdir().unwrap();
        // There is room enough: it is no question of what this machine has.
        let output = bounded(top.path(), 4 << 30, &["zstd", "-q", long], large);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with("LAYER_LIMIT ") && text.contains("--long=27"), "{long}: {text}");
        assert_eq!(text.lines().count(), 1);
    }
}

#[test]
fn a_layer_may_have_many_entries() {
    // In memory: the disk has nothing to do with it.
    let top = tempfile::tempdir_in("/dev/shm").unwrap();
    let into = top.path().join("tree");
    std::fs::create_dir(&into).unwrap();
    let output = bounded(&into, MOST, &["cat"], |tar| {
        for directory in 0..5_000 {
            let path = format!("usr/share/doc/some-package-{directory}");
            tar.entry(&Entry::new(path.as_bytes(), Kind::Directory)).unwrap();
            for file in 0..8 {
                tar.entry(&Entry::file(format!("{path}/file-{file}").as_bytes(), 1)).unwrap();
                tar.write_all(b"x").unwrap();
            }
            let link = Entry {
                link: format!("{path}/file-0").into_bytes(),
                ..Entry::new(format!("{path}/link").as_bytes(), Kind::HardLink)
            };
            tar.entry(&link).unwrap();
        }
    });
    assert_eq!(succeeded(&output)["entries"], 50_000);
}
