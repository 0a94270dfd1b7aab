//! systemd itself, as the first process of a container.

use std::{
    fs,
    io::ErrorKind,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{Cgroup, LinuxResources};

/// Runs one of this program's tests where systemd has booted; its output if it fails. None where there is no systemd.
pub(super) fn run(test: &str) -> Option<Result<(), String>> {
    let systemd = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"]
        .into_iter()
        .find(|path| Path::new(path).exists())?;
    let results = tempfile::tempdir().unwrap();
    let cgroup =
        Cgroup::create(&format!("/kapsel-test/systemd-{}", std::process::id()), &LinuxResources::default());
    let cgroup = cgroup.unwrap();
    // systemd-to-be alone goes into the cgroup, which is then the root of all that it sees.
    let enter = |(_, path): (_, &Path)| format!("echo 0 >{}/cgroup.procs; ", path.display());
    let enter: String = cgroup.directories().map(enter).collect();
    let enter = format!("{enter}exec unshare --cgroup sh -c \"$0\" booted \"$@\"");
    let program = std::env::current_exe().unwrap();
    let mut shell = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "--mount", "--net", "--ipc", "--uts"])
        .args(["sh", "-c", &enter, include_str!("booted.sh")])
        .arg(results.path())
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env("SYSTEMD", systemd)
        .stdin(Stdio::null())
        .stderr(fs::File::create(results.path().join("errors")).unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    let status = loop {
        match fs::read_to_string(results.path().join("status")) {
            Ok(status) => break status,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("{error}"),
        }
        if shell.try_wait().unwrap().is_some() || Instant::now() > deadline {
            break "it did not boot".to_owned();
        }
        sleep(Duration::from_millis(5));
    };
    let _ = shell.kill();
    let _ = cgroup.kill_all();
    shell.wait().unwrap();
    cgroup.remove().unwrap();
    let told = |file| fs::read_to_string(results.path().join(file)).unwrap_or_default();
    let output = told("output");
    // A name that is no test's would pass, too.
    let passed = status.trim() == "0" && output.contains(" 1 passed;");
    Some(if passed { Ok(()) } else { Err(status + &told("errors") + &output) })
}
