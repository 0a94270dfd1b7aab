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

/// Unpacks what `fill` writes, with a recipe.
fn bounded(into: &Path, fill: impl FnOnce(&mut Writer<BufWriter<ChildStdin>>)) -> Output {
    let mut command = Command::new(unpacker());
    command.args(["--free", "--recipe"]).arg(into);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: one system call, between fork and exec, which reads a structure of ours.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit { rlim_cur: MOST, rlim_max: MOST };
            nix::errno::Errno::result(libc::setrlimit(libc::RLIMIT_DATA, &raw const limit))?;
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap();
    let mut tar = Writer::new(BufWriter::with_capacity(1 << 20, child.stdin.take().unwrap()));
    fill(&mut tar);
    tar.finish().unwrap().flush().unwrap();
    child.wait_with_output().unwrap()
}

fn succeeded(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_file_may_be_many_times_larger_than_the_memory() {
    let top = tempfile::tempdir().unwrap();
    let into = top.path().join("tree");
    std::fs::create_dir(&into).unwrap();
    let (noise, zeros) = (vec![7; 1 << 20], vec![0; 1 << 20]);
    let output = bounded(&into, |tar| {
        tar.entry(&Entry::file(b"large", 160 << 20)).unwrap();
        for _ in 0..32 {
            tar.write_all(&noise).unwrap();
        }
        for _ in 32..160 {
            tar.write_all(&zeros).unwrap();
        }
    });
    succeeded(&output);
    assert_eq!(std::fs::metadata(into.join("large")).unwrap().len(), 160 << 20);
}

#[test]
fn a_layer_may_have_many_entries() {
    // In memory: the disk has nothing to do with it.
    let top = tempfile::tempdir_in("/dev/shm").unwrap();
    let into = top.path().join("tree");
    std::fs::create_dir(&into).unwrap();
    let output = bounded(&into, |tar| {
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
