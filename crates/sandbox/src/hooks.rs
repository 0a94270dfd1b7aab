//! Programs of the caller's that run at the points of a container's life (config.md, "POSIX-platform Hooks").

use std::{
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{
    Error,
    channel::RESERVED,
    error::Stage,
    spec::{Hook, State},
    sys::{open::close_on_exec_from, process::pidfd_open},
};

/// How much of what a hook complains about is told on, in bytes.
const LONGEST_COMPLAINT: usize = 1024;

/// Runs them one after the other, each with the state on its stdin; the first that fails is the error, and those after
/// it do not run. `point` is the hooks' name in the specification.
pub fn run(point: &str, hooks: &[Hook], state: &State) -> Result<(), Error> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = serde_json::to_vec(state).map_err(|error| {
        Error::new(Stage::Hook, 0, format!("cannot write the container's state: {error}"))
    })?;
    hooks.iter().enumerate().try_for_each(|(index, hook)| {
        let what = || format!("hooks.{point}[{index}] ({})", hook.path.display());
        run_one(hook, &state).map_err(|failure| match failure {
            Failure::System(error) => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
                Error::system(Stage::Hook, errno, format!("cannot run {}", what()))
            }
            Failure::Unsuccessful(how) => Error::new(Stage::Hook, 0, format!("{} {how}", what())),
        })
    })
}

enum Failure {
    System(io::Error),
    Unsuccessful(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

fn run_one(hook: &Hook, state: &[u8]) -> Result<(), Failure> {
    if !hook.path.is_absolute() {
        return Err(Failure::Unsuccessful("must have an absolute path".to_owned()));
    }
    let deadline = hook.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let mut command = Command::new(&hook.path);
    if let [name, arguments @ ..] = &hook.args[..] {
        command.arg0(name).args(arguments);
    }
    command.env_clear().envs(hook.env.iter().map(|entry| entry.split_once('=').unwrap_or((entry, ""))));
    // Not the caller's streams: they are the container's, and its program's output is all that belongs there.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // What else is open is the runtime's and its caller's (CVE-2024-21626): it ends where the hook begins.
    // SAFETY: one system call on the child's own table.
    unsafe { command.pre_exec(|| Ok(close_on_exec_from(RESERVED)?)) };
    // A group of its own: what it has started ends with it.
    let mut child = command.process_group(0).spawn()?;
    let result = attend(&mut child, state, deadline);
    if result.is_err() && matches!(child.try_wait(), Ok(None)) {
        // Our own child and not reaped: the number cannot mean another group.
        let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
        let _ = child.wait();
    }
    result
}

/// Feeds the state to the hook and listens to it until it has ended. It need not read, and its own children may keep
/// its streams open: only its end counts.
fn attend(child: &mut Child, state: &[u8], deadline: Option<Instant>) -> Result<(), Failure> {
    let pidfd = pidfd_open(child.id() as i32)?;
    let (mut stdin, mut stderr) = (child.stdin.take(), child.stderr.take());
    stdin.as_ref().map(nonblocking).transpose()?;
    stderr.as_ref().map(nonblocking).transpose()?;
    let (mut unwritten, mut complaint) = (state, Vec::new());
    loop {
        let mut watched = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        watched.extend(stdin.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
        watched.extend(stderr.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        match poll(&mut watched, time_left(deadline)?) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
        let ended = watched[0].any() == Some(true);
        if let Some(pipe) = &mut stdin
            && feed(pipe, &mut unwritten)?
        {
            stdin = None;
        }
        if let Some(pipe) = &mut stderr
            && listen(pipe, &mut complaint)?
        {
            stderr = None;
        }
        if ended {
            return judge(child.wait()?, &complaint);
        }
    }
}

fn time_left(deadline: Option<Instant>) -> Result<PollTimeout, Failure> {
    let Some(deadline) = deadline else { return Ok(PollTimeout::NONE) };
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Failure::Unsuccessful("did not end within its timeout and was killed".to_owned()));
    }
    // Rounded up: a last wait of no milliseconds would be a busy one.
    Ok(PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX))
}

fn nonblocking(pipe: &impl AsFd) -> nix::Result<()> {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}

/// Whether nothing more is to be written: all of it was, or nobody reads.
fn feed(pipe: &mut impl Write, unwritten: &mut &[u8]) -> io::Result<bool> {
    match pipe.write(unwritten) {
        Ok(count) => {
            *unwritten = &unwritten[count..];
            Ok(unwritten.is_empty())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether nothing more comes. What is too long is read all the same: a hook that blocks would never end.
fn listen(pipe: &mut ChildStderr, complaint: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0u8; 4096];
    match pipe.read(&mut buffer) {
        Ok(0) => Ok(true),
        Ok(count) => {
            let room = LONGEST_COMPLAINT.saturating_sub(complaint.len());
            complaint.extend(&buffer[..count.min(room)]);
            Ok(false)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn judge(status: std::process::ExitStatus, complaint: &[u8]) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("failed with exit status {code}"),
        (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
    };
    // One line, whatever it was: several would look like several errors.
    let complaint = String::from_utf8_lossy(complaint).split_whitespace().collect::<Vec<_>>().join(" ");
    let colon = if complaint.is_empty() { "" } else { ": " };
    Err(Failure::Unsuccessful(format!("{how}{colon}{complaint}")))
}
