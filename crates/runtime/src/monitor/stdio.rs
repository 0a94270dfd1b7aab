//! Reading and writing the descriptors that clients hand over, without ever blocking and without changing them.
//!
//! A client's stdout is often its user's terminal, shared with the user's shell: setting O_NONBLOCK on it would change
//! it for everybody. So a pipe or a terminal is opened anew through /proc, which gives an open file description of
//! our own; a socket has MSG_DONTWAIT; what epoll refuses (a regular file, /dev/null) is always ready and keeps its
//! offset and O_APPEND by being used as it is.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::epoll::{Epoll, Token, Watched};

/// How a descriptor is used without blocking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Its open file description has O_NONBLOCK.
    NonBlocking,
    /// A socket.
    Socket,
    /// Neither blocks nor can be waited for.
    Always,
    /// A pipe or terminal of another user, which we may use but not open: asked before each call, and given no more
    /// than it can take when it says that it takes some (PIPE_BUF; a terminal's write wake-up mark).
    Asked(usize),
}

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    In,
    /// To the client.
    Out,
}

/// A client's stdin, stdout or stderr.
#[derive(Debug)]
pub struct ClientFd {
    fd: Watched,
    access: Access,
}

impl ClientFd {
    /// Takes over what a client has sent.
    pub fn new(fd: OwnedFd, direction: Direction, epoll: &Epoll, token: Token) -> io::Result<Self> {
        let (fd, access) = classify(fd, direction)?;
        Ok(Self { fd: epoll.watch(fd, token), access })
    }

    /// Whether it is always ready, and must be asked rather than waited for.
    pub fn always_ready(&self) -> bool {
        self.access == Access::Always
    }

    /// Waits for `interest`; nothing to do where there is nothing to wait for.
    pub fn set(&mut self, interest: u32) -> io::Result<()> {
        if self.always_ready() { Ok(()) } else { self.fd.set(interest) }
    }

    /// Reads once; `WouldBlock` where there is nothing yet, 0 at the end of the file.
    pub fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self.access {
            Access::Socket => receive(self.fd.as_fd(), into),
            Access::Asked(_) => {
                ask(self.fd.as_fd(), libc::POLLIN)?;
                read(self.fd.as_fd(), into)
            }
            Access::NonBlocking | Access::Always => read(self.fd.as_fd(), into),
        }
    }

    /// Writes once; `WouldBlock` where it takes nothing now.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.access {
            Access::Socket => send(self.fd.as_fd(), bytes),
            Access::Asked(most) => {
                ask(self.fd.as_fd(), libc::POLLOUT)?;
                write(self.fd.as_fd(), &bytes[..bytes.len().min(most)])
            }
            Access::NonBlocking | Access::Always => write(self.fd.as_fd(), bytes),
        }
    }
}

fn classify(fd: OwnedFd, direction: Direction) -> io::Result<(OwnedFd, Access)> {
    // SAFETY: an all-zero `stat` is a valid value of that type.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stat` is valid for the kernel to fill, the descriptor is open.
    if unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let flags = flags(fd.as_fd())?;
    let wanted = if direction == Direction::In { libc::O_WRONLY } else { libc::O_RDONLY };
    if flags & libc::O_ACCMODE == wanted || flags & libc::O_PATH != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    let kind = stat.st_mode & libc::S_IFMT;
    match kind {
        libc::S_IFSOCK => return Ok((fd, Access::Socket)),
        libc::S_IFREG | libc::S_IFBLK => return Ok((fd, Access::Always)),
        libc::S_IFDIR => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
        libc::S_IFIFO | libc::S_IFCHR => {}
        // An eventfd, a signalfd, an epoll: nobody's stdio, and some of them block whatever one asks for.
        _ => return Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
    if kind == libc::S_IFCHR && !pollable(fd.as_fd()) {
        return Ok((fd, Access::Always));
    }
    if flags & libc::O_NONBLOCK != 0 {
        return Ok((fd, Access::NonBlocking));
    }
    // O_NOCTTY: the monitor leads a session, and must not be given the user's terminal as its own.
    let mode = if direction == Direction::In { libc::O_RDONLY } else { libc::O_WRONLY };
    let path = format!("/proc/self/fd/{}\0", fd.as_raw_fd());
    // SAFETY: `path` ends with a NUL byte.
    let again = unsafe {
        libc::open(path.as_ptr().cast(), mode | libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
    };
    if again >= 0 {
        // SAFETY: the call has just made this descriptor, and nobody else has it.
        return Ok((unsafe { OwnedFd::from_raw_fd(again) }, Access::NonBlocking));
    }
    Ok((fd, Access::Asked(if kind == libc::S_IFIFO { libc::PIPE_BUF } else { 256 })))
}

/// Whether epoll takes a descriptor: /dev/null and /dev/zero it refuses with EPERM.
fn pollable(fd: BorrowedFd<'_>) -> bool {
    let Ok(epoll) = Epoll::new() else { return true };
    let Ok(copy) = fd.try_clone_to_owned() else { return true };
    let mut watched = epoll.watch(copy, Token::Signals);
    watched.set(super::epoll::READ).is_ok()
}

/// `WouldBlock` unless poll(2) says that `event` is there now.
fn ask(fd: BorrowedFd<'_>, event: i16) -> io::Result<()> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: event, revents: 0 };
    // SAFETY: one pollfd, and the kernel is told that it is one.
    match unsafe { libc::poll(&raw mut poll, 1, 0) } {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        1.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The file status flags of a descriptor.
fn flags(fd: BorrowedFd<'_>) -> io::Result<i32> {
    // SAFETY: no pointer is passed.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) } {
        -1 => Err(io::Error::last_os_error()),
        flags => Ok(flags),
    }
}

/// Sets O_NONBLOCK on a descriptor whose open file description is ours alone.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = flags(fd)?;
    // SAFETY: no pointer is passed.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn count(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// read(2).
pub fn read(fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `into.len()` bytes to it.
    count(unsafe { libc::read(fd.as_raw_fd(), into.as_mut_ptr().cast(), into.len()) })
}

/// write(2). SIGPIPE is ignored by the monitor.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads at most `bytes.len()` bytes from it.
    count(unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) })
}

fn receive(fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `into.len()` bytes to it.
    count(unsafe { libc::recv(fd.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT) })
}

/// send(2) without blocking and without SIGPIPE.
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the kernel reads at most `bytes.len()` bytes from it.
    count(unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// A stream on its way to one client: what it could not take yet waits here. The caller reads no more from the
/// container until that is empty, so a sink never holds more than one read.
#[derive(Debug)]
pub struct Sink {
    client: ClientFd,
    waiting: Vec<u8>,
    sent: usize,
}

impl Sink {
    /// A sink with nothing in it.
    pub fn new(client: ClientFd) -> Self {
        Self { client, waiting: Vec::new(), sent: 0 }
    }

    /// Whether everything has been written.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Writes, or keeps what cannot be written now. An error means that the client has gone.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let done = if self.is_empty() { write_all(&self.client, bytes)? } else { 0 };
        if done < bytes.len() {
            self.waiting.extend_from_slice(&bytes[done..]);
            self.client.set(super::epoll::WRITE)?;
        }
        Ok(())
    }

    /// Writes what waits.
    pub fn drain(&mut self) -> io::Result<()> {
        self.sent += write_all(&self.client, &self.waiting[self.sent..])?;
        if self.sent == self.waiting.len() {
            // Its memory goes too: a monitor that is quiet is small.
            self.waiting = Vec::new();
            self.sent = 0;
            self.client.set(0)?;
        }
        Ok(())
    }
}

/// Writes until nothing is left or nothing more is taken, and says how much that was.
fn write_all(client: &ClientFd, bytes: &[u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match client.write(&bytes[done..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What cannot be waited for must not say this; it would never be tried again.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !client.always_ready() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
