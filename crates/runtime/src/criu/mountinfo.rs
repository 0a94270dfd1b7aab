//! What is mounted in a process's mount namespace (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Its number.
    pub id: u64,
    /// `MAJOR:MINOR` of its file system.
    pub device: String,
    /// What of the file system is mounted.
    pub root: PathBuf,
    /// Where.
    pub place: PathBuf,
    /// The file system's type.
    pub kind: String,
}

/// All mounts that a process sees, in the order in which they were made.
pub fn of(process: &str) -> Result<Vec<Mounted>> {
    let path = format!("/proc/{process}/mountinfo");
    let text = std::fs::read(&path).map_err(|error| Error::io(format_args!("cannot read {path}"), &error))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

fn parse(line: &[u8]) -> Option<Mounted> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let separator = words.iter().position(|word| *word == b"-")?;
    let text = |index: usize| Some(String::from_utf8_lossy(words.get(index)?).into_owned());
    Some(Mounted {
        id: text(0)?.parse().ok()?,
        device: text(2)?,
        root: unescape(words.get(3)?),
        place: unescape(words.get(4)?),
        kind: text(separator + 1)?,
    })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let octal =
            tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => bytes.push(*first),
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Where `path`, which lies below `from`, lies below `to`.
pub fn moved(path: &Path, from: &Path, to: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(from).ok()?;
    Some(if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_its_paths_contain() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mounted = Mounted {
            id: 36,
            device: "98:0".into(),
            root: "/mnt1".into(),
            place: "/mnt 2".into(),
            kind: "ext3".into(),
        };
        assert_eq!(parse(line), Some(mounted));
        assert_eq!(parse(b""), None);
        assert_eq!(moved(Path::new("/a/b"), Path::new("/a"), Path::new("/c")), Some("/c/b".into()));
        assert_eq!(moved(Path::new("/ab"), Path::new("/a"), Path::new("/c")), None);
    }
}
