//! An empty volume begins with what the image has at its place: owners, modes, times and extended attributes included,
//! hard links as files of their own.
//!
//! Both trees may be hostile, so everything goes by descriptor and nothing through a symbolic link.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, Flock, FlockArg, OFlag, openat, readlinkat},
    sys::{
        stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, futimens, mkdirat, mknodat},
        time::TimeSpec,
    },
    unistd::{Gid, Uid, fchownat, symlinkat},
};

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Copies the image's directory `from` into the root of the detached volume `to`, if that is empty.
pub(crate) fn copy_up(from: &OwnedFd, to: &OwnedFd) -> nix::Result<()> {
    let from = openat(from, ".", DIRECTORY, Mode::empty())?;
    let to = openat(to, ".", DIRECTORY, Mode::empty())?;
    // Two containers that start with the same new volume: the second one waits, and finds it full.
    let to = Flock::lock(File::from(to), FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let mut existing = Dir::from_fd(openat(&*to, ".", DIRECTORY, Mode::empty())?)?;
    let is_empty = existing.iter().all(|entry| entry.is_ok_and(|entry| is_dots(entry.file_name())));
    if is_empty { copy_directory(from, to.as_fd()) } else { Ok(()) }
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn copy_directory(from: OwnedFd, to: BorrowedFd) -> nix::Result<()> {
    let mut entries = Dir::from_fd(from.try_clone().map_err(errno)?)?;
    for entry in entries.iter() {
        let entry = entry?;
        if !is_dots(entry.file_name()) {
            copy_entry(from.as_fd(), to, entry.file_name())?;
        }
    }
    copy_attributes(from.as_fd(), to, &fstat(&from)?)
}

fn copy_entry(from: BorrowedFd, to: BorrowedFd, name: &CStr) -> nix::Result<()> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::S_IRWXU)?;
            let from = openat(from, name, DIRECTORY, Mode::empty())?;
            copy_directory(from, openat(to, name, DIRECTORY, Mode::empty())?.as_fd())
        }
        SFlag::S_IFREG => copy_file(from, to, name),
        SFlag::S_IFLNK => {
            symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?;
            give(to, name, &stat)
        }
        // A socket is nothing without its process.
        SFlag::S_IFSOCK => Ok(()),
        kind => {
            match mknodat(to, name, kind, Mode::from_bits_truncate(stat.st_mode & 0o7777), stat.st_rdev) {
                // A user namespace can neither make device nodes nor use them.
                Err(Errno::EPERM) => Ok(()),
                other => other.and_then(|()| give(to, name, &stat)),
            }
        }
    }
}

fn copy_file(from: BorrowedFd, to: BorrowedFd, name: &CStr) -> nix::Result<()> {
    // O_NONBLOCK: a file that became a FIFO meanwhile must not stop us.
    let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let create = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut from = File::from(openat(from, name, read, Mode::empty())?);
    let mut to = File::from(openat(to, name, create, Mode::S_IRUSR | Mode::S_IWUSR)?);
    let stat = fstat(&from)?;
    io::copy(&mut from, &mut to).map_err(errno)?;
    copy_attributes(from.as_fd(), to.as_fd(), &stat)
}

fn give(at: BorrowedFd, name: &CStr, stat: &FileStat) -> nix::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(at, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// The mode comes after the owner, because a change of owner takes the set-user-ID bit away; the times come last.
fn copy_attributes(from: BorrowedFd, to: BorrowedFd, stat: &FileStat) -> nix::Result<()> {
    nix::unistd::fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(to, Mode::from_bits_truncate(stat.st_mode & 0o7777))?;
    copy_extended(from, to)?;
    futimens(
        to,
        &TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
        &TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
    )
}

fn copy_extended(from: BorrowedFd, to: BorrowedFd) -> nix::Result<()> {
    let names = read_extended(|buffer, size| {
        // SAFETY: the buffer has the size that is passed.
        unsafe { libc::flistxattr(from.as_raw_fd(), buffer.cast(), size) }
    })?;
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        let value = read_extended(|buffer, size| {
            // SAFETY: the name is a C string, the buffer has the size that is passed.
            unsafe { libc::fgetxattr(from.as_raw_fd(), name.as_ptr(), buffer, size) }
        })?;
        // SAFETY: the name is a C string, the value has the length that is passed.
        let set =
            unsafe { libc::fsetxattr(to.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
        match Errno::result(set) {
            // The volume's file system, or this user namespace, has no such attribute.
            Ok(_) | Err(Errno::EOPNOTSUPP | Errno::EPERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Reads what tells its size first.
fn read_extended(read: impl Fn(*mut libc::c_void, usize) -> isize) -> nix::Result<Vec<u8>> {
    let size = match Errno::result(read(std::ptr::null_mut(), 0)) {
        Err(Errno::EOPNOTSUPP | Errno::ENODATA) => return Ok(Vec::new()),
        other => other?,
    };
    let mut buffer = vec![0u8; size as usize];
    let size = Errno::result(read(buffer.as_mut_ptr().cast(), buffer.len()))?;
    buffer.truncate(size as usize);
    Ok(buffer)
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}
