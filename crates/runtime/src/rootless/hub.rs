//! The hub: the user namespace and the network namespace that all containers of one engine share which are on networks,
//! where that engine is an ordinary user's. In there the bridges are, and everything is as it is on the machine for root.
//!
//! A process keeps them, the [holder](super::holder), from the first such container to the last. In RUN_ROOT/rootless is
//! - `lock`, held by whoever looks for the holder or makes one;
//! - `users`, shared by everybody who needs the hub: the holder waits until it has that for itself, and ends;
//! - `holder`, held by the holder, with its process id in it.
//!
//! A holder that was killed is replaced by those that still have the namespaces, the monitors.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kapsel_network::hub;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::{enter, enter_this, holder};
use crate::error::{Error, Result};

/// How long a holder that was killed is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one who uses the hub has of it.
pub struct Hub {
    directory: PathBuf,
    namespace: OwnedFd,
    /// A pidfd.
    holder: OwnedFd,
    /// Shared, for as long as this lives.
    _users: File,
}

/// The hub as it is found.
struct Found {
    user: File,
    network: File,
    holder: OwnedFd,
}

impl Hub {
    /// Enters the user namespace; makes everything where there is nobody yet. The network namespace of the caller stays.
    pub fn join(run_root: &Path) -> Result<Self> {
        let directory = directory(run_root)?;
        let until = Instant::now() + PATIENCE;
        loop {
            let _lock = lock(&directory.join("lock"), libc::LOCK_EX)?;
            let users = open(&directory.join("users"))?;
            let is_first = flock(&users, libc::LOCK_EX | libc::LOCK_NB)?;
            // Here somebody may be waited for who ends.
            flock(&users, libc::LOCK_SH)?;
            if let Some(Found { user, network, holder }) = find(&directory)? {
                enter_this(&user)?;
                return Ok(Self { directory, namespace: network.into(), holder, _users: users });
            }
            if is_first {
                enter()?;
                let namespace = kapsel_network::namespace::new()?;
                let holder = hold(&directory, &namespace, true)?;
                return Ok(Self { directory, namespace, holder, _users: users });
            }
            if Instant::now() > until {
                let message = "the network of this user's containers has lost its holder; stop those that are on networks, and try again";
                return Err(Error::new("NETWORK_LOST", message));
            }
            drop((_lock, users));
            sleep(Duration::from_millis(5));
        }
    }

    /// Enters both namespaces, for a short time, where they are.
    pub fn visit(run_root: &Path) -> Result<bool> {
        let directory = directory(run_root)?;
        let until = Instant::now() + PATIENCE;
        loop {
            let _lock = lock(&directory.join("lock"), libc::LOCK_EX)?;
            if let Some(Found { user, network, .. }) = find(&directory)? {
                enter_this(&user)?;
                setns(&network, CloneFlags::CLONE_NEWNET)
                    .map_err(|errno| Error::io("cannot enter the hub", &errno.into()))?;
                return Ok(true);
            }
            let is_unused = flock(&open(&directory.join("users"))?, libc::LOCK_EX | libc::LOCK_NB)?;
            if is_unused || Instant::now() > until {
                return Ok(false);
            }
            drop(_lock);
            sleep(Duration::from_millis(5));
        }
    }

    /// Goes to where the bridges are, for good.
    pub fn enter(&self) -> Result<()> {
        Ok(hub::enter(self.namespace.as_fd())?)
    }

    /// A pidfd, which is readable when the holder has ended.
    pub fn holder(&self) -> io::Result<OwnedFd> {
        self.holder.try_clone()
    }

    /// Finds the holder that has taken the place of one that was killed, or makes it.
    pub fn mend(&mut self) -> Result<()> {
        let _lock = lock(&self.directory.join("lock"), libc::LOCK_EX)?;
        self.holder = match find(&self.directory)? {
            Some(found) => found.holder,
            None => hold(&self.directory, &self.namespace, false)?,
        };
        Ok(())
    }
}

/// Starts a holder, and waits until it has what it is to hold, or until it also leads out.
fn hold(directory: &Path, namespace: &OwnedFd, leads_out: bool) -> Result<OwnedFd> {
    let failed = |error: io::Error| Error::io("cannot hold the network of this user's containers", &error);
    let path = directory.join("holder");
    let Some(mut own) = lock(&path, libc::LOCK_EX | libc::LOCK_NB)? else {
        return Err(failed(io::ErrorKind::WouldBlock.into()));
    };
    own.set_len(0).map_err(failed)?;
    let (answers, report) = io::pipe().map_err(failed)?;
    let holder = holder::Holder {
        namespace: namespace.try_clone().map_err(failed)?,
        users: open(&directory.join("users"))?,
        lock: own.try_clone().map_err(failed)?,
        report,
        must_lead_out: leads_out,
    };
    let pid = hub::outside(move || holder.start()).map_err(failed)?;
    write!(own, "{pid}").map_err(failed)?;
    let pidfd = pidfd(pid).map_err(failed)?;
    for answer in BufReader::new(answers).lines().map_while(io::Result::ok) {
        match answer.split_once(' ') {
            None if leads_out && answer == holder::HELD => {}
            None => return Ok(pidfd),
            Some((code, message)) => return Err(Error::new(code, message)),
        }
    }
    Err(Error::new("NETWORK_LOST", "the process that holds the network of this user's containers was killed"))
}

/// The holder that lives, and what it has.
fn find(directory: &Path) -> Result<Option<Found>> {
    let path = directory.join("holder");
    let holder = open(&path)?;
    if flock(&holder, libc::LOCK_SH | libc::LOCK_NB)? {
        return Ok(None);
    }
    let look = || -> io::Result<Found> {
        let pid: i32 = std::fs::read_to_string(&path)?.parse().map_err(io::Error::other)?;
        let holder = pidfd(pid)?;
        let namespace = |name| File::open(format!("/proc/{pid}/ns/{name}"));
        Ok(Found { user: namespace("user")?, network: namespace("net")?, holder })
    };
    // One that ends just now is none.
    Ok(look().ok())
}

fn directory(run_root: &Path) -> Result<PathBuf> {
    let path = run_root.join("rootless");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
    made.map_err(|error| Error::io(format_args!("cannot make {}", path.display()), &error))?;
    Ok(path)
}

fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    file.map_err(|error| Error::io(format_args!("cannot open {}", path.display()), &error))
}

fn lock(path: &Path, how: i32) -> Result<Option<File>> {
    let file = open(path)?;
    Ok(flock(&file, how)?.then_some(file))
}

/// Whether it is ours now; it may be another's where we do not wait.
fn flock(file: &File, how: i32) -> Result<bool> {
    loop {
        // SAFETY: no pointer is passed.
        match Errno::result(unsafe { libc::flock(file.as_raw_fd(), how) }) {
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => {}
            Err(Errno::EWOULDBLOCK) => return Ok(false),
            Err(errno) => return Err(Error::io("cannot lock a file of the run directory", &errno.into())),
        }
    }
}

fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
