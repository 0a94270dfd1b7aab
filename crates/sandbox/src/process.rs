//! From "inside the container" to the program: identity, privileges, execve. The same for a first process and for one
//! that joins.
//!
//! The order is runc's, and each step needs a right that a later one takes away.

use kapsel_proc::Proc;
use std::{
    convert::Infallible,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use nix::errno::Errno;

use crate::{
    Error, Gate, Manner, Stdio,
    capabilities::Sets,
    channel::Child,
    error::{At, Stage},
    hooks,
    identity::Identity,
    labels,
    limits::{Limits, Processors},
    namespaces::hide,
    notify,
    program::Program,
    resolve::Root,
    signals,
    spec::{Hook, Linux, Process, State},
    streams,
    sys::process::{new_session_keyring, prctl},
    terminal,
    trace::Trace,
    workdir,
};

/// What is known about the program before its process exists.
pub(crate) struct Prepared<'a> {
    process: &'a Process,
    limits: Limits,
    user: &'a str,
    group_add: &'a [String],
    seccomp: Option<&'a kapsel_seccomp::Program>,
    stdio: Stdio<'a>,
    manner: Manner,
    /// Where to wait before the program.
    pub gate: Option<&'a Gate>,
    /// Whether to wait for the parent there.
    pub held: bool,
    /// What is run after the wait, and the state it is told.
    pub start_hooks: Option<(&'a [Hook], State)>,
    /// The executable to become instead, which is to start the program as its child.
    pub init: Option<OwnedFd>,
    program: Program,
    capabilities: Sets,
    /// Whether a working directory that is missing is made.
    pub make_directory: bool,
    /// A /proc, where something has to be written there.
    pub proc: Option<Proc>,
}

impl<'a> Prepared<'a> {
    /// Reads and checks everything that can be.
    pub(crate) fn new(
        process: &'a Process,
        linux: Option<&Linux>,
        (user, group_add): (&'a str, &'a [String]),
        seccomp: Option<&'a kapsel_seccomp::Program>,
        stdio: Stdio<'a>,
        manner: Manner,
    ) -> Result<Self, Error> {
        let is_asked = labels::are_asked(process) || process.oom_score_adj.is_some();
        let proc = is_asked.then(open_proc).transpose()?;
        Ok(Self {
            process,
            limits: Limits::read(process, linux)?,
            user,
            group_add,
            seccomp,
            stdio,
            manner,
            gate: None,
            held: false,
            start_hooks: None,
            init: None,
            program: Program::new(process)?,
            capabilities: Sets::parse(process.capabilities.as_ref())?,
            make_directory: false,
            proc,
        })
    }

    /// Takes on the processors of the way into a container, for a child to inherit; gives the caller's own.
    pub(crate) fn lend_processors(&self) -> Result<Option<Processors>, Error> {
        self.limits.lend_processors()
    }

    /// Takes on the program's processors, in its cgroup.
    pub(crate) fn confine(&self) -> Result<(), Error> {
        self.limits.confine()
    }

    /// Sets how willingly the process is killed for its memory. Early: this file has no owner once the process hides.
    pub(crate) fn adjust_oom_score(&self) -> Result<(), Error> {
        let (Some(score), Some(proc)) = (self.process.oom_score_adj, &self.proc) else { return Ok(()) };
        proc.write("self/oom_score_adj", &score.to_string()).at(Stage::Limit, || {
            format!("cannot set oom_score_adj to {score} (lowering it needs CAP_SYS_RESOURCE)")
        })
    }

    /// Takes on the OOM score for a child to inherit; gives the caller's own.
    pub(crate) fn lend_oom_score(&self) -> Result<Option<String>, Error> {
        let (Some(_), Some(proc)) = (self.process.oom_score_adj, &self.proc) else { return Ok(None) };
        let own = proc.read("self/oom_score_adj").at(Stage::Limit, || "cannot read oom_score_adj")?;
        self.adjust_oom_score()?;
        Ok(Some(own))
    }

    /// Takes back what [`Prepared::lend_oom_score`] gave.
    pub(crate) fn restore_oom_score(&self, own: Option<String>) -> Result<(), Error> {
        let (Some(own), Some(proc)) = (own, &self.proc) else { return Ok(()) };
        proc.write("self/oom_score_adj", own.trim()).at(Stage::Limit, || "cannot restore oom_score_adj")
    }

    /// Becomes the program, or says why not and ends. `terminal`: its slave.
    pub(crate) fn run(self, root: Root, terminal: Option<OwnedFd>, channel: Child, trace: &Trace) -> ! {
        let Err(error) = self.become_program(&root, terminal.as_ref(), &channel, trace);
        fail(&channel, &error)
    }

    fn become_program(
        &self,
        root: &Root,
        terminal: Option<&OwnedFd>,
        channel: &Child,
        trace: &Trace,
    ) -> Result<Infallible, Error> {
        let process = self.process;
        if !self.manner.keep_keyring {
            leave_keyring()?;
        }
        if let Some(proc) = &self.proc {
            labels::write(proc, process)?;
        }
        let gids = &process.user.additional_gids;
        let identity = Identity::find(root, self.user, self.group_add, gids)?;
        workdir::enter(root, &process.cwd, self.make_directory)?;
        if let Some(terminal) = terminal {
            terminal::control(terminal)?;
        }
        let mut program = self.program.clone();
        program.default_home(&identity.home);

        // The last moment at which anything but the program's streams is open, so the last at which to write a trace.
        trace.mark("sandbox: closing");
        let mut kept = vec![channel.as_raw()];
        kept.extend(self.init.as_ref().map(AsRawFd::as_raw_fd));
        kept.extend(self.gate.into_iter().flat_map(Gate::descriptors).map(AsRawFd::as_raw_fd));
        streams::settle(self.sources(terminal), self.manner.preserve_fds, &mut kept)?;
        streams::give_to(identity.uid, terminal.is_some());
        workdir::verify()?;
        // Not earlier: a limit on descriptors or memory is the program's, not ours. Not later: raising one needs a right.
        self.limits.apply()?;
        if !process.no_new_privileges {
            // Needs CAP_SYS_ADMIN, which is about to go; the profile must allow what is still to be done, as with runc.
            self.load_seccomp(channel)?;
        }
        identity.assume(&self.capabilities)?;
        self.forget_caller(channel)?;
        if process.no_new_privileges {
            prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).at(Stage::Privilege, || "cannot set no_new_privs")?;
        }
        if process.no_new_privileges && self.asks() {
            // Its listener goes to the parent, who is gone once the gate is open.
            self.load_seccomp(channel)?;
        }
        if let Some(gate) = self.gate {
            program.look()?;
            channel.hold(gate)?;
        }
        if self.held {
            channel.held()?;
        }
        if let Some((start_hooks, state)) = &self.start_hooks {
            hooks::run("startContainer", start_hooks, state)?;
        }
        channel.executing()?;
        if process.no_new_privileges && !self.asks() {
            // Nothing but execve is left, so the profile need not allow more.
            self.load_seccomp(channel)?;
        }
        Err(match &self.init {
            Some(init) => program.execute_through(init.as_raw_fd(), channel.voice()),
            None => program.execute(),
        })
    }

    fn load_seccomp(&self, channel: &Child) -> Result<(), Error> {
        let Some(program) = self.seccomp else { return Ok(()) };
        if program.notifies() {
            return notify::load(program, channel);
        }
        program.load().map(drop).at(Stage::Privilege, || "cannot load the seccomp filter")
    }

    /// Whether the filter asks somebody outside (SCMP_ACT_NOTIFY).
    fn asks(&self) -> bool {
        self.seccomp.is_some_and(kapsel_seccomp::Program::notifies)
    }

    /// What a program inherits without being told: signals, the creation mask, and what its parent's end means.
    fn forget_caller(&self, channel: &Child) -> Result<(), Error> {
        signals::reset();
        // SAFETY: umask(2) cannot fail.
        unsafe { libc::umask(self.process.user.umask.unwrap_or(0o022) & 0o777) };
        // Both are undone by the kernel when ids or capabilities change, so they are said (again) after that.
        hide()?;
        if self.manner.detached { outlive_parent() } else { die_with_parent(channel) }
    }

    fn sources(&self, terminal: Option<&OwnedFd>) -> [RawFd; 3] {
        match (terminal, &self.stdio) {
            (Some(terminal), _) => [terminal.as_raw_fd(); 3],
            (None, Stdio::Fds { stdin, stdout, stderr }) => [stdin, stdout, stderr].map(|fd| fd.as_raw_fd()),
            (None, Stdio::Terminal { .. }) => unreachable!("a terminal is made before the program is run"),
        }
    }
}

/// Where the kernel is told what it is to do with the process.
pub(crate) fn open_proc() -> Result<Proc, Error> {
    Proc::open().at(Stage::Kernel, || "cannot open /proc")
}

/// The caller's session keyring stays behind: whoever holds it may use the keys in it, whatever its user id is.
fn leave_keyring() -> Result<(), Error> {
    match new_session_keyring() {
        // A kernel without keys, or a caller whose own filter refuses the call: there is no ring to leave.
        Ok(()) | Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        Err(Errno::EDQUOT) => Err(Error::system(
            Stage::Identity,
            Errno::EDQUOT,
            "cannot make a session keyring (raise `sysctl kernel.keys.maxkeys`)",
        )),
        Err(errno) => Err(Error::system(Stage::Identity, errno, "cannot make a session keyring")),
    }
}

/// A container must not outlive its monitor: nobody would record its exit or know that it runs.
pub(crate) fn die_with_parent(channel: &Child) -> Result<(), Error> {
    prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0)
        .at(Stage::Channel, || "cannot follow the parent's end")?;
    if channel.is_orphan() {
        // It ended before we asked to be told.
        return Err(Error::new(Stage::Channel, libc::EPIPE, "the parent is gone"));
    }
    Ok(())
}

/// From here on the parent may end. If it has already, it is noticed when it is spoken to next.
fn outlive_parent() -> Result<(), Error> {
    prctl(libc::PR_SET_PDEATHSIG, 0, 0).at(Stage::Channel, || "cannot outlive the parent")?;
    Ok(())
}

/// Tells the parent what failed, and ends.
pub(crate) fn fail(channel: &Child, error: &Error) -> ! {
    channel.failed(error);
    // SAFETY: ends this copy of the caller without running what belongs to the original.
    unsafe { libc::_exit(error.exit_code().into()) }
}

/// A child that unwound into its caller's frames would be a second monitor.
pub(crate) struct NoReturn;

impl Drop for NoReturn {
    fn drop(&mut self) {
        std::process::abort();
    }
}
