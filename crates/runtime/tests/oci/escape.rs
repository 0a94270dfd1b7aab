//! Ways out of a container that others have had: each is tried through the OCI verbs.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use serde_json::{Value, json};

use crate::harness::*;

/// CVE-2019-5736: opens the file of a process that executes ours, waits until it is not busy, and writes.
const OVERWRITE: &str = r#"
    until test -e /tmp/victim; do sleep 0.01; done
    read pid < /tmp/victim
    exec 3< /proc/$pid/exe || exit 50
    echo > /tmp/opened
    while test -d /proc/$pid; do sleep 0.01; done
    chmod 777 /proc/self/fd/3
    echo owned > /proc/self/fd/3 && exit 66
    exit 5
"#;

/// Everything that the executable needs in order to be executed in the container: it is not static in `cargo test`.
fn add_libraries(world: &World) {
    for line in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let Some(path) = line.find('/').map(|start| std::path::Path::new(&line[start..])) else { continue };
        if path.to_str().unwrap().contains(".so") {
            for path in [path, &path.with_file_name("libm.so.6")].into_iter().filter(|path| path.exists()) {
                let into = world.inside(path.strip_prefix("/").unwrap().to_str().unwrap());
                fs::create_dir_all(into.parent().unwrap()).unwrap();
                fs::copy(path, into).unwrap();
            }
        }
    }
    for (directory, name) in [("lib64", "ld-linux-x86-64.so.2"), ("lib", "ld-linux-aarch64.so.1")] {
        let link = std::path::Path::new("/").join(directory);
        if let Ok(real) = fs::canonicalize(link.join(name)) {
            let into = world.inside("usr").join(directory);
            fs::create_dir_all(&into).unwrap();
            fs::copy(real, into.join(name)).unwrap();
        }
    }
    for name in ["lib", "lib64"] {
        if !world.inside(name).exists() {
            symlink(format!("usr/{name}"), world.inside(name)).unwrap();
        }
    }
}

#[test]
fn our_own_file_cannot_be_written_by_who_is_joined() {
    // A copy, so that a success harms nothing.
    let mut world = World::new(OVERWRITE);
    // The strongest enemy: one who may look into any process of the container, and change any file.
    let names =
        ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID", "SETPCAP", "SYS_CHROOT", "SYS_PTRACE"];
    let names: Vec<String> = names.map(|name| format!("CAP_{name}")).to_vec();
    let all = json!({"bounding": names, "effective": names, "permitted": names});
    world.config["process"]["capabilities"] = all;
    add_libraries(&world);
    let own = world.path("kapsel-runtime");
    fs::copy(executable(), &own).unwrap();
    let (bytes, mode) = (fs::read(&own).unwrap(), fs::metadata(&own).unwrap().mode());
    let through = |arguments: &[&str]| {
        let template = world.command(arguments);
        let mut command = std::process::Command::new(&own);
        command.args(template.get_args()).current_dir(world.path("bundle"));
        for (name, value) in template.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command
    };
    until("the copy to be executable", || through(&["--version"]).output().ok());
    let mut run = through(&["run", "c"]).spawn().unwrap();
    until("the container", || world.call(&["state", "c"]).stdout.contains("running").then_some(()));
    fs::create_dir(world.inside("tmp/empty")).unwrap();
    // The victim: our file, executed in the container, by a verb that waits for its stdin.
    let mut exec = through(&[
        "exec",
        "--pid-file",
        &world.text("pid"),
        "c",
        "/proc/self/exe",
        "unpack",
        "--into",
        // Not where the attack is told whom to attack: unpack ends at once where it finds anything.
        "/tmp/empty",
    ]);
    let mut exec = exec.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let pid = until("the victim", || fs::read_to_string(world.path("pid")).ok());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    if let Some(line) = status.lines().find(|line| line.starts_with("NSpid:")) {
        let inside = line.rsplit('\t').next().unwrap();
        fs::write(world.path("victim"), inside).unwrap();
        fs::rename(world.path("victim"), world.inside("tmp/victim")).unwrap();
    }
    let ended = |child: &mut std::process::Child| child.try_wait().unwrap().is_some();
    until("the attack", || (world.inside("tmp/opened").exists() || ended(&mut run)).then_some(()));
    drop(exec.stdin.take());
    exec.wait().unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(5), "the attack has not come so far as to write");
    assert!(fs::read(&own).unwrap() == bytes && fs::metadata(&own).unwrap().mode() == mode, "overwritten");
    world.nothing_remains();
}

#[test]
fn our_own_file_cannot_be_written_where_it_is_the_first_program() {
    // CVE-2019-5736, the other way round: the container's own program is ours, and the attack joins it.
    let mut world = World::new("");
    let names =
        ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SYS_CHROOT", "SYS_PTRACE"].map(|name| format!("CAP_{name}"));
    world.config["process"]["capabilities"] =
        json!({"bounding": names, "effective": names, "permitted": names});
    world.config["process"]["args"] = json!(["/proc/self/exe", "unpack", "--into", "/tmp/empty"]);
    fs::create_dir(world.inside("tmp/empty")).unwrap();
    add_libraries(&world);
    let own = world.path("kapsel-runtime");
    fs::copy(executable(), &own).unwrap();
    let facts = || {
        let data = fs::metadata(&own).unwrap();
        (data.mode(), data.uid(), data.ctime(), fs::read(&own).unwrap())
    };
    let before = facts();
    let template = world.command(&["run", "c"]);
    let mut command = std::process::Command::new(&own);
    command.args(template.get_args()).current_dir(world.path("bundle"));
    command.envs(template.get_envs().map(|(name, value)| (name, value.unwrap_or_default())));
    command.stdin(std::process::Stdio::piped());
    let mut run = until("the copy to be executable", || command.spawn().ok());
    until("the container", || world.call(&["state", "c"]).stdout.contains("running").then_some(()));
    let attack = "chmod 4777 /proc/1/exe; echo owned > /proc/1/exe; exec 3< /proc/1/exe; \
                  chmod 4777 /proc/self/fd/3; echo owned > /proc/self/fd/3; true";
    let said = world.call(&["exec", "c", "sh", "-c", attack]);
    assert_eq!(
        said.stderr.matches("Read-only file system").count(),
        4,
        "the attack got as far as that: {said:?}"
    );
    drop(run.stdin.take());
    run.wait().unwrap();
    assert!(facts() == before, "changed: {said:?}");
    world.nothing_remains();
}

#[test]
fn no_working_directory_leads_out_through_a_descriptor() {
    // CVE-2024-21626.
    for fd in 3..65 {
        let world = World::new("exit 0").set("/process/cwd", format!("/proc/self/fd/{fd}"));
        let said = world.call(&["run", "c"]);
        assert_eq!((said.status, said.stderr.lines().count()), (1, 1), "{fd}: {}", said.stderr);
        world.nothing_remains();
    }
    let world = World::sleeper().started();
    for fd in 3..65 {
        world.fails(255, &["exec", "--cwd", &format!("/proc/self/fd/{fd}"), "c", "true"]);
    }
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn a_false_proc_is_refused() {
    // CVE-2019-19921, CVE-2023-27561, CVE-2023-28642.
    let world = World::new("true");
    fs::remove_dir(world.inside("proc")).unwrap();
    symlink("/tmp", world.inside("proc")).unwrap();
    let complaint = world.fails(1, &["run", "c"]);
    assert!(complaint.contains("/proc"), "{complaint}");
    world.nothing_remains();
}

/// Looks at every process in its PID namespace that is not a program of the container's, until it is told to end. Through
/// its sealed mount our own file is "/".
const SPY: &str = "touch /tmp/ready; while ! test -e /tmp/end; do for p in /proc/[0-9]*; do \
                   e=$(readlink $p/exe) && test $e != /bin/busybox && echo $p $e; done; done 2>/dev/null; true";

/// What the spy of this world sees while something happens.
fn seen(world: &World, happens: impl FnOnce()) -> (Option<i32>, String) {
    let mut run = world.command(&["run", "spy"]).spawn().unwrap();
    until("the spy", || world.inside("tmp/ready").exists().then_some(()));
    happens();
    fs::write(world.inside("tmp/end"), "").unwrap();
    let mut seen = String::new();
    std::io::Read::read_to_string(&mut run.stdout.take().unwrap(), &mut seen).unwrap();
    (run.wait().unwrap().code(), seen)
}

#[test]
fn who_is_being_joined_to_a_container_cannot_be_looked_into() {
    // CVE-2016-9962: the container's processes look for any of ours in /proc while it comes.
    let world = World::new(SPY);
    let exec = || (0..50).for_each(|_| drop(world.ok(&["exec", "spy", "true"])));
    assert_eq!(seen(&world, exec), (Some(0), String::new()));
}

#[test]
fn who_begins_in_another_containers_pid_namespace_cannot_be_looked_into() {
    // CVE-2016-9962, as the containers of a pod may have it.
    let world = World::new(SPY);
    let begin = || {
        let state: Value = serde_json::from_str(&world.ok(&["state", "spy"])).unwrap();
        let mut other = World::new("true");
        let namespaces = other.config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces[0] = json!({"type": "pid", "path": format!("/proc/{}/ns/pid", state["pid"])});
        for _ in 0..50 {
            other.ok(&["run", "c"]);
        }
        other.nothing_remains();
    };
    assert_eq!(seen(&world, begin), (Some(0), String::new()));
}

#[test]
fn nothing_of_the_host_is_in_a_joined_programs_environment_but_what_is_asked_for() {
    let world = World::sleeper().started();
    let mut command = world.command(&["exec", "c", "env"]);
    let said = Said::by(command.env("HOST_SECRET", "x"));
    assert_eq!(said.status, 0);
    assert!(!said.stdout.contains("HOST_SECRET"), "{}", said.stdout);
    let keys: Value =
        said.stdout.lines().filter_map(|line| line.split_once('=')).map(|(key, _)| key).collect();
    assert!(keys.as_array().unwrap().contains(&json!("TERM")), "{keys}");
    world.ok(&["delete", "-f", "c"]);
}
