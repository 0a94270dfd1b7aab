//! What an overlay has changed, by the kernel's own overlayfs where a mount is allowed: written down, and read by GNU tar.

use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use kapsel_storage::changes::write_tar;
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
