//! The lock that says a container is alive: an exclusive `flock` on RUN_ROOT/containers/ID/lock, taken by whoever
//! starts the container and inherited by its monitor, so that it ends with the last of the two, however they end.
//!
//! `File::try_lock` is `flock` on Linux, and a closed `File` does not unlock what a child has inherited.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Whoever tests a lock holds it shared for some microseconds: patience enough not to take that for being held.
pub(crate) const TESTERS: Duration = Duration::from_millis(200);

/// Makes the file at `path`, and its directory (0700), where they are missing, and locks it exclusively. The
/// descriptor is close-on-exec. `LOCK_IN_USE` where another process holds it for longer than `patience`.
pub fn lock_exclusive(path: &Path, patience: Duration) -> Result<File> {
    let since = Instant::now();
    loop {
        match try_lock(path) {
            Ok(Attempt::Locked(file)) => return Ok(file),
            Ok(Attempt::Moved) => {}
            Ok(Attempt::Held) if since.elapsed() >= patience => {
                return Err(Error::new(
                    "LOCK_IN_USE",
                    format!("{} is locked by another process", path.display()),
                ));
            }
            Ok(Attempt::Held) => std::thread::sleep(Duration::from_millis(1)),
            // Its directory was there when it was to be made and had been swept when it was looked at; something else that
            // is in its place stays there.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && since.elapsed() < TESTERS => {}
            Err(error) => return Err(Error::system(&format!("lock {}", path.display()), &error)),
        }
    }
}

enum Attempt {
    Locked(File),
    Held,
    /// The file or its directory was missing, removed or replaced: a lock on it is one nobody will ever look at.
    Moved,
}

fn try_lock(path: &Path) -> io::Result<Attempt> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            return Ok(Attempt::Moved);
        }
        other => other?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Attempt::Held),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(Attempt::Locked(file)),
        Ok(_) => Ok(Attempt::Moved),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Attempt::Moved),
        Err(error) => Err(error),
    }
}

/// Whether nobody holds the lock at `path`: the container it stands for is not alive.
pub fn is_free(path: &Path) -> Result<bool> {
    let failed = |error: &io::Error| Error::system(&format!("test the lock {}", path.display()), error);
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(true);
        }
        other => other.map_err(|error| failed(&error))?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}

/// Removes a run directory whose lock the caller holds. It is renamed first: whoever makes one of the same name
/// meanwhile gets a fresh directory, and nothing of it is removed.
pub fn remove_run_directory(directory: &Path) -> Result<()> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let doomed = directory.with_file_name(format!(".{name}.{}", std::process::id()));
    let removed = fs::rename(directory, &doomed).and_then(|()| fs::remove_dir_all(&doomed));
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::system(&format!("remove {}", directory.display()), &error))
        }
        _ => Ok(()),
    }
}
