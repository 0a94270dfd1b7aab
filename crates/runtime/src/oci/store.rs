//! What is known of the containers between two commands: ROOT/ID/ for each, with its record, its gate, and a lock that is
//! the directory itself (flock(2)). One command at a time changes a container; whoever is killed lets go of the lock.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use kapsel_cgroups::Driver;
use kapsel_sandbox::spec::Config;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::bundle;
use super::identity::Identity;
use crate::error::{Error, Result};

const RECORD: &str = "state.json";
/// A record that does not count yet.
const DRAFT: &str = "state.json.new";
const LONGEST_ID: usize = 1024;

/// What must be known of a container once its maker is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its id.
    pub id: String,
    /// Its first process; none until that exists.
    pub process: Option<Identity>,
    /// Its bundle's absolute path.
    pub bundle: PathBuf,
    /// Its root's absolute path.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Who made its cgroup.
    pub driver: Driver,
    /// Its cgroup, as the driver understands it; none where it has none.
    pub cgroups_path: Option<String>,
    /// Whether the document had a process: without one the container cannot be started.
    pub has_process: bool,
    /// What its standard streams were when it began, for a checkpoint; empty where they are a terminal.
    #[serde(default)]
    pub streams: Vec<String>,
    /// The document as it was then: later changes of the bundle are none of the container's. Its text: nothing that it
    /// says need ever be written by us.
    pub document: Box<RawValue>,
    /// What the document says.
    #[serde(skip)]
    pub config: Config,
    /// Whether this is only what was about to be made: a cgroup of that name may be somebody else's.
    #[serde(skip)]
    pub is_draft: bool,
}

/// A root directory of the runtime's.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

/// A container's directory, locked.
#[derive(Debug)]
pub struct Entry {
    /// ROOT/ID.
    pub directory: PathBuf,
    lock: OwnedFd,
}

impl Store {
    /// Of an absolute path, which need not exist.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where compiled seccomp programs are kept; no container can have that name.
    pub fn seccomp_cache(&self) -> PathBuf {
        self.root.join("@seccomp")
    }

    /// Makes the directory of a new container.
    pub fn create(&self, id: &str) -> Result<Entry> {
        let directory = self.directory(id)?;
        let mut make = DirBuilder::new();
        make.mode(0o700);
        let made = match make.create(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let parents = make.recursive(true).create(&self.root);
                parents.and_then(|()| make.recursive(false).create(&directory))
            }
            other => other,
        };
        match made {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let message = format!("container with id {id} exists already: take another id or delete it");
                return Err(Error::new("CONTAINER_EXISTS", message));
            }
            Err(error) => return Err(Error::io(format_args!("cannot make {}", directory.display()), &error)),
        }
        let lock = lock(&directory, libc::LOCK_EX).map_err(|error| vanished(id, &error))?;
        Ok(Entry { directory, lock })
    }

    /// The directory of a container that exists, once nobody else is at work on it.
    pub fn open(&self, id: &str) -> Result<Entry> {
        let directory = self.directory(id)?;
        let lock = lock(&directory, libc::LOCK_EX).map_err(|error| vanished(id, &error))?;
        Ok(Entry { directory, lock })
    }

    /// The record or its draft as it is, whoever is at work on the container; none where it is not written yet.
    pub fn look(&self, id: &str) -> Result<Option<Record>> {
        let directory = self.directory(id)?;
        match fs::metadata(&directory) {
            Ok(_) => Ok(read(&directory)?.or_else(|| draft(&directory))),
            Err(error) => Err(vanished(id, &error)),
        }
    }

    /// Whether somebody is at work on the container.
    pub fn is_busy(&self, id: &str) -> bool {
        let directory = self.directory(id).map(|directory| lock(&directory, libc::LOCK_SH | libc::LOCK_NB));
        matches!(directory, Ok(Err(error)) if error.kind() == ErrorKind::WouldBlock)
    }

    /// The ids of all containers, sorted.
    pub fn ids(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other,
        };
        let failed = |error| Error::io(format_args!("cannot list {}", self.root.display()), &error);
        let mut ids = Vec::new();
        for entry in entries.map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            ids.extend(name.to_str().filter(|name| check_id(name).is_ok()).map(str::to_owned));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Who owns a container's directory.
    pub fn owner(&self, id: &str) -> Option<u32> {
        fs::metadata(self.directory(id).ok()?).ok().map(|metadata| metadata.uid())
    }

    /// The directory of an id, which cannot lead out of the root.
    pub fn directory(&self, id: &str) -> Result<PathBuf> {
        check_id(id)?;
        Ok(self.root.join(id))
    }
}

impl Entry {
    /// The record; none where its maker was killed before there was one.
    pub fn read(&self) -> Result<Option<Record>> {
        read(&self.directory)
    }

    /// What the maker was about to make when it was killed; none where it had not come so far.
    pub fn draft(&self) -> Option<Record> {
        draft(&self.directory)
    }

    /// Writes down what is about to be made. It counts once it is [established](Entry::establish): whoever is killed
    /// in between has not said that anything is the container's own.
    pub fn begin(&self, record: &Record) -> Result<()> {
        let new = self.directory.join(DRAFT);
        let write = || {
            let json = serde_json::to_vec(record)?;
            // For its owner, whatever the caller's creation mask: environments hold secrets.
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).open(&new)?.write_all(&json)
        };
        write().map_err(|error: io::Error| Error::io(format_args!("cannot write {}", new.display()), &error))
    }

    /// Makes the draft the record.
    pub fn establish(&self) -> Result<()> {
        let path = self.directory.join(RECORD);
        fs::rename(self.directory.join(DRAFT), &path)
            .map_err(|error| Error::io(format_args!("cannot write {}", path.display()), &error))
    }

    /// Writes the record: wholly, or not at all.
    pub fn write(&self, record: &Record) -> Result<()> {
        self.begin(record)?;
        self.establish()
    }

    /// Removes all of it. What is mounted below it is not touched.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.directory)
            .map_err(|error| Error::io(format_args!("cannot remove {}", self.directory.display()), &error))
    }

    /// Lets others at the container while this command goes on.
    pub fn unlock(self) {
        drop(self.lock);
    }
}

fn read(directory: &Path) -> Result<Option<Record>> {
    let path = directory.join(RECORD);
    let json = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| Error::io(format_args!("cannot read {}", path.display()), &error))?,
    };
    let damaged = |why: String| {
        let message =
            format!("{} is damaged ({why}); remove the container with delete --force", path.display());
        Error::new("RECORD_DAMAGED", message)
    };
    let mut record: Record = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
    record.config =
        bundle::understand(&record.document, &record.bundle).map_err(|error| damaged(error.message))?;
    Ok(Some(record))
}

/// Half a draft is none: nothing was begun before it was whole.
fn draft(directory: &Path) -> Option<Record> {
    let mut record: Record = serde_json::from_slice(&fs::read(directory.join(DRAFT)).ok()?).ok()?;
    record.config = bundle::understand(&record.document, &record.bundle).ok()?;
    Some(Record { is_draft: true, ..record })
}

/// Locks a directory, and sees to it that it is still there afterwards.
fn lock(directory: &Path, how: libc::c_int) -> io::Result<OwnedFd> {
    let handle = OwnedFd::from(File::open(directory)?);
    loop {
        // SAFETY: the descriptor is open; no pointer is passed.
        if unsafe { libc::flock(handle.as_raw_fd(), how) } == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
    match File::from(handle.try_clone()?).metadata()?.nlink() {
        0 => Err(ErrorKind::NotFound.into()),
        _ => Ok(handle),
    }
}

fn vanished(id: &str, error: &io::Error) -> Error {
    match error.kind() {
        // Callers look for these words.
        ErrorKind::NotFound => Error::new("CONTAINER_UNKNOWN", format!("container {id} does not exist")),
        _ => Error::io(format_args!("cannot open container {id}"), error),
    }
}

/// runc's rule: letters, digits, `_`, `+`, `-` and `.`, and no name that means a directory.
fn check_id(id: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    if id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(allowed) || matches!(id, "." | "..") {
        let message = format!(
            "invalid container id {id:?}: it has 1 to {LONGEST_ID} letters, digits, '_', '+', '-' and '.'"
        );
        return Err(Error::new("USAGE", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_leaves_the_root() {
        for id in ["", ".", "..", "a/b", "../a", "a\0", "ä", "@seccomp", &"a".repeat(1025)] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        for id in ["a", "a.b", "A_1+2-3", ".hidden"] {
            assert!(check_id(id).is_ok(), "{id:?}");
        }
    }

    #[test]
    fn a_container_that_was_removed_while_one_waited_for_it_does_not_exist() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path().join("deep/root"));
        let entry = store.create("a").unwrap();
        assert_eq!(store.create("a").unwrap_err().code, "CONTAINER_EXISTS");
        assert!(store.is_busy("a"));
        let waiting = std::thread::spawn({
            let store = Store::new(root.path().join("deep/root"));
            move || store.open("a").map(drop)
        });
        std::thread::sleep(std::time::Duration::from_millis(20));
        entry.remove().unwrap();
        assert_eq!(waiting.join().unwrap().unwrap_err().code, "CONTAINER_UNKNOWN");
        assert!(store.ids().unwrap().is_empty());
    }
}
