//! What an overlay has changed, by the kernel's own overlayfs where a mount is allowed: written down, and read by GNU tar.

use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use kapsel_storage::changes::{write_layer, write_merged, write_tar};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::{Mode, SFlag, mknod};

fn set_xattr(path: &Path, name: &std::ffi::CStr, value: &[u8]) {
    let file = std::fs::File::open(path).unwrap();
    // SAFETY: the name ends with a NUL and the value has its length.
    let result =
        unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn what_is_new_is_in_the_tar_and_what_is_gone_is_told() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    let (upper, upmost, lowest) = (top.path().join("upper"), top.path().join("b"), top.path().join("a"));
    for directory in
        [upper.join("new/deep"), upmost.join("hidden"), lowest.join("hidden/sub"), upper.join("hidden")]
    {
        std::fs::create_dir_all(directory).unwrap();
    }
    // Below: a and b; c is gone already in the layer above.
    for name in ["hidden/a", "hidden/c", "hidden/kept"] {
        std::fs::write(lowest.join(name), "x").unwrap();
    }
    std::fs::write(upmost.join("hidden/b"), "x").unwrap();
    let whiteout = |path: &Path| mknod(path, SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
    whiteout(&upmost.join("hidden/c"));
    std::fs::write(upper.join("hidden/kept"), "anew").unwrap();
    set_xattr(&upper.join("hidden"), c"trusted.overlay.opaque", b"y");
    whiteout(&upper.join("removed"));
    std::fs::write(upper.join("new/deep/file"), "content").unwrap();
    set_xattr(&upper.join("new/deep/file"), c"user.kapsel", b"1");
    std::fs::hard_link(upper.join("new/deep/file"), upper.join("new/other")).unwrap();
    symlink("/etc/passwd", upper.join("new/link")).unwrap();

    let tar = top.path().join("changes.tar");
    let gone = write_tar(&upper, &[upmost, lowest], std::fs::File::create(&tar).unwrap()).unwrap();
    let gone: Vec<_> = gone.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    assert_eq!(gone, ["/hidden/a", "/hidden/b", "/hidden/sub", "/removed"]);

    let into = top.path().join("into");
    std::fs::create_dir(&into).unwrap();
    let mut extract = Command::new("tar");
    extract.args(["--xattrs", "--xattrs-include=*", "-xf"]).arg(&tar).arg("-C").arg(&into);
    assert!(extract.status().unwrap().success());
    let inode = |name: &str| into.join(name).symlink_metadata().unwrap().ino();
    assert_eq!(inode("new/deep/file"), inode("new/other"));
    assert_eq!(std::fs::read(into.join("new/other")).unwrap(), b"content");
    assert_eq!(std::fs::read(into.join("hidden/kept")).unwrap(), b"anew");
    assert_eq!(std::fs::read_link(into.join("new/link")).unwrap(), Path::new("/etc/passwd"));
    let listed = Command::new("getfattr").args(["-d", "-m-"]).arg(into.join("hidden")).output();
    if let Ok(listed) = listed {
        assert!(!String::from_utf8_lossy(&listed.stdout).contains("overlay"));
    }
}

#[test]
fn what_turns_into_a_link_out_of_the_tree_while_it_is_written_down_is_not_followed() {
    // CVE-2018-15664: looked at as a file or a directory, and a link to the host's when it is opened.
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let tree = at("upper");
    // Of one length: no more is read than was announced.
    for place in ["upper/directory", "host"] {
        fs::create_dir_all(at(place)).unwrap();
        fs::write(at(place).join("within"), if place == "host" { "leak" } else { "mine" }).unwrap();
    }
    fs::write(tree.join("file"), "mine").unwrap();
    symlink(at("host/within"), tree.join("link")).unwrap();
    symlink(at("host"), tree.join("way")).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (one, other) in [("file", "link"), ("directory", "way")] {
                    let (one, other) = (tree.join(one), tree.join(other));
                    renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
                }
            }
        });
        let written = (0..2000).map(|round| {
            let mut tar = Vec::new();
            match round % 3 {
                0 => write_layer(&tree, None, &mut tar),
                1 => write_merged(std::slice::from_ref(&tree), None, &mut tar),
                _ => write_tar(&tree, &[], &mut tar).map(drop),
            }
            .map(|()| tar.windows(4).any(|word| word == b"leak"))
        });
        let all: Vec<_> = written.collect();
        done.store(true, Ordering::Relaxed);
        for (round, leaked) in all.into_iter().enumerate() {
            assert_eq!(leaked.map_err(|error| error.to_string()), Ok(false), "round {round}");
        }
    });
}
