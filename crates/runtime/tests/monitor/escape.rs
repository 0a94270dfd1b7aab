//! CVE-2019-5736: from inside a container, the executable's own file on the host cannot be written.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::chown;

use serde_json::json;

use crate::harness::*;

/// Opens the file of a process that runs our executable, waits until it has ended (writing it is ETXTBSY before), and writes.
const ATTACK: &str = r#"
    until test -s /victim; do sleep 0.02; done
    read pid < /victim
    exec 3< /proc/$pid/exe || exit 50
    echo open > /opened
    while test -d /proc/$pid; do sleep 0.02; done
    echo owned 2>/tmp/why > /proc/self/fd/3 && exit 66
    cat /tmp/why >&2
    exit 5
"#;

fn attack(world: World, program: &str) {
    let executable = world.executable.clone();
    let before = fs::read(&executable).unwrap();
    let (mut container, streams) = world.start();
    container.client.started();
    let mut client = container.connect();
    client.started();
    let mut process = shell("");
    // A verb that waits for its stdin.
    process["args"] = json!([program, "unpack", "--into", "/tmp"]);
    let victim = client.with_streams(json!({"request": "exec", "process": process}));
    let pid = client.started();
    if !exists(pid) {
        drop(victim.stdin);
        panic!("{}", String::from_utf8(victim.stderr.join().unwrap()).unwrap());
    }
    let mut messenger = container.connect();
    messenger.started();
    messenger.exec(&format!("echo {} > /victim", pid_inside(pid)));
    messenger.end();
    let opened = container.world.path("container/upper/opened");
    until("the attack", || {
        (opened.exists() || container.monitor.try_wait().unwrap().is_some()).then_some(())
    });
    drop(victim.stdin);
    let event = container.client.end();
    container.wait();
    assert!(fs::read(executable).unwrap() == before, "the executable has been overwritten");
    let stderr = String::from_utf8(streams.stderr.join().unwrap()).unwrap();
    assert_eq!(event["exitCode"], 5, "{stderr}");
    assert!(stderr.contains("Read-only file system"), "{stderr}");
}

/// The strongest enemy: one who may look into any process of the container.
fn with_ptrace(mut world: World) -> World {
    for set in ["bounding", "effective", "permitted"] {
        let pointer = format!("/config/process/capabilities/{set}");
        world.launch.pointer_mut(&pointer).unwrap().as_array_mut().unwrap().push(json!("CAP_SYS_PTRACE"));
    }
    world
}

/// A process's id in its own PID namespace.
fn pid_inside(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
    line.rsplit('\t').next().unwrap().parse().unwrap()
}

#[test]
fn executing_our_own_file_gives_no_way_to_write_it() {
    attack(with_ptrace(World::new(ATTACK)).with_libraries(), "/proc/self/exe");
}

#[test]
fn nor_does_it_where_the_file_belongs_to_an_ordinary_user() {
    let mut world = with_ptrace(World::new(ATTACK)).with_libraries();
    world.uid = Some(54_321);
    world.executable = world.path("kapsel-runtime");
    {
        let _no_fork = FORK.read().unwrap();
        fs::copy(executable(), &world.executable).unwrap();
    }
    chown(&world.executable, world.uid, world.uid).unwrap();
    attack(world, "/proc/self/exe");
}

#[test]
fn a_sealed_copy_in_memory_is_taken_as_it_is() {
    let no_fork = FORK.read().unwrap();
    let copy = memfd(&fs::read(executable()).unwrap());
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: no pointer is passed.
    assert_eq!(unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_ADD_SEALS, seals) }, 0);
    // A descriptor that could write keeps a file from being executed.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    let reading = high(&fs::File::open(path).unwrap());
    drop((copy, no_fork));
    for uid in [None, Some(54_321)] {
        let mut world = World::new("true");
        world.uid = uid;
        world.executable = format!("/proc/self/fd/{}", reading.as_raw_fd()).into();
        let (_container, event, ..) = world.run();
        assert_eq!(event["exitCode"], 0, "{event}");
    }
}

#[test]
fn a_script_whose_interpreter_is_our_own_file_gives_no_way_either() {
    let world = World::new("").with_libraries();
    let script = world.path("lower/bin/trap-script");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // The kernel runs `/proc/self/exe SCRIPT unpack …`, which says how it is used; it must not be writable while it does.
    let before = fs::read(executable()).unwrap();
    let attacker = r#"
        while true; do
            for process in /proc/[0-9]*; do
                case "$(readlink $process/exe)" in *kapsel*) echo owned > $process/exe && echo owned > /owned;; esac
            done
        done 2>/dev/null
    "#;
    let (mut container, _streams) = world.set("/config/process", shell(attacker)).start();
    container.client.started();
    for _ in 0..20 {
        let mut client = container.connect();
        client.started();
        let mut process = shell("");
        process["args"] = json!(["/bin/trap-script"]);
        client.send(&json!({"request": "exec", "process": process}), &[]);
        client.end();
    }
    assert!(!container.world.path("container/upper/owned").exists());
    assert!(fs::read(executable()).unwrap() == before);
    container.kill();
}

#[test]
fn our_own_init_gives_no_way_either() {
    let before = fs::read(executable()).unwrap();
    let script = "ls /proc/1/exe >/dev/null || exit 50; echo owned 2>/tmp/why > /proc/1/exe && exit 66; cat /tmp/why; exit 5";
    let (container, event, stdout, stderr) =
        with_ptrace(World::new(script)).with_libraries().set("/init", true).run();
    assert!(fs::read(executable()).unwrap() == before);
    assert_eq!(event["exitCode"], 5, "{stdout}{stderr}{event}");
    drop(container);
}
