//! What the image store needs of files beyond Node's own calls: a lock that does not wait, and one sync for all of them.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use napi::bindgen_prelude::{Env, Object};
use napi_derive::napi;
use nix::errno::Errno;

use crate::outcome::{Failure, Outcome};
use crate::settle::on_a_thread;

/// Makes the file where it is missing and locks it (`flock`, exclusive), or null where another holds it.
#[napi]
pub fn try_lock(path: String) -> Outcome<Option<i32>> {
    Outcome(lock(Path::new(&path)).map_err(|error| failure(&format!("lock {path}"), &error)))
}

/// Whether each of many paths leads somewhere, in one call: of the hundreds of layers of an image.
#[napi]
pub fn are_there(paths: Vec<String>) -> bool {
    paths.iter().all(|path| Path::new(path).exists())
}

/// syncfs(2) of the file system that holds `path`.
#[napi]
pub fn sync_file_system(env: &Env, path: String) -> napi::Result<Object<'_>> {
    on_a_thread(env, move || {
        let sync = || nix::unistd::syncfs(&File::open(&path)?).map_err(io::Error::from);
        sync().map_err(|error| failure(&format!("write {path} to the disk"), &error))
    })
}

fn lock(path: &Path) -> io::Result<Option<i32>> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Its last holder may have removed the file since we opened it: then this locks what nobody will look at.
        match path.symlink_metadata() {
            Ok(now) if now.ino() == file.metadata()?.ino() => return Ok(Some(file.into_raw_fd())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

fn failure(doing: &str, error: &io::Error) -> Failure {
    Failure::system(doing, Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32)))
}
