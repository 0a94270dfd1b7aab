//! Starting a process, and waiting for it.
//!
//! `clone(CLONE_VM | CLONE_VFORK)` with everything prepared before, as posix_spawn does inside: no page table of
//! Node's is copied (fork costs 17 ms at 576 MB resident), and the child makes system calls only. posix_spawn itself
//! cannot execute a close-on-exec descriptor, and its "close all others" needs glibc 2.34.

use std::ffi::{CString, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use napi::bindgen_prelude::{Env, Object};
use napi_derive::napi;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use crate::descriptors::borrow;
use crate::executable;
use crate::outcome::{Failure, Outcome};
use crate::settle::Settle;
use crate::waiter::when_readable;

/// See `SpawnOptions` in src/native.ts.
#[napi(object, object_to_js = false)]
pub struct SpawnOptions {
    /// Absolute, an ELF executable.
    pub path: String,
    /// With argv[0].
    pub argv: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The child's 0, 1, 2, …; null is /dev/null.
    pub fds: Vec<Option<RawFd>>,
    /// A session of its own.
    pub setsid: Option<bool>,
}

/// How a child ended.
#[napi(object, object_from_js = false)]
pub struct ChildExit {
    /// Where it exited.
    pub exit_code: Option<i32>,
    /// Where a signal ended it.
    pub signal: Option<i32>,
}

/// Everything the child looks at, in memory it shares with its suspended parent.
struct Plan {
    executable: RawFd,
    argv: *const *const c_char,
    env: *const *const c_char,
    /// The child may move these out of each other's way: its descriptors are its own, this memory is the parent's.
    sources: *mut RawFd,
    count: RawFd,
    setsid: bool,
    /// 0, or what failed in the child.
    errno: c_int,
}

const STACK: usize = 64 << 10;

/// Starts a process and returns its pid.
#[napi]
pub fn spawn(options: SpawnOptions) -> Outcome<i32> {
    start(&options).into()
}

fn start(options: &SpawnOptions) -> Result<i32, Failure> {
    let path = text(&options.path)?;
    let argv = options.argv.iter().map(|value| text(value)).collect::<Result<Vec<_>, _>>()?;
    let env = options.env.iter().map(|value| text(value)).collect::<Result<Vec<_>, _>>()?;
    if argv.is_empty() {
        return Err(Failure::invalid("a process needs an argv[0]"));
    }
    let mut null = None;
    let mut sources = Vec::with_capacity(options.fds.len());
    for fd in &options.fds {
        sources.push(match fd {
            Some(fd) => borrow(*fd)?.as_raw_fd(),
            None => null_device(&mut null)?,
        });
    }
    executable::with(&path, |executable| {
        let (argv, env) = (pointers(&argv), pointers(&env));
        let plan = Plan {
            executable: executable.as_raw_fd(),
            argv: argv.as_ptr(),
            env: env.as_ptr(),
            sources: sources.as_mut_ptr(),
            count: RawFd::try_from(sources.len()).unwrap_or(RawFd::MAX),
            setsid: options.setsid.unwrap_or(false),
            errno: 0,
        };
        clone(plan).map_err(|errno| Failure::system(&format!("start {}", options.path), errno))
    })
}

fn null_device(null: &mut Option<OwnedFd>) -> Result<RawFd, Failure> {
    let fd = match null.take() {
        Some(fd) => fd,
        None => open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| Failure::system("open /dev/null", errno))?,
    };
    Ok(null.insert(fd).as_raw_fd())
}

fn text(value: &str) -> Result<CString, Failure> {
    CString::new(value).map_err(|_| Failure::invalid(format!("{value:?} contains a zero byte")))
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

fn clone(mut plan: Plan) -> nix::Result<i32> {
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let mut before = SigSet::empty();
    // A handler of Node's must never run in the child, on Node's memory: nothing is delivered until they are gone.
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    // SAFETY: the child runs `child` on a stack of its own, grown down from its end, which is 16-byte aligned. With
    // CLONE_VFORK this thread is suspended until the child has executed or ended, so `plan`, `stack` and what they
    // point to outlive its use of them; and the child makes system calls only: no allocation, no lock, no panic.
    let pid = Errno::result(unsafe {
        let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
        libc::clone(child, top, libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, (&raw mut plan).cast())
    });
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    let pid = pid?;
    // SAFETY: the child, which wrote it behind the compiler's back, no longer shares this memory.
    match unsafe { ptr::read_volatile(&raw const plan.errno) } {
        0 => Ok(pid),
        errno => {
            let _ = waitpid(Pid::from_raw(pid), None);
            Err(Errno::from_raw(errno))
        }
    }
}

extern "C" fn child(plan: *mut c_void) -> c_int {
    let plan = plan.cast::<Plan>();
    // SAFETY: `clone` passes its plan, and its thread is suspended.
    unsafe {
        become_it(&mut *plan);
        (*plan).errno = *libc::__errno_location();
        libc::_exit(127)
    }
}

/// Returns only where something failed, with errno set.
///
/// # Safety
/// For the child of [`clone`] only: it changes the calling process beyond repair.
unsafe fn become_it(plan: &mut Plan) {
    // SAFETY: plain system calls on the child's own signals, session and descriptors; the pointers are the plan's.
    unsafe {
        // Node ignores SIGPIPE and handles others; an ignored signal would stay ignored in the new program. The two
        // that glibc keeps for itself are refused, which is right: they are never ignored.
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const default, ptr::null_mut());
        }
        if plan.setsid && libc::setsid() == -1 {
            return;
        }
        // First out of the way: whatever lies where another is to go.
        plan.executable = match above(plan.executable, plan.count) {
            -1 => return,
            fd => fd,
        };
        for target in 0..plan.count {
            let source = plan.sources.add(usize::try_from(target).unwrap_or(0));
            if *source != target {
                *source = above(*source, plan.count);
                if *source == -1 {
                    return;
                }
            }
        }
        for target in 0..plan.count {
            let source = *plan.sources.add(usize::try_from(target).unwrap_or(0));
            // dup2 onto itself does nothing, not even clear close-on-exec.
            let placed = if source == target {
                libc::fcntl(target, libc::F_SETFD, 0)
            } else {
                libc::dup3(source, target, 0)
            };
            if placed == -1 {
                return;
            }
        }
        // Linux 5.11. Not closed: the executable is among them.
        let cloexec = libc::CLOSE_RANGE_CLOEXEC;
        if libc::syscall(libc::SYS_close_range, plan.count, libc::c_uint::MAX, cloexec) == -1 {
            return;
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::syscall(
            libc::SYS_execveat,
            plan.executable,
            c"".as_ptr(),
            plan.argv,
            plan.env,
            libc::AT_EMPTY_PATH,
        );
    }
}

/// The same file at a number from `floor` on; -1 and errno where it cannot be.
///
/// # Safety
/// As [`become_it`].
unsafe fn above(fd: RawFd, floor: RawFd) -> RawFd {
    if fd >= floor {
        return fd;
    }
    // SAFETY: a plain system call.
    unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, floor) }
}

/// Waits for exactly that child.
#[napi]
pub fn reap(env: &Env, pid: i32) -> napi::Result<Object<'_>> {
    let (settle, promise) = Settle::promise(env)?;
    match pidfd(pid) {
        Ok(fd) => wait(fd, pid, settle),
        Err(errno) => settle.with(Err(Failure::system(&format!("wait for process {pid}"), errno))),
    }
    Ok(promise)
}

/// Open only while the child is not yet waited for: the number cannot be another process's.
fn pidfd(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: pidfd_open(2), Linux 5.3: takes two numbers and returns a new, close-on-exec descriptor.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: it is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn wait(fd: OwnedFd, pid: i32, settle: Settle<ChildExit>) {
    let failed = move |errno| Failure::system(&format!("wait for process {pid}"), errno);
    when_readable(fd, move |readable| {
        let status = readable.and_then(|_| waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED));
        settle.with(status.map(ended).map_err(failed));
    });
}

fn ended(status: WaitStatus) -> ChildExit {
    match status {
        WaitStatus::Exited(_, code) => ChildExit { exit_code: Some(code), signal: None },
        WaitStatus::Signaled(_, signal, _) => ChildExit { exit_code: None, signal: Some(signal as i32) },
        // WEXITED reports nothing else.
        _ => ChildExit { exit_code: None, signal: None },
    }
}
