//! A conversation with one CRIU: `criu swrk 3`, at the other end of a socket of whole messages.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use nix::sys::stat::Mode;

use super::rpc::{self, Kind, Response};
use super::wire::Message;
use crate::error::{Error, Result};

/// Names CRIU's executable where it is not in PATH.
pub const VARIABLE: &str = "KAPSEL_CRIU";
/// PATH where there is none.
const USUAL: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Numbers of descriptors in CRIU: the socket, the images' directory, the work directory, and the first of those that are
/// handed over beside them.
const SOCKET: RawFd = 3;
/// See [`SOCKET`].
pub const IMAGES: RawFd = 4;
/// See [`SOCKET`].
pub const WORK: RawFd = 5;
/// See [`SOCKET`].
pub const FIRST_INHERITED: RawFd = 6;
/// The oldest that is known to work with kernels that have cgroup v2 and rseq.
const OLDEST: (i64, i64) = (4, 0);
/// The longest message, in bytes; an answer is a few hundred.
const LONGEST: usize = 64 * 1024;

/// What CRIU is started with.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The images' directory, absolute.
    pub images: &'a Path,
    /// The work directory, absolute.
    pub work: &'a Path,
    /// Its descriptors 0, 1 and 2; absent: /dev/null.
    pub stdio: Option<[OwnedFd; 3]>,
    /// Its descriptors from [`FIRST_INHERITED`] on.
    pub inherited: Vec<OwnedFd>,
    /// Whether it ends when we do. Half a restore is of no use to anybody; half a dump leaves the processes standing.
    pub bound: bool,
    /// Directories of the cgroup where it and all that it starts is to be found, and ended with the container.
    pub cgroup: Vec<PathBuf>,
    /// A mount that it sees on a directory, and nobody else does.
    pub root: Option<(OwnedFd, &'a Path)>,
}

/// A CRIU that was started and has a version that will do.
#[derive(Debug)]
pub struct Session {
    socket: OwnedFd,
    child: Child,
}

impl Session {
    /// Starts one; the caller must have one thread.
    pub fn start(program: &Path, surroundings: Surroundings) -> Result<Self> {
        let failed = |error| Error::io(format_args!("cannot start {}", program.display()), &error);
        let Surroundings { images, work, stdio, inherited, bound, cgroup, root } = surroundings;
        let mut command = Command::new(program);
        command.args(["swrk", &SOCKET.to_string()]);
        match stdio {
            Some([stdin, stdout, stderr]) => command.stdin(stdin).stdout(stdout).stderr(stderr),
            None => command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()),
        };
        let (near, far) = pair().map_err(failed)?;
        let c_path =
            |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|error| failed(error.into()));
        let directories = [c_path(images)?, c_path(work)?];
        let root = root.map(|(tree, place)| c_path(place).map(|place| (tree, place))).transpose()?;
        let prepare = move || {
            if bound {
                die_with_parent()?;
            }
            for directory in &cgroup {
                match std::fs::write(directory.join("cgroup.procs"), "0") {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            if let Some((tree, place)) = &root {
                mount_privately(tree, place)?;
            }
            let (ours, theirs) = pair()?;
            hand_back(&far, &ours)?;
            let [images, work] = &directories;
            let mut placed = vec![theirs, open(images)?, open(work)?];
            for descriptor in &inherited {
                placed.push(descriptor.try_clone()?);
            }
            place(&placed)
        };
        // SAFETY: this process has one thread, so its copy may run ordinary code.
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn().map_err(failed)?;
        // With the command goes its copy of the far end: there is nothing to wait for but what was sent.
        drop(command);
        let socket = receive(&near, &mut [0]).map_err(failed)?.1.ok_or_else(lost)?;
        let session = Self { socket, child };
        session.check_version(program)?;
        Ok(session)
    }

    fn check_version(&self, program: &Path) -> Result<()> {
        self.send(&rpc::request(Kind::Version, None))?;
        let (major, minor, sublevel) = self.receive()?.0.version;
        if (major, minor) < OLDEST {
            let program = program.display();
            let message = format!("CRIU 4.0 or later is needed, and {program} is {major}.{minor}.{sublevel}");
            return Err(Error::new("CRIU_TOO_OLD", message));
        }
        Ok(())
    }

    /// Says something.
    pub fn send(&self, message: &Message) -> Result<()> {
        let sent =
            nix::sys::socket::send(self.socket.as_raw_fd(), message.as_bytes(), MsgFlags::MSG_NOSIGNAL);
        sent.map_err(|errno| Error::io("cannot talk to CRIU", &errno.into()))?;
        Ok(())
    }

    /// Waits for what CRIU says, and takes the descriptor that comes with it.
    pub fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        let mut buffer = vec![0; LONGEST];
        match receive(&self.socket, &mut buffer) {
            Ok((0, _)) => Err(lost()),
            Ok((length, descriptor)) => Ok((Response::decode(&buffer[..length])?, descriptor)),
            Err(error) => Err(Error::io("cannot hear CRIU", &error)),
        }
    }

    /// Says that there is nothing more to say, and waits for its end: it is done, or gives up what it has begun.
    pub fn end(&mut self) {
        // SAFETY: no pointer is passed.
        unsafe { libc::shutdown(self.socket.as_raw_fd(), libc::SHUT_RDWR) };
        let _ = self.child.wait();
    }
}

/// One that is dropped in the middle leaves the processes as they were.
impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

/// To wait on for what it says.
impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The executable, for what it is needed for.
pub fn program(purpose: &str) -> Result<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let found = match named(VARIABLE) {
        Some(path) => Some(PathBuf::from(path)),
        None => std::env::split_paths(&named("PATH").unwrap_or_else(|| USUAL.into()))
            .map(|directory| directory.join("criu"))
            .find(|path| path.is_file()),
    };
    found.filter(|path| path.is_file()).ok_or_else(|| {
        let message = format!(
            "{purpose} needs the program criu (4.0 or later): install it, or set its path in {VARIABLE}"
        );
        Error::new("CRIU_MISSING", message)
    })
}

fn lost() -> Error {
    Error::new("CRIU_FAILED", "CRIU ended without an answer")
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// CRIU looks for the directories among the descriptors of whoever made its socket, and mounts in them: so the process
/// that becomes CRIU makes the socket, and opens them where it sees them mounted. This gives us our end.
fn hand_back(far: &OwnedFd, ours: &OwnedFd) -> io::Result<()> {
    let (fds, byte) = ([ours.as_raw_fd()], [io::IoSlice::new(&[0])]);
    let control = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(far.as_raw_fd(), &byte, &control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// A message's length and the descriptor that came with it; a length of 0 is the end.
fn receive(socket: &OwnedFd, into: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; 1]);
    loop {
        let mut into = [io::IoSliceMut::new(into)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(socket.as_raw_fd(), &mut into, Some(&mut space), flags) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let descriptor = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        // SAFETY: the kernel has just installed this descriptor for us, and nobody else has it.
        return Ok((message.bytes, descriptor.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })));
    }
}

fn open(directory: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(directory, flags, Mode::empty())?)
}

/// Gives the descriptors the numbers from [`SOCKET`] on. Each is copied out of the way first: its number may be another's
/// place.
fn place(descriptors: &[OwnedFd]) -> io::Result<()> {
    let above = SOCKET + descriptors.len() as RawFd;
    let copy = |fd: &OwnedFd| fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(above));
    let copies = descriptors.iter().map(copy).collect::<nix::Result<Vec<RawFd>>>()?;
    for (number, copy) in (SOCKET..).zip(copies) {
        // SAFETY: no pointer is passed; whatever had the number is this process's copy and of no use after exec.
        if unsafe { libc::dup2(copy, number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn die_with_parent() -> io::Result<()> {
    // SAFETY: this option takes a number.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Attaches a detached mount on a directory, in a mount namespace of this process's own.
fn mount_privately(tree: &OwnedFd, place: &CStr) -> io::Result<()> {
    let none = std::ptr::null::<libc::c_char>();
    let check = |result: libc::c_long| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: no pointer is passed.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into())?;
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the string ends with a zero byte; the others are absent.
    check(unsafe { libc::mount(none, c"/".as_ptr(), none, flags, std::ptr::null()) }.into())?;
    // SAFETY: both strings end with a zero byte.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            place.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
}
