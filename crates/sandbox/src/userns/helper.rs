//! newuidmap and newgidmap: set-user-ID programs that map a user's subordinate ids, run from outside the namespace.

use std::ffi::{CStr, CString};

use nix::{
    errno::Errno,
    sys::wait::{WaitStatus, waitpid},
    unistd::{Pid, execvp},
};

use super::subordinate::Range;
use crate::{
    Error, channel,
    error::{At, Stage},
    sys::process::{Cloned, clone},
};

/// A process that waits outside until it is to run its program on us.
pub(super) struct Helper {
    pid: Pid,
    ids: u32,
    go: channel::Parent,
}

/// A helper that runs.
pub(super) struct Running(Helper);

impl Helper {
    /// Prepares `program` to map 0 to `own`, and 1 and what follows to `ranges`.
    pub(super) fn new(program: &CStr, own: u32, ranges: &[Range]) -> Result<Self, Error> {
        let mut words = vec![program.to_owned()];
        let mut numbers = vec![std::process::id(), 0, own, 1];
        let mut ids = 1;
        for range in ranges {
            numbers.extend([ids, range.first, range.count]);
            ids += range.count;
        }
        words.extend(numbers.iter().map(|number| CString::new(number.to_string()).unwrap_or_default()));
        let (go, signal) = channel::pair()?;
        // SAFETY: `enter` asks for a single thread; the child only waits and executes.
        match unsafe { clone(0, None, false) }.at(Stage::Namespace, || "cannot make a process")? {
            Cloned::Parent { pid, .. } => Ok(Self { pid: Pid::from_raw(pid), ids, go }),
            Cloned::Child => {
                // Our copy of the other end would keep us waiting for ever after its owner has ended.
                drop(go);
                if signal.wait().is_ok() {
                    silence();
                    let _ = execvp(program, &words);
                }
                // SAFETY: ends this process without running what belongs to the original.
                unsafe { libc::_exit(127) }
            }
        }
    }

    /// Lets it run.
    pub(super) fn start(self) -> Result<Running, Error> {
        self.go.go_on()?;
        Ok(Running(self))
    }
}

impl Running {
    /// How many ids were mapped; none where the program is missing or refused.
    pub(super) fn finish(self) -> Result<Option<u32>, Error> {
        let status = loop {
            match waitpid(self.0.pid, None) {
                Err(Errno::EINTR) => {}
                other => break other.at(Stage::Namespace, || "cannot wait for newuidmap")?,
            }
        };
        Ok((status == WaitStatus::Exited(self.0.pid, 0)).then_some(self.0.ids))
    }
}

/// What the program has to say is said by us, in one line.
fn silence() {
    // SAFETY: opens a constant path and puts it in place of this process's own descriptor 2.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        libc::dup2(null, 2);
    }
}
