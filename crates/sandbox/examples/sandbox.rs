//! The smallest monitor: reads one JSON document from a file, starts the container, waits, exits with its status.
//!
//! `sandbox FILE`; the document: `{"config", "rootfs": {"lowers", "upper", "work"} | "/dir", "user", "groupAdd",
//! "copyUp", "init", "seccomp": {…}, "cgroup": "name", "gate": "/dir", "held": bool, "bundle": "/dir", "noPivot", "preserveFds": n, "rootless": bool, "seal": bool, "exec": [{"process", "user"}…], "terminal",
//! "repeat": n}`. The tests of this crate and its measurements run it, because a caller of `launch` must have one thread.

use std::{
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use kapsel_sandbox::{
    Container, Error, Gate, Join, Launched, Listener, Manner, Plan, Rootfs, Stdio, init, join, launch, seal,
    spec, userns,
};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(untagged)]
enum Root {
    Directory(PathBuf),
    Overlay { lowers: Vec<PathBuf>, upper: PathBuf, work: PathBuf },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    config: spec::Config,
    rootfs: Root,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group_add: Vec<String>,
    #[serde(default)]
    copy_up: Vec<String>,
    #[serde(default)]
    init: bool,
    /// A directory for the gate, which is opened at once.
    #[serde(default)]
    gate: Option<PathBuf>,
    /// Let go after a tenth of a second, which is said.
    #[serde(default)]
    held: bool,
    /// The bundle of a container named `c`.
    #[serde(default)]
    bundle: Option<PathBuf>,
    #[serde(default)]
    no_pivot: bool,
    #[serde(default)]
    preserve_fds: u32,
    #[serde(default)]
    terminal: bool,
    #[serde(default)]
    seccomp: Option<kapsel_seccomp::LinuxSeccomp>,
    #[serde(default)]
    cgroup: Option<String>,
    #[serde(default)]
    rootless: bool,
    #[serde(default)]
    seal: bool,
    #[serde(default)]
    exec: Vec<Exec>,
    #[serde(default)]
    repeat: u32,
}

#[derive(Deserialize)]
struct Exec {
    process: spec::Process,
    #[serde(default)]
    user: String,
}

fn main() -> ExitCode {
    init::run_if_asked();
    let path = std::env::args_os().nth(1).expect("sandbox FILE");
    if path == "--sleep" {
        // What a container that executes this program finds: something to attack while it runs.
        std::thread::sleep(std::time::Duration::from_secs(1));
        return ExitCode::SUCCESS;
    }
    if path == "--break-out" {
        return break_out(&std::env::args().nth(2).unwrap_or_default());
    }
    let document: Document =
        serde_json::from_slice(&std::fs::read(path).expect("the document")).expect("JSON");
    match run(&document) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}: {} (errno {})", error.code, error.message, error.errno);
            ExitCode::from(error.exit_code())
        }
    }
}

/// What an enemy does who finds himself below a root without pivot_root(2), and what he sees then.
fn break_out(how: &str) -> ExitCode {
    use nix::{fcntl, mount, sched, sys::stat::Mode, unistd};
    let open = |path: &str| fcntl::open(path, fcntl::OFlag::O_RDONLY, Mode::empty()).expect("a file");
    if how == "climb" {
        let kept = open("/");
        std::fs::create_dir("/jail").expect("a jail");
        unistd::chroot("/jail").expect("CAP_SYS_CHROOT");
        unistd::fchdir(kept).expect("a directory");
        (0..32).for_each(|_| unistd::chdir("..").expect("a way up"));
        unistd::chroot(".").expect("CAP_SYS_CHROOT");
    } else {
        let namespace = open("/proc/self/ns/mnt");
        // Where there is nothing to uncover, neither succeeds.
        let _ = mount::umount2("/", mount::MntFlags::MNT_DETACH);
        let _ = sched::setns(namespace, sched::CloneFlags::CLONE_NEWNS);
    }
    let seen = ["/usr", "/usr/../proc/self"].into_iter().filter(|path| std::path::Path::new(path).exists());
    let _ = writeln!(std::io::stdout(), "{}", seen.collect::<Vec<_>>().join(" "));
    ExitCode::SUCCESS
}

fn run(document: &Document) -> Result<u8, Error> {
    if document.rootless && !nix::unistd::geteuid().is_root() {
        let granted = userns::enter()?;
        let _ = writeln!(std::io::stderr(), "granted {granted:?}");
    }
    if document.seal {
        seal()?;
    }
    let rootfs = match &document.rootfs {
        Root::Directory(path) => Rootfs::Directory(path.clone()),
        Root::Overlay { lowers, upper, work } => Rootfs::Overlay {
            lowers: lowers.clone(),
            upper: upper.clone(),
            work: work.clone(),
            userxattr: document.rootless,
        },
    };
    let seccomp = document.seccomp.as_ref().map(|profile| {
        kapsel_seccomp::compile(profile, kapsel_seccomp::Architecture::NATIVE).expect("a profile")
    });
    let cgroup = document.cgroup.as_ref().map(|name| {
        kapsel_cgroups::Cgroup::create(name, &kapsel_cgroups::LinuxResources::default()).expect("a cgroup")
    });
    let entry = cgroup.as_ref().map(|cgroup| cgroup.entry().expect("an entry"));
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let fds = Stdio::Fds { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
    let stdio = if document.terminal { Stdio::Terminal { columns: 80, rows: 24 } } else { fds };
    let bundle = document.bundle.clone().map(|bundle| Container { id: "c".into(), bundle });
    let state = spec::State {
        oci_version: spec::VERSION.to_owned(),
        id: "c".to_owned(),
        status: spec::Status::Creating,
        pid: 0,
        bundle: document.bundle.clone().unwrap_or_default(),
        annotations: document.config.annotations.clone(),
    };
    let listener = document.seccomp.as_ref().and_then(|profile| Listener::of(profile, state));
    let plan = Plan {
        config: &document.config,
        rootfs: &rootfs,
        user: &document.user,
        group_add: &document.group_add,
        copy_up: &document.copy_up,
        init: document.init,
        seccomp: seccomp.as_ref(),
        listener: listener.as_ref(),
        cgroup: entry.as_ref(),
        stdio,
        gate: None,
        held: document.held,
        container: bundle.as_ref(),
        manner: Manner { preserve_fds: document.preserve_fds, ..Manner::default() },
        no_pivot: document.no_pivot,
    };
    if document.repeat > 0 {
        measure(&plan, document.repeat)?;
        return Ok(0);
    }
    let status = container(&plan, document);
    drop(entry);
    if let Some(cgroup) = cgroup {
        cgroup.remove().expect("an empty cgroup");
    }
    status
}

fn container(plan: &Plan, document: &Document) -> Result<u8, Error> {
    let gate = document.gate.as_deref().map(Gate::make).transpose()?;
    let mut first = launch(&Plan { gate: gate.as_ref(), ..*plan })?;
    drop(gate);
    if let Some(directory) = &document.gate {
        assert!(Gate::is_waiting(directory));
        Gate::open(directory)?;
    }
    if document.held {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let _ = writeln!(std::io::stdout(), "let go");
        if let Err(error) = first.let_go() {
            first.end();
            return Err(error);
        }
    }
    let mut status = match document.gate {
        Some(_) => Ok(wait(&first.pidfd)),
        None => finish(&mut first, document.exec.is_empty()),
    };
    for exec in &document.exec {
        status = status.and_then(|_| {
            let mut process = join(&Join {
                target: first.pidfd.as_fd(),
                process: &exec.process,
                linux: document.config.linux.as_ref(),
                user: &exec.user,
                group_add: &[],
                seccomp: plan.seccomp,
                listener: plan.listener,
                cgroup: plan.cgroup,
                stdio: plan.stdio,
                manner: plan.manner,
            })?;
            finish(&mut process, true)
        });
    }
    if !document.exec.is_empty() {
        let _ =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(first.pid), nix::sys::signal::Signal::SIGKILL);
        wait(&first.pidfd);
    }
    status
}

/// Until the program runs, and, with `ended`, until it has ended.
fn finish(launched: &mut Launched, ended: bool) -> Result<u8, Error> {
    let started = launched.wait_exec();
    if let Err(error) = started {
        wait(&launched.pidfd);
        return Err(error);
    }
    if let Some(master) = launched.console.take() {
        copy_console(master);
    }
    Ok(if ended { wait(&launched.pidfd) } else { 0 })
}

/// Until the last slave is closed (EIO).
fn copy_console(master: OwnedFd) {
    let mut master = std::fs::File::from(master);
    let mut buffer = [0u8; 4096];
    while let Ok(length) = master.read(&mut buffer) {
        let _ = std::io::stdout().write_all(&buffer[..length]);
    }
}

fn wait(pidfd: &OwnedFd) -> u8 {
    match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED).expect("a child") {
        WaitStatus::Exited(_, status) => status as u8,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as u8,
        other => panic!("{other:?}"),
    }
}

/// Microseconds of each start: until execve succeeded, and until the process was reaped.
fn measure(plan: &Plan, repeat: u32) -> Result<(), Error> {
    for _ in 0..repeat {
        let begin = Instant::now();
        let mut launched = launch(plan)?;
        launched.wait_exec()?;
        let executed = begin.elapsed().as_micros();
        wait(&launched.pidfd);
        let _ = writeln!(std::io::stdout(), "{executed} {}", begin.elapsed().as_micros());
    }
    Ok(())
}
