//! A terminal of the test's own, and a socket that receives one.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::harness::until;

/// Both ends of a pseudo-terminal.
pub struct Pty {
    pub master: File,
    pub slave: File,
}

impl Pty {
    /// A new one of this size.
    pub fn new(columns: u16, rows: u16) -> Self {
        let (mut master, mut slave) = (0, 0);
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let (none, modes) = (std::ptr::null_mut(), std::ptr::null());
        // SAFETY: two integers to fill, and a valid size.
        let opened = unsafe { libc::openpty(&raw mut master, &raw mut slave, none, modes, &raw const size) };
        assert_eq!(opened, 0);
        // SAFETY: both have just been opened, and nobody else knows their numbers.
        let [master, slave] = [master, slave].map(|fd| unsafe {
            libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            File::from_raw_fd(fd)
        });
        Self { master, slave }
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: a valid size.
        assert_eq!(unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }, 0);
    }

    /// Whether what is typed is echoed by the kernel and edited by lines.
    pub fn is_cooked(&self) -> bool {
        // SAFETY: tcgetattr fills the termios, and says so.
        let modes = unsafe {
            let mut modes = std::mem::zeroed::<libc::termios>();
            assert_eq!(libc::tcgetattr(self.slave.as_raw_fd(), &raw mut modes), 0);
            modes
        };
        modes.c_lflag & (libc::ECHO | libc::ICANON) == libc::ECHO | libc::ICANON
    }
}

/// Types.
pub fn say(master: &File, text: &str) {
    (&*master).write_all(text.as_bytes()).unwrap();
}

/// Reads until a text has been shown, and gives all that was.
#[track_caller]
pub fn expect(master: &File, text: &str) -> String {
    // SAFETY: integers only; the descriptor is open.
    unsafe { libc::fcntl(master.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    let mut shown = String::new();
    until(text, || {
        let mut buffer = [0; 4096];
        if let Ok(count) = (&*master).read(&mut buffer) {
            shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        shown.contains(text).then(|| shown.clone())
    })
}

/// Listens at a path for descriptors.
pub fn listen(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// The descriptor that somebody has sent and the bytes that came with it; none where nobody has.
pub fn received(listener: &UnixListener) -> Option<(OwnedFd, Vec<u8>)> {
    let (connection, _) = listener.accept().ok()?;
    let mut buffer = [0; 4096];
    let mut control = nix::cmsg_space!([i32; 1]);
    let (count, fd) = {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(connection.as_raw_fd(), &mut slices, Some(&mut control), flags).unwrap();
        let fd = message.cmsgs().unwrap().find_map(|part| match part {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        (message.bytes, fd?)
    };
    // SAFETY: the kernel has just given this descriptor to us and nobody else knows its number.
    Some((unsafe { OwnedFd::from_raw_fd(fd) }, buffer[..count].to_vec()))
}
