//! The confined worker: it unpacks, and can do nothing else. Each line of `confine` was taken out of a copy, and tests
//! failed: `whoever_takes_over_…` without chroot, chdir or close_range, `capabilities_that_…` without any of them, without
//! the filter and with the capabilities kept.

mod support;

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use kapsel_storage::tar::Kind;
use support::*;

/// Unpacks with a program in front, say `unshare`.
fn worker(before: &[&str], flags: &[&str], into: &Path, bytes: &[u8]) -> Output {
    let program = unpacker();
    let mut words: Vec<&std::ffi::OsStr> = before.iter().map(std::ffi::OsStr::new).collect();
    words.push(program.as_os_str());
    words.extend(flags.iter().map(std::ffi::OsStr::new));
    words.push(into.as_os_str());
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

fn rich() -> Vec<u8> {
    let mut entries = vec![
        file("d/f", &"text ".repeat(200_000)),
        link(Kind::Symlink, "s", "d/f"),
        link(Kind::HardLink, "h", "d/f"),
        file("d/.wh..wh..opq", ""),
        file(".wh.gone", ""),
        node(Kind::Fifo, "p", (0, 0)),
        directory("d"),
        file("d", "replaced"),
    ];
    let (mut owned, data) = file("owned", "x");
    (owned.uid, owned.gid, owned.mode) = (1000, 1001, 0o4750);
    owned.xattrs = vec![(b"user.a".to_vec(), b"b".to_vec())];
    entries.push((owned, data));
    tar(&entries)
}

#[test]
fn the_confined_worker_unpacks_all_kinds() {
    if !root() {
        return;
    }
    for bytes in [rich(), zstd::encode_all(&rich()[..], 1).unwrap()] {
        let (confined, free) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let output = worker(&[], &[], confined.path(), &bytes);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["entries"], 9);
        unpack_bytes(bytes, &options(free.path())).unwrap();
        assert_eq!(facts(confined.path()), facts(free.path()));
    }
}

#[test]
fn devices_of_the_host_need_root_and_are_made_confined() {
    if !root() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let output = worker(&[], &[], top.path(), &tar(&[node(Kind::CharDevice, "null", (1, 3))]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(facts(top.path())[Path::new("null")].device, nix::libc::makedev(1, 3));
}

#[test]
fn errors_of_the_confined_worker_are_one_line() {
    if !root() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let output = worker(&[], &[], top.path(), &tar(&[file("../x", "")]));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && text.starts_with("LAYER_ESCAPES ") && text.lines().count() == 1,
        "{text}"
    );
}

#[test]
fn in_a_user_namespace_of_one_id_owners_are_remembered() {
    if !root() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let output = worker(&["unshare", "--user", "--map-root-user"], &["--rootless"], top.path(), &rich());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all = facts(top.path());
    let owned = &all[Path::new("owned")];
    assert_eq!((owned.owner, owned.mode), ((0, 0), 0o4750));
    assert_eq!(owned.xattrs[&b"user.containers.override_stat"[..]], b"1000:1001:04750");
    assert_eq!((all[Path::new("gone")].kind, all[Path::new("gone")].device), ('c', 0));
}

#[test]
fn in_a_user_namespace_of_many_ids_owners_are_real() {
    if !root() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    nix::unistd::chown(top.path(), Some(100_000.into()), Some(100_000.into())).unwrap();
    let map = [
        "unshare",
        "--user",
        "--map-users=100000,0,65536",
        "--map-groups=100000,0,65536",
        "--setuid=0",
        "--setgid=0",
    ];
    // Where unshare cannot map ranges (util-linux before 2.38) there is nothing to see.
    if !Command::new(map[0]).args(&map[1..]).arg("true").output().unwrap().status.success() {
        return;
    }
    let mut bytes = vec![file("a/.wh..wh..opq", "")];
    bytes.push({
        let (mut entry, data) = file("owned", "x");
        (entry.uid, entry.gid) = (1000, 1001);
        (entry, data)
    });
    let program_readable = tempfile::tempdir().unwrap();
    run("chmod", &["755", program_readable.path().to_str().unwrap()]);
    let copy = program_readable.path().join("unpack");
    std::fs::copy(unpacker(), &copy).unwrap();
    let mut words = map.to_vec();
    words.extend([copy.to_str().unwrap(), "--rootless", top.path().to_str().unwrap()]);
    let mut child =
        Command::new(words[0]).args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&tar(&bytes)).unwrap();
    assert!(child.wait().unwrap().success());
    let all = facts(top.path());
    assert_eq!(all[Path::new("owned")].owner, (101_000, 101_001));
    assert!(all[Path::new("owned")].xattrs.is_empty());
    assert_eq!(all[Path::new("a")].xattrs[&b"user.overlay.opaque"[..]], b"y");
}

/// Runs in a process of its own, confined: what an attacker who took over the parser would try.
#[test]
fn attack_from_inside() {
    let Some(target) = std::env::var_os("KAPSEL_CONFINE") else { return };
    // A way out that was open before.
    let outside = std::fs::File::open("/").unwrap();
    let fd = outside.as_raw_fd();
    std::mem::forget(outside);
    kapsel_storage::confine::confine(Path::new(&target), false, 3).unwrap();
    let mut failures = Vec::new();
    let mut must_fail = |what: &str, result: nix::libc::c_long| {
        if result >= 0 {
            failures.push(what.to_owned());
        }
    };
    use nix::libc;
    // SAFETY: each call gets pointers to live strings or none, and is expected to be refused.
    unsafe {
        must_fail("fd from before", libc::openat(fd, c"etc/passwd".as_ptr(), libc::O_RDONLY).into());
        must_fail("old root", libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY).into());
        must_fail("above the root", libc::open(c"../../../../etc/passwd".as_ptr(), libc::O_RDONLY).into());
        must_fail("chroot", libc::chroot(c"/".as_ptr()).into());
        must_fail(
            "mount",
            libc::mount(c"none".as_ptr(), c"/".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()).into(),
        );
        must_fail("unshare", libc::unshare(libc::CLONE_NEWUSER).into());
        must_fail("setns", libc::setns(0, 0).into());
        must_fail("socket", libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0).into());
        must_fail("unix socket", libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0).into());
        must_fail("ptrace", libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0));
        must_fail("kill", libc::kill(libc::getppid(), 0).into());
        must_fail(
            "exec",
            libc::execve(c"/x".as_ptr(), [std::ptr::null()].as_ptr(), [std::ptr::null()].as_ptr()).into(),
        );
        must_fail("bpf", libc::syscall(libc::SYS_bpf, 0, 0, 0));
        must_fail(
            "namespace by clone",
            libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0),
        );
        must_fail("process by clone", libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0));
        must_fail("clone3", libc::syscall(libc::SYS_clone3, 0, 0));
        must_fail("handle", libc::syscall(libc::SYS_open_by_handle_at, 0, 0, 0));
        // The C library would make all threads do it, and abort where some may and others may not.
        must_fail("setuid", libc::syscall(libc::SYS_setuid, 1));
        must_fail("reboot", libc::syscall(libc::SYS_reboot, 0, 0, 0, 0));
    }
    // SAFETY: reads a number.
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EPERM));
    assert_eq!(failures, Vec::<String>::new());
    std::fs::write("/inside", "allowed").unwrap();
}

#[test]
fn whoever_takes_over_the_worker_gets_nowhere() {
    if !root() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "attack_from_inside", "--nocapture"])
        .env("KAPSEL_CONFINE", top.path())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
    assert_eq!(std::fs::read(top.path().join("inside")).unwrap(), b"allowed");
}

#[test]
fn capabilities_that_unpacking_does_not_need_are_gone() {
    if !root() {
        return;
    }
    // A thread of its own process's main: /proc shows what the program itself would see.
    let top = tempfile::tempdir().unwrap();
    let mut child =
        Command::new(unpacker()).arg(top.path()).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let field = |name: &str| {
        let text = std::fs::read_to_string(&status).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned()).unwrap()
    };
    // It is confined once its threads wait for input.
    while field("Threads:") != "4" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mask = [0, 1, 3, 4, 21, 27, 31].iter().fold(0u64, |mask, bit| mask | 1 << bit);
    let had = u64::from_str_radix(&field("CapPrm:"), 16).unwrap();
    assert_eq!(had & !mask, 0);
    assert_eq!(
        (field("CapInh:"), field("NoNewPrivs:"), field("Seccomp:")),
        ("0000000000000000".into(), "1".into(), "2".into())
    );
    let fds = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
    // Standard streams and the root of the tree.
    assert_eq!(fds, 4);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
