//! The standard streams of a container, which lead outside: what they were is written beside the images
//! (`descriptors.json`, as other runtimes have it), and what they are to be is handed over at the restore.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::linux::fs::MetadataExt;
use std::path::Path;

use super::executable::Ours;
use crate::error::{Error, Result};

const NAME: &str = "descriptors.json";

/// What descriptors that become a program's standard streams are, as CRIU names it: `pipe:[INODE]`, for a file
/// `file[MOUNT:INODE]` and for a terminal of the caller's `tty[NUMBER:DEVICE]` (in hexadecimal). Asked before there is a
/// program: a shell may have put others in their place when there is a checkpoint.
pub fn of(streams: [BorrowedFd; 3]) -> Result<[String; 3]> {
    let [stdin, stdout, stderr] = streams.map(name);
    let failed = |error| Error::io("cannot look at the standard streams", &error);
    Ok([stdin.map_err(failed)?, stdout.map_err(failed)?, stderr.map_err(failed)?])
}

fn name(stream: BorrowedFd) -> io::Result<String> {
    let fd = stream.as_raw_fd();
    let target = fs::read_link(format!("/proc/self/fd/{fd}"))?.to_string_lossy().into_owned();
    if !target.starts_with('/') {
        return Ok(target);
    }
    if stream.is_terminal() {
        let data = fs::metadata(format!("/proc/self/fd/{fd}"))?;
        return Ok(format!("tty[{:x}:{:x}]", data.st_rdev(), data.st_dev()));
    }
    let (mount, inode) = place(stream)?;
    Ok(file_name(mount, inode))
}

/// The mount and the inode of a file.
pub fn place(file: BorrowedFd) -> io::Result<(u64, u64)> {
    let fd = file.as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    Ok((mount.ok_or(io::ErrorKind::Unsupported)?, fs::metadata(format!("/proc/self/fd/{fd}"))?.st_ino()))
}

/// As CRIU names a file that is not in the container.
pub fn file_name(mount: u64, inode: u64) -> String {
    format!("file[{mount:x}:{inode:x}]")
}

/// Those that CRIU must be told not to look for in the container.
pub fn external(streams: &[String]) -> impl Iterator<Item = &String> {
    streams.iter().filter(|name| name.starts_with("file[") || name.starts_with("tty["))
}

/// Writes them beside the images, and after them what the container has of us.
pub fn write(images: &Path, streams: &[String], ours: Option<&Ours>) -> Result<()> {
    let path = images.join(NAME);
    let mut written: Vec<&str> = (0..3).map(|fd| streams.get(fd).map_or("", String::as_str)).collect();
    written.extend(ours.into_iter().flatten().map(String::as_str));
    let json = serde_json::to_vec(&written).map_err(|error| Error::new("OUTPUT", error.to_string()))?;
    fs::write(&path, json).map_err(|error| Error::io(format_args!("cannot write {}", path.display()), &error))
}

/// Names, and the descriptors that stand for them.
pub type Inherited = Vec<(String, i32)>;

/// Reads them, as names and the descriptors that stand for them. Where one file was all three streams, it is now what
/// stands for its output.
pub fn read(images: &Path) -> Result<(Inherited, Option<Ours>)> {
    let path = images.join(NAME);
    let json =
        fs::read(&path).map_err(|error| Error::io(format_args!("cannot read {}", path.display()), &error))?;
    let mut names: Vec<String> = serde_json::from_slice(&json).map_err(|error| {
        Error::new("CHECKPOINT_INVALID", format!("{} cannot be read: {error}", path.display()))
    })?;
    let ours = names.split_off(names.len().min(3)).try_into().ok();
    let mut found = Inherited::new();
    for (name, fd) in names.into_iter().zip(0..3) {
        if !["pipe:", "file[", "tty["].iter().any(|kind| name.starts_with(kind)) {
            continue;
        }
        match found.iter_mut().find(|(other, _)| *other == name) {
            Some((_, earlier)) => *earlier = fd,
            None => found.push((name, fd)),
        }
    }
    Ok((found, ours))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_leads_outside_is_handed_over_and_nothing_else() {
        let images = tempfile::tempdir().unwrap();
        let written = |streams: [&str; 3], ours: Option<&Ours>| {
            write(images.path(), &streams.map(str::to_owned), ours).unwrap();
            read(images.path()).unwrap()
        };
        let named = |name: &str, fd| (name.to_owned(), fd);
        let same = written(["/dev/null", "pipe:[12]", "pipe:[12]"], None);
        assert_eq!(same, (vec![named("pipe:[12]", 2)], None));
        let terminal = written(["tty[8801:19]", "tty[8801:19]", "tty[8801:19]"], None);
        assert_eq!(terminal, (vec![named("tty[8801:19]", 2)], None));
        let ours = ["file[7:9]".to_owned(), "sha256:0".to_owned()];
        let mixed = written(["file[18:3]", "pipe:[1]", "/dev/pts/0"], Some(&ours));
        assert_eq!(mixed, (vec![named("file[18:3]", 0), named("pipe:[1]", 1)], Some(ours)));
        fs::write(images.path().join(NAME), "{}").unwrap();
        assert_eq!(read(images.path()).unwrap_err().code, "CHECKPOINT_INVALID");
    }

    #[test]
    fn a_file_is_known_by_its_mount_and_inode_and_a_pipe_by_its_inode() {
        let null = fs::File::open("/dev/null").unwrap();
        let (read, write) = std::io::pipe().unwrap();
        let [first, second, third] = of([null.as_fd(), read.as_fd(), write.as_fd()]).unwrap();
        let inode = fs::metadata("/dev/null").unwrap().st_ino();
        assert!(first.starts_with("file[") && first.ends_with(&format!(":{inode:x}]")), "{first}");
        assert!(second.starts_with("pipe:[") && second == third, "{second} {third}");
    }
}
