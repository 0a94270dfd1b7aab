//! The monitor's own traps: what it inherits, what it gives up, and the signals it hears.

use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::document::Lines;
use crate::error::{Error, Result};

/// What the engine hands over.
pub struct Inherited {
    /// fd 4: the lock, held by this open file description.
    pub lock: OwnedFd,
    /// fd 5: the first client.
    pub client: OwnedFd,
}

/// Closes every descriptor that is not handed over: one leaked by the engine's host process must not live as long as the
/// container, let alone get into it.
pub fn close_others() {
    // SAFETY: these descriptors belong to nobody: nothing has been opened in this process yet.
    unsafe { libc::syscall(libc::SYS_close_range, 6_u32, u32::MAX, 0_u32) };
}

/// What is said on fd 3: a pipe where this executable is sealed; otherwise a memfd, which is read again by what we become.
pub fn documents() -> Result<Lines> {
    // SAFETY: no pointer is passed.
    if unsafe { libc::fcntl(3, libc::F_GETFD) } < 0 {
        return Err(missing(3, "the Launch"));
    }
    // SAFETY: it is open, and nobody else in this process has it.
    Ok(Lines::of(unsafe { OwnedFd::from_raw_fd(3) }))
}

fn missing(fd: RawFd, what: &str) -> Error {
    Error::new("USAGE", format!("fd {fd}, {what}, is not open: `monitor` is started by kapsel, not by hand"))
}

/// Takes over what was handed over, and settles down: nothing of the caller's surroundings is kept, and nobody may look
/// into us.
pub fn inherited() -> Result<Inherited> {
    for (fd, what) in [(3, "the Launch"), (4, "the lock"), (5, "the first connection")] {
        // SAFETY: no pointer is passed.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Err(missing(fd, what));
        }
    }
    std::env::set_current_dir("/").map_err(|error| Error::io("cannot change to /", &error))?;
    // SAFETY: neither call takes a pointer that it keeps; SIG_IGN is a valid disposition.
    unsafe {
        libc::umask(0o022);
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
    // What an exec leaves behind in the host's PID namespace is ours to reap.
    control_process(libc::PR_SET_CHILD_SUBREAPER, 1)?;
    // CVE-2016-9962: a process in the container's namespaces must not be able to open our descriptors.
    control_process(libc::PR_SET_DUMPABLE, 0)?;
    // SAFETY: the name ends with a NUL byte.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"kapsel-monitor".as_ptr()) };
    // SAFETY: both are open, as tested above, and nobody else in this process has them.
    unsafe { Ok(Inherited { lock: OwnedFd::from_raw_fd(4), client: OwnedFd::from_raw_fd(5) }) }
}

fn control_process(option: i32, value: libc::c_ulong) -> Result<()> {
    // SAFETY: these options take a number.
    match unsafe { libc::prctl(option, value, 0_u64, 0_u64, 0_u64) } {
        0 => Ok(()),
        _ => Err(Error::last(format_args!("prctl {option}"))),
    }
}

/// Lets go of the caller's standard streams: whoever waits for the end of a pipe must not wait for the container.
/// From here on errors go to the clients and the exit record.
pub fn let_go_of_stdio() -> Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| Error::io("cannot open /dev/null", &error))?;
    for fd in 0..3 {
        // SAFETY: no pointer is passed; std does not hold these as owned descriptors.
        if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
            return Err(Error::last(format_args!("cannot put /dev/null in place of fd {fd}")));
        }
    }
    Ok(())
}

/// Blocks the signals that are for the container, and SIGCHLD, and makes a descriptor that tells them.
pub fn signals() -> Result<OwnedFd> {
    // SAFETY: an all-zero sigset_t is a valid value of that type, and is then initialised; the calls do not keep it.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGCHLD] {
            libc::sigaddset(&raw mut set, signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) < 0 {
            return Err(Error::last("cannot block signals"));
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(Error::last("cannot make a signalfd")),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// The next signal that has come.
pub fn next_signal(signals: &impl AsRawFd) -> Option<i32> {
    // SAFETY: an all-zero signalfd_siginfo is a valid value of that type.
    let mut info: libc::signalfd_siginfo = unsafe { zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: `info` has room for the `size` bytes that are read.
    let count = unsafe { libc::read(signals.as_raw_fd(), (&raw mut info).cast(), size) };
    (count == size as isize).then_some(info.ssi_signo as i32)
}

/// Reaps processes that have been left to us as the subreaper. It stops at one of `known`, whose pidfd tells its own
/// story; call it again when that has been reaped.
pub fn reap_strays(known: &[i32]) {
    loop {
        // SAFETY: an all-zero siginfo_t is a valid value of that type.
        let mut info: libc::siginfo_t = unsafe { zeroed() };
        let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
        // SAFETY: `info` is valid for the kernel to fill.
        if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, look) } < 0 {
            return;
        }
        // SAFETY: waitid has filled the fields of a SIGCHLD, or left all of them zero.
        let pid: RawFd = unsafe { info.si_pid() };
        if pid == 0 || known.contains(&pid) {
            return;
        }
        // SAFETY: no pointer but null is passed.
        if unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) } < 0
            && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted
        {
            return;
        }
    }
}

/// Gives memory back that only what came before needed: free heap, and pages of the executable, which the kernel maps
/// sixteen at a time. Those that are used again come back from the page cache.
pub fn trim_memory() {
    // SAFETY: no pointer is passed; glibc's allocator allows it at any time.
    unsafe { libc::malloc_trim(0) };
    // SAFETY: the callback has the type that is asked for and needs no data.
    unsafe { libc::dl_iterate_phdr(Some(forget_read_only_segments), std::ptr::null_mut()) };
}

/// For [`libc::dl_iterate_phdr`]: lets go of the pages of one loaded object that cannot have been changed.
unsafe extern "C" fn forget_read_only_segments(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the C library passes a valid description of an object that is loaded.
    let object = unsafe { &*object };
    // SAFETY: it has as many program headers as it says.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    for header in
        headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0)
    {
        let page = 4095;
        let start = (object.dlpi_addr + header.p_vaddr) as usize & !page;
        let end = (object.dlpi_addr + header.p_vaddr + header.p_memsz) as usize;
        // SAFETY: these pages are a file's and have never been writable: the kernel reads the same again when they are used
        // next, and nobody changes the file, which is sealed or busy. A failure leaves them as they are.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
    // The first object is the executable; others (in a dynamic build) are shared with everybody.
    1
}
