//! The standard streams of a container, which lead outside: what they were is written beside the images
//! (`descriptors.json`, as other runtimes have it), and what they are to be is handed over at the restore.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::Path;

use super::mountinfo::Mounted;
use crate::error::{Error, Result};

const NAME: &str = "descriptors.json";

/// What a process's descriptors 0, 1 and 2 are, as CRIU names it: `pipe:[INODE]` and, for a file that is not in the
/// container, `file[MOUNT:INODE]` (in hexadecimal). Others are the container's own, and named by their path.
pub fn of(pid: i32, inside: &[Mounted]) -> Result<[String; 3]> {
    let name = |fd: u32| -> Result<String> {
        let path = format!("/proc/{pid}/fd/{fd}");
        // A program may have closed it.
        let Ok(target) = fs::read_link(&path) else { return Ok(String::new()) };
        let target = target.to_string_lossy().into_owned();
        if !target.starts_with('/') {
            return Ok(target);
        }
        let failed = |error| Error::io(format_args!("cannot look at {path}"), &error);
        let inode = fs::metadata(&path).map_err(failed)?.st_ino();
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).map_err(failed)?;
        let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse::<u64>().ok());
        match mount {
            Some(mount) if !inside.iter().any(|mounted| mounted.id == mount) => {
                Ok(format!("file[{mount:x}:{inode:x}]"))
            }
            _ => Ok(target),
        }
    };
    Ok([name(0)?, name(1)?, name(2)?])
}

/// Those that CRIU must be told not to look for in the container.
pub fn external(streams: &[String; 3]) -> impl Iterator<Item = &String> {
    streams.iter().filter(|name| name.starts_with("file["))
}

/// Writes them beside the images.
pub fn write(images: &Path, streams: &[String; 3]) -> Result<()> {
    let path = images.join(NAME);
    let json = serde_json::to_vec(streams).map_err(|error| Error::new("OUTPUT", error.to_string()))?;
    fs::write(&path, json).map_err(|error| Error::io(format_args!("cannot write {}", path.display()), &error))
}

/// Reads them, as names and the descriptors that stand for them. Where one file was all three streams, it is now what
/// stands for its output.
pub fn read(images: &Path) -> Result<Vec<(String, i32)>> {
    let path = images.join(NAME);
    let json =
        fs::read(&path).map_err(|error| Error::io(format_args!("cannot read {}", path.display()), &error))?;
    let names: Vec<String> = serde_json::from_slice(&json).map_err(|error| {
        Error::new("CHECKPOINT_INVALID", format!("{} cannot be read: {error}", path.display()))
    })?;
    let mut found: Vec<(String, i32)> = Vec::new();
    for (name, fd) in names.into_iter().zip(0..3) {
        if !name.starts_with("pipe:") && !name.starts_with("file[") {
            continue;
        }
        match found.iter_mut().find(|(other, _)| *other == name) {
            Some((_, earlier)) => *earlier = fd,
            None => found.push((name, fd)),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_outside_is_handed_over_and_nothing_else() {
        let images = tempfile::tempdir().unwrap();
        write(images.path(), &["/dev/null".into(), "pipe:[12]".into(), "pipe:[12]".into()]).unwrap();
        assert_eq!(read(images.path()).unwrap(), [("pipe:[12]".to_owned(), 2)]);
        write(images.path(), &["file[18:3]".into(), "pipe:[1]".into(), "/dev/pts/0".into()]).unwrap();
        assert_eq!(read(images.path()).unwrap(), [("file[18:3]".to_owned(), 0), ("pipe:[1]".to_owned(), 1)]);
        fs::write(images.path().join(NAME), "{}").unwrap();
        assert_eq!(read(images.path()).unwrap_err().code, "CHECKPOINT_INVALID");
    }

    #[test]
    fn a_file_is_external_where_the_container_does_not_have_its_mount() {
        let own = super::super::mountinfo::of("self").unwrap();
        let pid = std::process::id() as i32;
        let inside = of(pid, &own).unwrap();
        assert!(!inside.iter().any(|name| name.starts_with("file[")), "{inside:?}");
    }
}
