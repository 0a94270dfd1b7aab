//! `exec`: a further program in a running container.

use std::fs;

use serde_json::json;

use crate::harness::*;

#[test]
fn a_working_directory_that_is_missing_is_an_error_and_is_not_made() {
    let world = World::sleeper().started();
    let complaint = world.fails(255, &["exec", "--cwd", "/missing/too", "c", "true"]);
    assert!(complaint.contains("/missing/too: no such file or directory"), "{complaint}");
    assert!(!world.inside("missing").exists());
    assert_eq!(world.ok(&["exec", "--cwd", "/tmp", "c", "pwd"]), "/tmp\n");
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn it_gives_the_programs_own_exit_status_and_streams() {
    let world = World::sleeper().started();
    let said = world.call(&["exec", "c", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((said.status, &*said.stdout, &*said.stderr), (7, "out\n", "err\n"));
    assert_eq!(world.call(&["exec", "c", "sh", "-c", "kill -TERM $$"]).status, 143);
    assert_eq!(world.ok(&["exec", "c", "sh", "-c", "exit 0"]), "");
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

#[test]
fn a_program_that_cannot_be_executed_is_255_and_one_line_in_the_words_that_callers_look_for() {
    let world = World::sleeper().started();
    for (program, words) in [
        ("none", "exec: \\\"none\\\": executable file not found in $PATH"),
        ("/bin/none", "/bin/none\\\": no such file or directory"),
        ("/etc/passwd", "/etc/passwd\\\": permission denied"),
    ] {
        let complaint = world.fails(255, &["exec", "c", program]);
        assert!(complaint.contains(words), "{complaint}");
        let pid_file = world.text("pid");
        world.fails(255, &["exec", "--detach", "--pid-file", &pid_file, "c", program]);
        assert!(!world.path("pid").exists());
    }
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

#[test]
fn flags_change_what_the_containers_process_has() {
    let world = World::sleeper().started();
    let exec =
        |flags: &[&str], script: &str| world.ok(&[&["exec"], flags, &["c", "sh", "-c", script]].concat());
    assert_eq!(exec(&[], "pwd; id -u; echo $A"), "/\n0\n\n");
    assert_eq!(exec(&["--cwd", "/tmp", "-e", "A=b", "--env=B=c d"], "pwd; echo $A $B"), "/tmp\nb c d\n");
    assert_eq!(
        exec(&["--user", "5:6", "-g", "7", "--additional-gids", "8"], "id"),
        "uid=5 gid=6 groups=7,8\n"
    );
    assert_eq!(exec(&["-u", "5"], "id"), "uid=5 gid=0\n");
    let capabilities = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | tr -d '\\n\\t'";
    // What a program file adds to an inheritable set could not be taken away (CVE-2022-29162).
    let own = "0000000020000420";
    assert_eq!(
        exec(&[], capabilities),
        format!("CapInh:0000000000000000CapPrm:{own}CapEff:{own}CapBnd:{own}CapAmb:0000000000000000")
    );
    let more = "0000000020000421";
    assert_eq!(
        exec(&["--cap", "CAP_CHOWN"], capabilities),
        format!("CapInh:0000000000000000CapPrm:{more}CapEff:{more}CapBnd:{more}CapAmb:0000000000000000")
    );
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn no_new_privileges_is_a_flag() {
    let world = World::sleeper().set("/process/noNewPrivileges", false).started();
    let line = |flags: &[&str]| {
        world.ok(&[&["exec"], flags, &["c", "grep", "NoNewPrivs", "/proc/self/status"]].concat())
    };
    assert_eq!(line(&[]), "NoNewPrivs:\t0\n");
    assert_eq!(line(&["--no-new-privs"]), "NoNewPrivs:\t1\n");
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn a_document_says_everything() {
    let world = World::sleeper().started();
    let process = json!({
        "args": ["sh", "-c", "pwd; id; umask; echo $ONLY; ulimit -n"],
        "env": ["PATH=/bin", "ONLY=this"],
        "cwd": "/tmp",
        "user": {"uid": 1, "gid": 2, "umask": 0o27, "additionalGids": [3]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}],
    });
    fs::write(world.path("process"), process.to_string()).unwrap();
    let path = world.text("process");
    assert_eq!(world.ok(&["exec", "--process", &path, "c"]), "/tmp\nuid=1 gid=2 groups=3\n0027\nthis\n100\n");
    fs::write(world.path("process"), "{").unwrap();
    world.fails(255, &["exec", "-p", &path, "c"]);
    world.fails(255, &["exec", "-p", "/none", "c"]);
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn it_is_in_the_container_and_its_cgroup() {
    let world = World::sleeper().started();
    world.ok(&["exec", "-d", "--pid-file", &world.text("pid"), "c", "sleep", "1000"]);
    let pid: i32 = fs::read_to_string(world.path("pid")).unwrap().parse().unwrap();
    for namespace in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        let of = |pid| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
        assert_eq!(of(pid), of(world.pid()), "{namespace}");
    }
    let listed = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(listed, fs::read_to_string(format!("/proc/{}/cgroup", world.pid())).unwrap());
    let pids: Vec<i32> = serde_json::from_str(&world.ok(&["ps", "-f", "json", "c"])).unwrap();
    assert!(pids.contains(&pid) && pids.contains(&world.pid()));
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

#[test]
fn a_cgroup_below_the_containers_can_be_named() {
    let world = World::sleeper().started();
    for path in cgroups(&world.cgroup) {
        let part = path.join("part");
        fs::create_dir(&part).unwrap();
        // Version 1 lets nobody in before there is a processor to run on.
        for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|file| part.join(file).exists()) {
            fs::write(part.join(file), fs::read(path.join(file)).unwrap()).unwrap();
        }
    }
    let listed = world.ok(&["exec", "--cgroup", "part", "c", "cat", "/proc/self/cgroup"]);
    assert!(listed.contains("/part\n"), "{listed}");
    world.fails(255, &["exec", "--cgroup", "none", "c", "true"]);
    for path in cgroups(&world.cgroup) {
        fs::remove_dir(path.join("part")).unwrap();
    }
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

#[test]
fn no_path_for_a_cgroup_leads_out_of_the_containers() {
    let world = World::sleeper().started();
    let complaint = world.fails(255, &["exec", "--cgroup", "../..", "c", "true"]);
    assert!(complaint.contains("cgroup"), "{complaint}");
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn a_paused_container_is_joined_where_that_is_meant() {
    let world = World::sleeper().started();
    world.ok(&["pause", "c"]);
    let mut exec = world.command(&["exec", "--ignore-paused", "c", "touch", "/tmp/ran"]).spawn().unwrap();
    // It is frozen as everything in there is, and goes on with it.
    until("the process", || (world.processes().len() > 2).then_some(()));
    assert!(!world.inside("tmp/ran").exists());
    world.ok(&["resume", "c"]);
    assert!(exec.wait().unwrap().success());
    assert!(world.inside("tmp/ran").exists());
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

#[test]
fn it_holds_up_no_other_command() {
    let world = World::sleeper().started();
    let mut exec =
        world.command(&["exec", "c", "sh", "-c", "touch /tmp/first; exec sleep 1000"]).spawn().unwrap();
    until("the program", || world.inside("tmp/first").exists().then_some(()));
    assert_eq!(world.status(), "running");
    world.ok(&["exec", "c", "true"]);
    world.ok(&["delete", "-f", "c"]);
    assert_eq!(exec.wait().unwrap().code(), Some(137));
    world.nothing_remains();
}

#[test]
fn the_first_process_has_seen_nothing_of_a_joined_one() {
    let world = World::sleeper().started();
    let before = fs::read_dir(format!("/proc/{}/fd", world.pid())).unwrap().count();
    let listed = world.ok(&["exec", "c", "ls", "/proc/self/fd"]);
    // The three streams, and the directory that ls reads.
    assert_eq!(listed, "0\n1\n2\n3\n");
    assert_eq!(fs::read_dir(format!("/proc/{}/fd", world.pid())).unwrap().count(), before);
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn a_container_that_is_only_created_can_be_joined() {
    let world = World::sleeper();
    world.ok(&["create", "c"]);
    assert_eq!(world.ok(&["exec", "c", "echo", "x"]), "x\n");
    assert_eq!(world.status(), "created");
    world.ok(&["start", "c"]);
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

#[test]
fn the_filter_of_the_container_is_the_joined_ones_too() {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
    });
    let world = World::sleeper().set("/linux/seccomp", filter).started();
    let said = world.call(&["exec", "c", "mkdir", "/tmp/x"]);
    assert_eq!(said.status, 1);
    assert!(said.stderr.contains("Function not implemented"), "{}", said.stderr);
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn the_way_in_may_be_where_the_container_may_not_run() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let own = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    // On a machine of one processor there is no other.
    if !own.starts_with("0-") {
        return;
    }
    let world = World::sleeper().set("/linux/resources", json!({"cpu": {"cpus": "0"}})).started();
    let process = json!({
        "args": ["grep", "Cpus_allowed_list", "/proc/self/status"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "execCPUAffinity": {"initial": "1"},
    });
    fs::write(world.path("process"), process.to_string()).unwrap();
    assert_eq!(world.ok(&["exec", "--process", &world.text("process"), "c"]), "Cpus_allowed_list:\t0\n");
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}
