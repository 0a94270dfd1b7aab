//! A further process in a running container.

use std::os::fd::OwnedFd;

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::stat::Mode,
    unistd::setsid,
};

use crate::{
    Error, Join, Launched, Stdio,
    channel::{self, Child},
    error::{At, Stage},
    limits::Processors,
    namespaces::{CLONE_NEWTIME, become_root, hide, in_first_user_namespace, with_children_in},
    notify,
    process::{NoReturn, Prepared, die_with_parent, fail},
    resolve::Root,
    sys::process::{Cloned, clone, prctl, setns},
    terminal::Terminal,
    trace::Trace,
};

/// Everything but the PID namespace, which is only entered by being born into it, and the user namespace.
const NAMESPACES: i32 =
    libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET | libc::CLONE_NEWCGROUP;

/// Starts a process in a running container. The caller must have one thread and becomes its parent.
pub fn join(join: &Join) -> Result<Launched, Error> {
    let trace = Trace::from_environment();
    trace.mark("sandbox: join");
    let identity = (join.user, join.group_add);
    notify::check(join.seccomp, join.listener)?;
    let program = Prepared::new(join.process, join.linux, identity, join.seccomp, join.stdio, join.manner)?;
    let (parent, child) = channel::pair()?;
    // The way back from the container's PID namespace needs a right over the caller's, which belongs to the user
    // namespace around ours: an intermediate process goes there instead.
    let need_hop = !in_first_user_namespace();
    match spawn(join, &program, need_hop).map_err(not_running)? {
        Cloned::Child => {
            let _no_return = NoReturn;
            // The child's copy of the parent's end would hide the parent's death from it.
            drop(parent);
            let entered = if need_hop { hop(join, &child) } else { Ok(()) };
            match entered.and_then(|()| enter(join, &program, &child, &trace)) {
                Ok((root, terminal)) => program.run(root, terminal, child, &trace),
                Err(error) => fail(&child, &not_running(error)),
            }
        }
        Cloned::Parent { pid, pidfd } => {
            drop(child);
            let mut launched = Launched::new(pid, pidfd, join.listener, parent);
            let mut accompany = || {
                if need_hop {
                    launched.follow_hop()?;
                }
                if let Some(entry) = join.cgroup {
                    entry.admit(launched.pid)?;
                }
                match join.stdio {
                    Stdio::Fds { .. } => Ok(()),
                    Stdio::Terminal { .. } => launched.wait_console(),
                }
            };
            match accompany() {
                Ok(()) => Ok(launched),
                Err(error) => Err(launched.abandon(error)),
            }
        }
    }
}

/// The child is in the container's PID namespace from its first instruction, with the caller's descriptors and root: an
/// enemy in there must not be able to look into it for one moment. So the caller hides before and the child inherits it
/// (CVE-2016-9962); and because a hidden process cannot set its OOM score, it inherits that too, as well as the processors
/// it is to enter the cgroup from, in which it may begin.
fn spawn(join: &Join, program: &Prepared, need_hop: bool) -> Result<Cloned, Error> {
    let own_processors = program.lend_processors()?;
    let cloned = spawn_hidden(join, program, need_hop);
    if !matches!(cloned, Ok(Cloned::Child)) {
        own_processors.as_ref().map_or(Ok(()), Processors::confine)?;
    }
    cloned
}

fn spawn_hidden(join: &Join, program: &Prepared, need_hop: bool) -> Result<Cloned, Error> {
    let was_dumpable = prctl(libc::PR_GET_DUMPABLE, 0, 0).at(Stage::Privilege, || "cannot hide")? == 1;
    let own_score = program.lend_oom_score()?;
    hide()?;
    let cgroup = join.cgroup.and_then(|entry| entry.unified_fd());
    let cloned = with_children_in(Some(join.target).filter(|_| !need_hop), None, || {
        // SAFETY: `join` asks for a caller with one thread.
        unsafe { clone(0, cgroup, false) }.at(Stage::Namespace, || "cannot make a process in the container")
    });
    if matches!(cloned, Ok(Cloned::Child)) {
        return cloned;
    }
    if was_dumpable {
        prctl(libc::PR_SET_DUMPABLE, 1, 0).at(Stage::Privilege, || "cannot show again")?;
    }
    program.restore_oom_score(own_score)?;
    cloned
}

/// Goes on in a child that is in the container's PID namespace and is the caller's child too.
fn hop(join: &Join, channel: &Child) -> Result<(), Error> {
    setns(join.target, libc::CLONE_NEWPID).at(Stage::Namespace, || "cannot join the pid namespace")?;
    // SAFETY: this process is the copy of one with one thread.
    let cloned = unsafe { clone(0, None, true) };
    match cloned.at(Stage::Namespace, || "cannot make a process in the container")? {
        Cloned::Child => Ok(()),
        Cloned::Parent { pid, .. } => {
            let status = channel.child(pid).is_err().into();
            // SAFETY: ends this copy of the caller without running what belongs to the original.
            unsafe { libc::_exit(status) }
        }
    }
}

fn enter(
    join: &Join,
    program: &Prepared,
    channel: &Child,
    trace: &Trace,
) -> Result<(Root, Option<OwnedFd>), Error> {
    trace.mark("sandbox: child runs");
    die_with_parent(channel)?;
    if let Some(entry) = join.cgroup {
        entry.join().at(Stage::Cgroup, || "cannot enter the cgroup")?;
    }
    program.confine()?;
    let what = || "cannot join the container's namespaces";
    match setns(join.target, NAMESPACES | CLONE_NEWTIME) {
        // A kernel without time namespaces; or ours is the container's too, and belongs to a user namespace around ours.
        Err(Errno::EINVAL | Errno::EPERM) => setns(join.target, NAMESPACES),
        other => other,
    }
    .at(Stage::Namespace, what)?;
    // Last: inside it there is no right over namespaces that belong to those outside, such as the host's network.
    match setns(join.target, libc::CLONE_NEWUSER) {
        Ok(()) => become_root()?,
        // It is our own.
        Err(Errno::EINVAL) => {}
        Err(errno) => return Err(Error::system(Stage::Namespace, errno, what())),
    }
    setsid().at(Stage::Terminal, || "cannot lead a session")?;
    // setns has put us at the root of the container's mount namespace.
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let root = Root::new(root.at(Stage::Root, || "cannot open the container's root")?);
    trace.mark("sandbox: namespaces joined");
    let Stdio::Terminal { columns, rows } = join.stdio else { return Ok((root, None)) };
    let terminal = Terminal::open(&root, columns, rows)?;
    channel.console(&terminal.master)?;
    Ok((root, Some(terminal.slave)))
}

fn not_running(error: Error) -> Error {
    match error {
        Error { stage: Stage::Namespace, errno: libc::ESRCH, .. } => {
            Error::new(Stage::Namespace, libc::ESRCH, "the container is not running")
        }
        other => other,
    }
}
