//! What the program finds: who it is, what it may do, its streams, its directory, and Docker's exit codes.

mod common;

use std::{fs, os::unix::process::CommandExt, process::Command};

use common::{Sandbox, field};
use serde_json::{Value, json};

fn set(name: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |config| config["process"][name] = value
}

#[test]
fn the_five_capability_sets_are_those_asked_for() {
    let out = Sandbox::new("grep Cap /proc/self/status")
        .config(set(
            "capabilities",
            json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
                "permitted": ["CAP_CHOWN", "CAP_KILL"],
                "effective": ["CAP_CHOWN"],
                "inheritable": ["CAP_KILL"],
                "ambient": ["CAP_KILL"],
            }),
        ))
        .with(|document| document["user"] = json!("1000"))
        .output();
    // For a user who is not root only the ambient set survives execve.
    for (name, bits) in
        [("CapBnd", 0x2021), ("CapPrm", 0x20), ("CapEff", 0x20), ("CapInh", 0x20), ("CapAmb", 0x20)]
    {
        assert_eq!(u64::from_str_radix(field(&out, name), 16).unwrap(), bits, "{name}: {out}");
    }
}

#[test]
fn no_capabilities_means_none() {
    let out = Sandbox::new("grep Cap /proc/self/status").config(set("capabilities", json!(null))).output();
    for name in ["CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(field(&out, name), "0000000000000000", "{out}");
    }
}

#[test]
fn a_capability_that_the_caller_lacks_is_an_error_and_all_of_them_are_those_there_are() {
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let own = u64::from_str_radix(field(&own, "CapPrm"), 16).unwrap();
    let names: Vec<String> = CAPABILITY_NAMES.iter().map(|name| format!("CAP_{name}")).collect();
    let all = json!({"bounding": names, "effective": names, "permitted": names});
    let out = Sandbox::new("grep Cap /proc/self/status").config(set("capabilities", all)).output();
    assert_eq!(u64::from_str_radix(field(&out, "CapEff"), 16).unwrap(), own);
    if let Some(missing) = (0..41).find(|number| own & (1 << number) == 0) {
        let one = json!({"permitted": [names[missing]]});
        let refusal = Sandbox::new("true").config(set("capabilities", one)).refusal();
        assert!(refusal.contains(&names[missing]), "{refusal}");
    }
}

const CAPABILITY_NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

#[test]
fn a_user_is_found_in_the_containers_own_files() {
    let out = Sandbox::new("id -u; id -g; id -G; echo $HOME")
        .with(|document| {
            document["user"] = json!("ann");
            document["groupAdd"] = json!(["9"]);
        })
        .output();
    assert_eq!(out, "1000\n100\n100 9 44\n/home/ann");
}

#[test]
fn an_unknown_or_malformed_user_is_an_error() {
    for user in ["nosuch", "bad", "-1", "4294967295", "1:nosuch", "1:2:3"] {
        let refusal = Sandbox::new("true").with(|document| document["user"] = json!(user)).refusal();
        assert!(refusal.starts_with("USER_FAILED"), "{user}: {refusal}");
    }
}

#[test]
fn home_stays_as_it_was_given() {
    let out = Sandbox::new("echo $HOME").config(set("env", json!(["PATH=/bin", "HOME=/tmp"]))).output();
    assert_eq!(out, "/tmp");
}

#[test]
fn exit_codes_are_dockers() {
    let status = |args: &[&str]| Sandbox::new("").config(set("args", json!(args))).run();
    for (args, code, words) in [
        (&["nosuch"][..], 127, "\"nosuch\": executable file not found in $PATH"),
        (&["/nosuch"], 127, "no such file or directory"),
        (&["/etc"], 126, "is a directory"),
        (&["/etc/passwd"], 126, "permission denied"),
        (&["/script"], 127, "interpreter"),
        (&["/text"], 126, "exec format error"),
        (&["sh", "-c", "exit 42"], 42, ""),
    ] {
        let sandbox = Sandbox::new("").config(set("args", json!(args)));
        for (name, text) in [("script", "#!/no/interpreter\n"), ("text", "hello\n")] {
            fs::write(sandbox.path("image").join(name), text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(sandbox.path("image").join(name), mode).unwrap();
        }
        let outcome = sandbox.run();
        assert_eq!(outcome.status, code, "{args:?}: {outcome:?}");
        assert!(outcome.err.contains(words), "{args:?}: {outcome:?}");
    }
    assert_eq!(status(&[]).status, 125);
}

#[test]
fn limits_are_set_and_one_that_cannot_be_is_an_error() {
    let limit = |kind: &str, soft: u64, hard: u64| json!([{"type": kind, "soft": soft, "hard": hard}]);
    let out = Sandbox::new("ulimit -Sn; ulimit -Hn")
        .config(set("rlimits", limit("RLIMIT_NOFILE", 100, 200)))
        .output();
    assert_eq!(out, "100\n200");
    // Beyond fs.nr_open nobody may go.
    let refusal =
        Sandbox::new("true").config(set("rlimits", limit("RLIMIT_NOFILE", 1 << 40, 1 << 40))).refusal();
    assert!(refusal.contains("error setting rlimit RLIMIT_NOFILE"), "{refusal}");
    let refusal = Sandbox::new("true").config(set("rlimits", limit("RLIMIT_NONSENSE", 1, 1))).refusal();
    assert!(refusal.contains("RLIMIT_NONSENSE"), "{refusal}");
}

#[test]
fn a_tiny_limit_meets_the_program_and_not_its_start() {
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3}]);
    assert_eq!(Sandbox::new("ulimit -n").config(set("rlimits", limit)).output(), "3");
}

#[test]
fn unlimited_may_be_written_as_javascript_writes_it() {
    let text = r#"[{"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709552000}]"#;
    let out = Sandbox::new("ulimit -Hc").config(set("rlimits", serde_json::from_str(text).unwrap())).output();
    assert_eq!(out, "unlimited");
}

#[test]
fn small_settings_arrive() {
    let script =
        "cat /proc/self/oom_score_adj; umask; uname -m; grep -E 'NoNewPrivs|SigIgn|SigBlk' /proc/self/status";
    let out = Sandbox::new(script)
        .config(|config| {
            let process = &mut config["process"];
            process["oomScoreAdj"] = json!(123);
            process["user"]["umask"] = json!(0o077);
            process["noNewPrivileges"] = json!(true);
            config["linux"]["personality"] = json!({"domain": "LINUX32"});
        })
        .output();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["123", "0077"]);
    assert_ne!(lines[2], std::env::consts::ARCH, "{out}");
    assert_eq!(field(&out, "NoNewPrivs"), "1");
}

/// Whether a process of the test's, which is where the container will be, may be a real-time one: a cgroup of version 1
/// may have no share of that.
fn may_be_real_time() -> bool {
    let mut command = Command::new("true");
    // SAFETY: one system call on a structure of the child's own.
    unsafe {
        command.pre_exec(|| {
            let priority = libc::sched_param { sched_priority: 1 };
            match libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    command.status().is_ok()
}

#[test]
#[expect(clippy::print_stderr, reason = "it is told what was not tested")]
fn the_program_is_scheduled_as_was_asked() {
    // Nice value, real-time priority and policy: fields 19, 40 and 41 of proc_pid_stat(5).
    let table = [
        (json!({"policy": "SCHED_OTHER", "nice": -5}), ["-5", "0", "0"]),
        (json!({"policy": "SCHED_BATCH", "nice": 3}), ["3", "0", "3"]),
        (json!({"policy": "SCHED_IDLE"}), ["0", "0", "5"]),
        (json!({"policy": "SCHED_FIFO", "priority": 7}), ["0", "7", "1"]),
        (json!({"policy": "SCHED_RR", "priority": 8}), ["0", "8", "2"]),
    ];
    for (scheduler, expected) in table {
        if scheduler["priority"] != json!(null) && !may_be_real_time() {
            eprintln!("skipped: no real time here for {scheduler}");
            continue;
        }
        let out = Sandbox::new("cat /proc/self/stat").config(set("scheduler", scheduler.clone())).output();
        let fields: Vec<&str> = out.rsplit_once(") ").unwrap().1.split(' ').collect();
        assert_eq!([19, 40, 41].map(|number| fields[number - 3]), expected, "{scheduler}: {out}");
    }
}

#[test]
fn the_programs_input_and_output_have_the_priority_that_was_asked_for() {
    for (class, priority, shown) in [
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_RT", 2, "realtime: prio 2"),
    ] {
        let asked = json!({"class": class, "priority": priority});
        assert_eq!(Sandbox::new("ionice").config(set("ioPriority", asked)).output(), shown);
    }
}

#[test]
fn no_signal_is_ignored_or_blocked_though_rust_ignores_one() {
    let out = Sandbox::new("").config(set("args", json!(["grep", "Sig", "/proc/self/status"]))).output();
    assert_eq!((field(&out, "SigIgn"), field(&out, "SigBlk")), ("0000000000000000", "0000000000000000"));
}

#[test]
fn a_filter_is_in_force_whether_or_not_privileges_may_grow() {
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]});
    for no_new_privileges in [true, false] {
        let outcome = Sandbox::new("grep Seccomp: /proc/self/status; mkdir /x")
            .config(set("noNewPrivileges", json!(no_new_privileges)))
            .with(|document| document["seccomp"] = filter.clone())
            .run();
        assert_eq!(field(&outcome.out, "Seccomp"), "2", "{outcome:?}");
        assert!(outcome.err.contains("Function not implemented"), "{outcome:?}");
    }
}

#[test]
fn only_the_three_streams_are_open_whatever_the_caller_has() {
    let sandbox = Sandbox::new("ls /proc/self/fd");
    let inner = sandbox.command();
    let words: Vec<_> = inner.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    // Directories of the host, a low and a high number, none of them close-on-exec.
    let script = format!("exec 3</ 4</tmp 9</etc; exec timeout {}", words.join(" "));
    let outcome = common::outcome(Command::new("bash").args(["-c", &script]).output().unwrap());
    // The fourth is the directory that `ls` itself reads.
    assert_eq!(outcome.out, "0\n1\n2\n3\n", "{outcome:?}");
}

#[test]
fn a_pipe_belongs_to_the_programs_user() {
    let sandbox = Sandbox::new("echo again > /dev/stdout; stat -L -c %u /proc/self/fd/1")
        .with(|document| document["user"] = json!("ann"));
    assert_eq!(sandbox.output(), "again\n1000");
}

#[test]
fn the_working_directory_is_made_inside() {
    let out = Sandbox::new("pwd; stat -c '%a %u' /a/b").config(set("cwd", json!("/a/b/c"))).output();
    assert_eq!(out, "/a/b/c\n755 0");
    let refusal = Sandbox::new("true").config(set("cwd", json!("/bin/busybox"))).refusal();
    assert!(refusal.contains("/bin/busybox"), "{refusal}");
    assert!(Sandbox::new("true").config(set("cwd", json!("tmp"))).refusal().contains("absolute"));
}

#[test]
fn the_callers_keys_stay_behind() {
    let key = common::session_key();
    let has_key = |text: &str| text.contains(key);
    assert!(has_key(&fs::read_to_string("/proc/thread-self/root/proc/keys").unwrap()));
    let inside =
        Sandbox::new("cat /proc/keys").config(|config| config["linux"]["maskedPaths"] = json!([])).output();
    assert!(inside.contains("_ses") && !has_key(&inside), "{inside}");
}

#[test]
fn a_label_for_a_module_that_is_not_there_is_an_error() {
    let lsm = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    if !lsm.contains("apparmor") {
        let refusal = Sandbox::new("true").config(set("apparmorProfile", json!("docker-default"))).refusal();
        assert!(refusal.contains("AppArmor"), "{refusal}");
    }
    if !lsm.contains("selinux") {
        let refusal = Sandbox::new("true").config(set("selinuxLabel", json!("a:b:c:s0"))).refusal();
        assert!(refusal.contains("SELinux"), "{refusal}");
    }
}
