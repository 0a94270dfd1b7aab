//! The container's terminal: a pair in its own devpts, its slave on /dev/console.
//!
//! Everything goes by descriptor. A path (/dev/pts/0, /dev/console) could be swapped for something else by whoever
//! shares a mount with us (CVE-2025-52565).

use std::{
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use nix::{errno::Errno, sys::statfs::FsType};

use crate::{
    Error,
    error::{At, Stage},
    resolve::{Kind, Root, is_on},
    sys::mount::{attach, clone_tree},
};

const DEVPTS_SUPER_MAGIC: FsType = FsType(0x1cd1);

/// Both ends of a terminal.
pub(crate) struct Terminal {
    /// For the monitor.
    pub master: OwnedFd,
    /// For the program.
    pub slave: OwnedFd,
}

impl Terminal {
    /// Makes one in the container's /dev/pts.
    pub(crate) fn open(root: &Root, columns: u16, rows: u16) -> Result<Self, Error> {
        let what = || "cannot make a terminal; the container needs a devpts on /dev/pts";
        let flags = libc::O_RDWR | libc::O_NOCTTY;
        let master = root.open_plain(Path::new("/dev/pts/ptmx"), flags).at(Stage::Terminal, what)?;
        if !is_on(&master, DEVPTS_SUPER_MAGIC) {
            return Err(Error::new(Stage::Terminal, libc::ENODEV, "/dev/pts in the container is no devpts"));
        }
        let locked: libc::c_int = 0;
        // SAFETY: TIOCSPTLCK reads an int.
        Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) })
            .at(Stage::Terminal, what)?;
        // SAFETY: TIOCGPTPEER takes open flags as its argument.
        let slave = Errno::result(unsafe {
            libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags | libc::O_CLOEXEC)
        })
        .at(Stage::Terminal, what)?;
        // SAFETY: the kernel has just given this descriptor to us and nobody else knows its number.
        let slave = unsafe { OwnedFd::from_raw_fd(slave) };
        if columns > 0 || rows > 0 {
            let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // SAFETY: TIOCSWINSZ reads a winsize.
            Errno::result(unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })
                .at(Stage::Terminal, || "cannot set the terminal's size")?;
        }
        Ok(Self { master, slave })
    }

    /// Shows the slave as /dev/console too.
    pub(crate) fn bind_console(&self, root: &Root) -> Result<(), Error> {
        let bind = || {
            let tree = clone_tree(Some(std::os::fd::AsFd::as_fd(&self.slave)), c"", false)?;
            let place = root.make(Path::new("/dev/console"), Kind::File)?;
            attach(tree, place)
        };
        bind().at(Stage::Terminal, || "cannot show the terminal as /dev/console")
    }
}

/// Makes the terminal the controlling one of the session that the caller leads.
pub(crate) fn control(terminal: &OwnedFd) -> Result<(), Error> {
    // SAFETY: TIOCSCTTY takes an integer: 0, do not steal it from another session.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) })
        .at(Stage::Terminal, || "cannot take control of the terminal")?;
    Ok(())
}
