//! The holder: a process that does nothing but be in the hub's namespaces, by which others find them, and keep the program
//! that leads out of there. It ends when nobody uses the hub, and the program with it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kapsel_network::hub;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::uplink;
use crate::error::Error;
use crate::monitor::let_go_of_stdio;

/// Its first word: the namespaces can be found.
pub const HELD: &str = "held";
/// How long the program may take to lead out.
const PATIENCE: Duration = Duration::from_secs(10);

/// What it gets.
pub struct Holder {
    /// The hub's network namespace; its user namespace is the caller's.
    pub namespace: OwnedFd,
    /// Whose lock it waits for.
    pub users: File,
    /// Locked, by which others see that it lives.
    pub lock: File,
    /// Where it says how it goes, a line each: [`HELD`], and then a code and a message, or one word that all is well.
    pub report: io::PipeWriter,
    /// Whether it is of no use where nothing leads out.
    pub must_lead_out: bool,
}

impl Holder {
    /// Starts it, and returns its process id. The caller is in the machine's network namespace, and its other threads wait.
    pub fn start(&self) -> io::Result<i32> {
        // SAFETY: no other thread does anything, so that the child has everything in order.
        match unsafe { libc::fork() } {
            0 => self.run(),
            pid if pid < 0 => Err(io::Error::last_os_error()),
            pid => Ok(pid),
        }
    }

    fn run(&self) -> ! {
        // Whoever is told of an error has been told; nobody is left otherwise.
        if let Err(error) = self.hold() {
            let _ = writeln!(&self.report, "{} {}", error.code, error.message);
        }
        // SAFETY: ends this process without running what belongs to its maker.
        unsafe { libc::_exit(0) }
    }

    fn hold(&self) -> Result<(), Error> {
        self.settle()?;
        let failed = |what: &str| Error::last(what);
        static IS_HELD: AtomicBool = AtomicBool::new(false);
        let report =
            self.report.try_clone().map_err(|error| Error::io("cannot copy a descriptor", &error))?;
        // It stays in the machine's network namespace, out of which the program is to lead, and whose thread can be no other:
        // who has left that as an ordinary user does not come back.
        let must_lead_out = self.must_lead_out;
        let keeper = thread::Builder::new().spawn(move || {
            while !IS_HELD.load(Ordering::Acquire) {
                thread::park();
            }
            uplink::keep(report, must_lead_out)
        });
        let keeper = keeper.map_err(|error| Error::io("cannot start a thread", &error))?;
        setns(&self.namespace, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::io("cannot enter the hub", &errno.into()))?;
        let _ready = hub::Hub::prepare()?;
        let routes = hub::watch_routes()?;
        show_itself().map_err(|_| failed("cannot be found by others"))?;
        let mut report = &self.report;
        let _ = writeln!(report, "{HELD}");
        IS_HELD.store(true, Ordering::Release);
        keeper.thread().unpark();
        if must_lead_out {
            wait(&routes)?;
            let _ = writeln!(report, "out");
        }
        drop(routes);
        loop {
            // SAFETY: no pointer is passed.
            if unsafe { libc::flock(self.users.as_raw_fd(), libc::LOCK_EX) } == 0 {
                return Ok(());
            }
        }
    }

    /// Keeps nothing of its maker's but what it was given.
    fn settle(&self) -> Result<(), Error> {
        let_go_of_stdio()?;
        let mut kept = [
            self.namespace.as_raw_fd(),
            self.users.as_raw_fd(),
            self.lock.as_raw_fd(),
            self.report.as_raw_fd(),
        ];
        kept.sort_unstable();
        let mut first = 3;
        for fd in kept.into_iter().chain([-1]) {
            let last = (fd as u32).wrapping_sub(1);
            if first <= last {
                // SAFETY: these descriptors are nobody's in this process, which never returns to what its maker did.
                unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) };
            }
            first = (fd as u32).wrapping_add(1);
        }
        // SAFETY: the set is made before it is used and not kept; the name ends with a NUL byte.
        unsafe {
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            libc::setsid();
            libc::prctl(libc::PR_SET_NAME, c"kapsel-network".as_ptr());
        }
        Ok(())
    }
}

/// Lets others open the calling thread's namespaces: the user's other commands, and pasta, which gives up all capabilities but
/// these before it looks. A container that sees this process (`--pid host`) has fewer, and may not touch it.
fn show_itself() -> nix::Result<()> {
    const NET_BIND_SERVICE: u32 = 1 << 10;
    const NET_ADMIN: u32 = 1 << 12;
    const SYS_ADMIN: u32 = 1 << 21;
    let header: [u32; 2] = [0x2008_0522, 0];
    // Effective, permitted and inheritable; and once more for the higher ones.
    let sets = [0, NET_BIND_SERVICE | NET_ADMIN | SYS_ADMIN, 0, 0, 0, 0];
    // SAFETY: version 3 has a header of two words and six words of capabilities; the kernel keeps neither.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })?;
    // SAFETY: the option takes a number.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1_u64, 0_u64, 0_u64, 0_u64) })?;
    Ok(())
}

/// Until there is a way out.
fn wait(routes: &OwnedFd) -> Result<(), Error> {
    let until = Instant::now() + PATIENCE;
    while !hub::leads_out(uplink::INTERFACE) {
        let left = until.saturating_duration_since(Instant::now()).as_millis() as i32;
        if left == 0 {
            let message = "neither pasta nor slirp4netns has connected the network of this user's containers within ten seconds";
            return Err(Error::new("NETWORK_FAILED", message));
        }
        let mut change = libc::pollfd { fd: routes.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let mut news = [0_u8; 4096];
        // SAFETY: both have room for what is written to them.
        unsafe {
            libc::poll(&raw mut change, 1, left);
            libc::recv(routes.as_raw_fd(), news.as_mut_ptr().cast(), news.len(), libc::MSG_DONTWAIT);
        }
    }
    Ok(())
}
