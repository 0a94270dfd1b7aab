//! The names of a network's containers: a directory with a file a container, each in the format of hosts(5), made and
//! replaced by rename. A name dies with its file.

use std::{
    ffi::OsString,
    fs,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::message::Name;

/// How coarse the times of a file system may be: what changed within it of being read may have changed since.
const COARSE: Duration = Duration::from_millis(50);
/// Longest file, in bytes.
const LONGEST: u64 = 1 << 20;

/// A directory's records, read anew where they have changed.
#[derive(Debug)]
pub struct Records {
    directory: PathBuf,
    /// The directory's time when it was read; none where it must be read again.
    read: Option<SystemTime>,
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    name: OsString,
    /// Inode and time; none where another could be in its place with the same.
    version: Option<(u64, SystemTime)>,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    address: IpAddr,
    names: Vec<Name>,
}

impl Records {
    /// Those of a directory, which need not be there yet.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, read: None, files: Vec::new() }
    }

    /// The addresses of a name; none where nobody has it.
    pub fn addresses(&self, name: &Name) -> impl Iterator<Item = IpAddr> {
        let lines = self.files.iter().flat_map(|file| &file.lines);
        lines.filter(move |line| line.names.contains(name)).map(|line| line.address)
    }

    /// The first name of an address.
    pub fn name(&self, address: IpAddr) -> Option<&Name> {
        let mut lines = self.files.iter().flat_map(|file| &file.lines);
        lines.find(|line| line.address == address)?.names.first()
    }

    /// Looks whether something has changed.
    pub fn refresh(&mut self) {
        let changed = fs::metadata(&self.directory).and_then(|metadata| metadata.modified()).ok();
        if changed.is_some() && changed == self.read {
            return;
        }
        // A network that has gone has no names.
        self.files = match changed {
            Some(_) => self.list(),
            None => Vec::new(),
        };
        self.read = changed.filter(is_settled);
    }

    /// What has not changed is not read again.
    fn list(&mut self) -> Vec<File> {
        let mut known = std::mem::take(&mut self.files);
        let mut files: Vec<File> = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name();
                // One that is being written.
                if name.as_encoded_bytes().starts_with(b".") {
                    return None;
                }
                let metadata = entry.metadata().ok().filter(|metadata| metadata.is_file())?;
                let version =
                    metadata.modified().ok().filter(is_settled).map(|changed| (metadata.ino(), changed));
                let is_same = |file: &File| file.name == name && file.version == version;
                if let Some(at) = version.and_then(|_| known.iter().position(is_same)) {
                    return Some(known.swap_remove(at));
                }
                (metadata.len() <= LONGEST).then(|| File { name, version, lines: read(&entry.path()) })
            })
            .collect();
        files.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        files
    }
}

/// Whether what has this time would have another if it changed now.
fn is_settled(changed: &SystemTime) -> bool {
    changed.elapsed().is_ok_and(|age| age > COARSE)
}

fn read(path: &Path) -> Vec<Line> {
    fs::read_to_string(path).unwrap_or_default().lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    let mut words = text.split('#').next()?.split_ascii_whitespace();
    let address = words.next()?.parse().ok()?;
    Some(Line { address, names: words.filter_map(Name::parse).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_file_that_is_replaced_or_removed_is_seen_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let hidden = directory.path().join(".new");
            fs::write(&hidden, text).unwrap();
            fs::rename(hidden, directory.path().join(file)).unwrap();
        };
        let mut records = Records::new(directory.path().to_owned());
        for round in 0..50 {
            write("a", &format!("10.0.0.{round} Web web.net # of a\nfd00::1{round} web\nnonsense\n"));
            write("b", "10.0.1.1 db web\n");
            records.refresh();
            let found: Vec<_> = records.addresses(&name("WEB")).map(|address| address.to_string()).collect();
            assert_eq!(found, [format!("10.0.0.{round}"), format!("fd00::1{round}"), "10.0.1.1".into()]);
            assert_eq!(records.name([10, 0, 0, round].into()), Some(&name("web")));
            fs::remove_file(directory.path().join("a")).unwrap();
            records.refresh();
            assert_eq!(records.addresses(&name("web")).count(), 1);
        }
        fs::remove_dir_all(directory.path()).unwrap();
        records.refresh();
        assert_eq!(records.addresses(&name("web")).count(), 0);
        fs::create_dir(directory.path()).unwrap();
    }
}
