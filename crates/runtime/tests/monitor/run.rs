//! A container's life: it runs, ends, and is recorded.

use serde_json::json;

use crate::harness::*;

#[test]
fn a_program_runs_and_its_end_is_told_recorded_and_cleaned_up() {
    let (container, event, stdout, stderr) = World::new("echo out; echo err >&2; exit 7").run();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(
        (&event["event"], &event["exitCode"], &event["signal"]),
        (&json!("exited"), &json!(7), &json!(null))
    );
    assert_eq!(event["oomKilled"], false);
    let record = container.record();
    assert_eq!((&record["exitCode"], &record["oomKilled"]), (&json!(7), &json!(false)));
    assert_eq!(record["finishedAt"], event["finishedAt"]);
    assert!(record["startedAt"].as_str().unwrap() < record["finishedAt"].as_str().unwrap());
    assert_eq!(container.log(), ("out\n".to_owned(), "err\n".to_owned()));
    assert!(!container.world.path("run/control").exists());
    assert_eq!(container.cgroups(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn started_comes_before_exited_and_names_the_process() {
    // No stdin is asked for in the Launch: `read` meets the end of /dev/null.
    let (mut container, _streams) = World::new("sleep 0.2; read line").start();
    let pid = container.client.started();
    assert!(exists(pid));
    assert_eq!(container.client.end()["exitCode"], 1);
    container.wait();
    assert!(!exists(pid));
}

#[test]
fn a_signal_that_kills_is_128_and_more() {
    let (container, event, ..) = World::new("kill -9 $$ ; sleep 1; exec 2>&-; kill -9 -1; exit 3").run();
    // PID 1 is immune to its own signals; the script ends by itself.
    assert_eq!(event["exitCode"], 3);
    drop(container);
    let (mut container, _streams) = World::new("sleep 100").start();
    container.client.started();
    container.client.asks(&json!({"request": "signal", "signal": 9}));
    let event = container.client.end();
    assert_eq!((&event["exitCode"], &event["signal"]), (&json!(137), &json!(9)));
    container.wait();
    assert_eq!(container.record()["exitCode"], 137);
}

#[test]
fn a_program_that_is_not_there_is_127_and_one_that_cannot_be_executed_126() {
    for (program, exit_code, code) in
        [("/bin/nothing", 127, "PROGRAM_NOT_FOUND"), ("/etc/passwd", 126, "PROGRAM_NOT_EXECUTABLE")]
    {
        let (container, event, stdout, _) =
            World::new("").set("/config/process/args", json!([program])).run();
        assert_eq!(
            (&event["event"], &event["exitCode"], &event["code"]),
            (&json!("failed"), &json!(exit_code), &json!(code))
        );
        assert!(event["message"].as_str().unwrap().contains(program), "{event}");
        assert_eq!(stdout, "");
        let record = container.record();
        assert_eq!((&record["exitCode"], &record["error"]), (&json!(exit_code), &event["message"]));
        assert!(container.cgroups().is_empty() && !container.world.path("run/control").exists());
    }
}

#[test]
fn what_the_engine_got_wrong_is_125_and_leaves_nothing() {
    for (pointer, value) in [
        ("/overlay/lowers", json!(["/nowhere/at/all"])),
        ("/seccomp", json!({"defaultAction": "SCMP_ACT_DANCE"})),
        ("/user", json!("nobody-here")),
        ("/log/path", json!("/nowhere/at/all/log")),
        ("/config/linux/cgroupsPath", json!("../escape")),
    ] {
        let (container, event, ..) = World::new("echo never").set(pointer, value).run();
        assert_eq!((&event["event"], &event["exitCode"]), (&json!("failed"), &json!(125)), "{pointer}");
        assert!(!event["message"].as_str().unwrap().contains('\n'));
        assert_eq!(container.record()["exitCode"], 128);
        assert!(container.cgroups().is_empty(), "{pointer}");
    }
}

#[test]
fn a_launch_that_cannot_be_read_is_told_and_said_on_stderr() {
    let (mut container, _streams) = World::new("").set("/config/process", json!(7)).start();
    assert_eq!(container.client.end()["code"], "LAUNCH_INVALID");
    assert_eq!(container.monitor.wait().unwrap().code(), Some(1));
    let stderr: serde_json::Value = serde_json::from_str(&container.stderr()).unwrap();
    assert_eq!(stderr["code"], "LAUNCH_INVALID");
}

#[test]
fn who_goes_before_everything_is_said_has_started_nothing() {
    let (mut container, _streams) = World::new("echo never").set("", json!(null)).start();
    assert_eq!(container.client.end()["code"], "LAUNCH_MISSING");
    assert_eq!(container.monitor.wait().unwrap().code(), Some(1));
    assert_eq!(container.stderr().matches("LAUNCH_MISSING").count(), 1);
    assert!(!container.world.path("run/control").exists() && container.cgroups().is_empty());
    // With the Launch said, and nothing of the networks that it is to be on.
    let world = World::new("echo never");
    let tree = json!([world.path("container")]);
    let (container, event, ..) = world.set("/removeOnExit", tree).set("/awaitsNetwork", true).run();
    assert_eq!((&event["event"], &event["code"]), (&json!("failed"), &json!("NETWORK_MISSING")));
    assert_eq!(container.record()["exitCode"], 128);
    assert!(!container.world.path("container").exists() && container.cgroups().is_empty());
}

#[test]
fn rm_leaves_nothing_at_all() {
    let world = World::new("echo x > /file; mkdir -p /a/b/c");
    let trees = json!([world.path("container"), world.path("run")]);
    let (container, event, ..) = world.set("/removeOnExit", trees).run();
    assert_eq!(event["exitCode"], 0);
    let left: Vec<_> = std::fs::read_dir(container.world.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["lower"]);
    assert!(container.cgroups().is_empty());
}

#[test]
fn the_lock_is_held_as_long_as_the_container_lives_and_free_when_its_end_is_told() {
    use std::os::fd::AsRawFd;
    let shared = |container: &Container| {
        let lock = std::fs::File::open(container.world.path("run/lock")).unwrap();
        // SAFETY: no pointer is passed.
        unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) == 0 }
    };
    let (mut container, _streams) = World::new("sleep 100").start();
    container.client.started();
    assert!(!shared(&container));
    container.client.asks(&json!({"request": "signal", "signal": 9}));
    container.client.end();
    assert!(shared(&container));
}

#[test]
fn nothing_of_the_caller_gets_into_the_container() {
    let (_container, _, stdout, _) =
        World::new("ls -l /proc/self/fd | wc -l; echo $KAPSEL_TRACE$CARGO; pwd").run();
    // 0, 1, 2, the directory that ls reads, and the line with the total.
    assert_eq!(stdout, "5\n\n/\n");
    let program = json!(["/bin/cat", "/proc/self/status"]);
    let (_container, _, stdout, _) = World::new("").set("/config/process/args", program).run();
    // The monitor blocks signals and ignores SIGPIPE; its children must not.
    for name in ["SigBlk", "SigIgn"] {
        let line = stdout.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.ends_with(":\t0000000000000000"), "{line}");
    }
}

#[test]
fn sixty_four_at_once_all_succeed() {
    let worlds: Vec<_> =
        (0..64).map(|number| (number, World::new(&format!("echo {number}; exit {number}")))).collect();
    let started: Vec<_> = worlds.into_iter().map(|(number, world)| (number, world.start())).collect();
    for (number, (mut container, streams)) in started {
        assert_eq!(container.client.end()["exitCode"], number);
        assert_eq!(streams.stdout.join().unwrap(), format!("{number}\n").into_bytes());
        container.wait();
        assert!(container.cgroups().is_empty());
    }
}

#[test]
fn a_quiet_monitor_is_small() {
    let (mut container, _streams) = World::new("sleep 100").start();
    container.client.started();
    // It takes a moment to settle.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let memory = Memory::of(container.monitor.id());
    // The figure that counts is the release build's: this keeps the heap honest in any build.
    assert!(memory.private < 1024, "{memory:?}");
    // The whole of it is what the release build, linked statically, promises.
    assert!(std::env::var_os("KAPSEL_RUNTIME").is_none() || memory.resident <= 1536, "{memory:?}");
    container.kill();
}

/// KiB, from smaps_rollup.
#[derive(Debug)]
pub struct Memory {
    /// All of it, the executable's pages included.
    pub resident: u64,
    /// What nobody else could use: heap, stack, relocated data.
    pub private: u64,
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let field = |name: &str| -> u64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Self { resident: field("Rss:"), private: field("Private_Dirty:") }
    }
}
