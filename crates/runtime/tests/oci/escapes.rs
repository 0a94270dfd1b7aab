//! More ways out, through the executable itself: see `escape.rs`, and the sandbox's own `escapes*.rs`.
//!
//! | escape | test | failed when |
//! |---|---|---|
//! | CVE-2019-5736 | `a_script_whose_interpreter_…`; escape.rs `our_own_file_…` | oci/exec.rs: no `seal`; oci/make.rs: no `seal` |
//! | CVE-2024-21626 | `what_a_careless_caller_…`; escape.rs `no_working_directory_…` | sandbox streams.rs: no close_range; workdir.rs: chdir by path |
//! | CVE-2016-9962 | escape.rs `who_is_being_joined_…`, `who_begins_in_…` | sandbox namespaces.rs: `hide` does nothing; launch.rs and process.rs: no `hide` |
//! | CVE-2022-29162, crun 2022-27650 | `the_callers_inheritable_…` | sandbox capabilities.rs: inheritable = permitted; the ambient set is not cleared |
//! | CVE-2024-45310, 2021-30465 | `a_directory_swapped_…` | sandbox resolve.rs: no RESOLVE_IN_ROOT (with hooks) |
//! | CVE-2020-15257 | `another_user_of_the_machine_…` | oci/store.rs: another mode than 0700 |
//! | crun 2026-30892 | `ids_that_are_none_…` | oci/bundle.rs: an id that is null is absent; oci/exec.rs: a sign is part of a number |
//! | another container's cgroup | crash.rs `a_creator_killed_…` | oci/store.rs: a draft counts as a record |

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::harness::*;

/// The command under a shell that does something first, and hands on what it has.
fn after(script: &str, template: &Command) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{script}; exec \"$@\""), "bash"]);
    command.arg(template.get_program()).args(template.get_args());
    command.current_dir(template.get_current_dir().unwrap()).env_clear();
    command.envs(template.get_envs().map(|(name, value)| (name, value.unwrap())));
    command.stdin(std::process::Stdio::null());
    command
}

#[test]
fn a_script_whose_interpreter_is_our_own_file_cannot_write_it() {
    // CVE-2019-5736: the kernel opens the interpreter for us, /proc/self/exe, and everybody in there reaches it.
    let attack = "while ! test -e /tmp/end; do for p in /proc/[0-9]*; do \
                  case \"$(readlink $p/exe)\" in *kapsel*) echo $p >> /tmp/seen; chmod 4777 $p/exe; \
                  echo owned > $p/exe && echo owned > /tmp/owned;; esac; done; done 2>/dev/null";
    let mut world = World::new(attack);
    for set in ["bounding", "effective", "permitted"] {
        let set = world.config.pointer_mut(&format!("/process/capabilities/{set}")).unwrap();
        set.as_array_mut().unwrap().extend(["SYS_PTRACE", "FOWNER"].map(|name| json!(format!("CAP_{name}"))));
    }
    let own = world.path("kapsel-runtime");
    fs::copy(executable(), &own).unwrap();
    let script = world.inside("bin/trap-script");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let facts = || {
        let data = fs::metadata(&own).unwrap();
        (data.mode(), data.uid(), data.mtime(), data.ctime(), fs::read(&own).unwrap())
    };
    let before = facts();
    let through = |world: &World, arguments: &[&str]| {
        let mut template = world.command(&[]);
        template.args(arguments);
        let mut command = Command::new(&own);
        command.args(template.get_args()).current_dir(world.path("bundle"));
        command.envs(template.get_envs().map(|(name, value)| (name, value.unwrap())));
        command
    };
    until("the copy to be executable", || through(&world, &["--version"]).output().ok());
    assert_eq!(Said::by(&mut through(&world, &["run", "--detach", "c"])).status, 0);
    for program in ["/proc/self/exe", "/bin/trap-script"] {
        for _ in 0..10 {
            Said::by(&mut through(&world, &["exec", "c", program, "unpack", "--into", "/tmp"]));
        }
    }
    fs::write(world.inside("tmp/end"), "").unwrap();
    until("the end", || (world.status() == "stopped").then_some(()));
    assert!(!world.inside("tmp/owned").exists());
    assert!(before == facts(), "the executable has been changed");
    world.ok(&["delete", "c"]);
    // As the first program too: it is us, who says how it is called, and ends.
    for program in ["/proc/self/exe", "/bin/trap-script"] {
        world.config["process"]["args"] = json!([program, "unpack", "--into", "/tmp"]);
        Said::by(&mut through(&world, &["run", "c"]));
    }
    assert!(before == facts(), "the executable has been changed");
    world.nothing_remains();
}

#[test]
fn what_a_careless_caller_left_open_leads_nowhere() {
    // CVE-2024-21626: the host's root is open under many a number, and not to be closed at execve.
    let careless = "exec 3</ 7</ 12</ 30</ 64</";
    let run = |world: &World, arguments: &[&str]| Said::by(&mut after(careless, &world.command(arguments)));
    for fd in [3, 7, 12, 30, 64] {
        for suffix in ["", "/boot", "/../.."] {
            let world =
                World::new("ls -d boot; pwd").set("/process/cwd", format!("/proc/self/fd/{fd}{suffix}"));
            let said = run(&world, &["run", "c"]);
            assert!(said.status == 1 || !said.stdout.contains("boot"), "{fd}{suffix}: {said:?}");
            world.nothing_remains();
        }
    }
    let world = World::new("ls /proc/self/fd");
    assert_eq!(run(&world, &["run", "c"]).stdout, "0\n1\n2\n3\n");
    // What is asked for, and no more.
    let said = run(&world, &["run", "--preserve-fds", "1", "c"]);
    assert_eq!(said.stdout, "0\n1\n2\n3\n4\n");
    let world = World::sleeper().started();
    for fd in [3, 7, 12, 30, 64] {
        let cwd = format!("/proc/self/fd/{fd}");
        let said = run(&world, &["exec", "--cwd", &cwd, "c", "pwd"]);
        assert_eq!((said.status, &*said.stdout), (255, ""), "{fd}: {said:?}");
    }
    assert_eq!(run(&world, &["exec", "c", "ls", "/proc/self/fd"]).stdout, "0\n1\n2\n3\n");
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

#[test]
fn the_callers_inheritable_capabilities_stay_with_it() {
    // CVE-2022-29162, crun CVE-2022-27650.
    let lines = "grep -E 'Cap(Inh|Amb)' /proc/self/status | tr -d '\\n\\t'";
    let none = "CapInh:0000000000000000CapAmb:0000000000000000";
    let giving = |world: &World, arguments: &[&str]| {
        let template = world.command(arguments);
        let mut command = Command::new("setpriv");
        let all = "+chown,+kill,+net_raw";
        command.args(["--inh-caps", all, "--ambient-caps", all]);
        command.arg(template.get_program()).args(template.get_args());
        command.current_dir(world.path("bundle"));
        command.envs(template.get_envs().map(|(name, value)| (name, value.unwrap())));
        Said::by(&mut command)
    };
    let world = World::new(lines);
    assert_eq!(giving(&world, &["run", "c"]).stdout, none);
    let world = World::sleeper().started();
    for flags in [&[][..], &["--cap", "CAP_CHOWN"], &["--user", "1000"]] {
        let said = giving(&world, &[&["exec"], flags, &["c", "sh", "-c", lines]].concat());
        assert_eq!(said.stdout, none, "{flags:?}: {said:?}");
    }
    world.ok(&["delete", "-f", "c"]);
    // What the container's programs may inherit, but nobody said that they do.
    let mut world = World::new(lines);
    let names = json!(["CAP_KILL"]);
    world.config["process"]["capabilities"] =
        json!({"bounding": names, "permitted": names, "inheritable": names});
    assert_eq!(giving(&world, &["run", "c"]).stdout, "CapInh:0000000000000020CapAmb:0000000000000000");
}

#[test]
fn a_directory_swapped_during_create_leaves_the_host_unchanged() {
    // CVE-2024-45310, CVE-2021-30465: both without hooks and with, which see the root where the bundle has it.
    for hooks in [json!({}), json!({"createContainer": [{"path": "/bin/true"}]})] {
        let mut world = World::new("true").set("/hooks", hooks);
        let (victim, volume, shared) = (world.path("victim"), world.path("volume"), world.inside("shared"));
        for directory in [&victim, &volume, &shared, &shared.join("real")] {
            fs::create_dir(directory).unwrap();
        }
        symlink(format!("../../../../../../../../..{}", victim.display()), shared.join("link")).unwrap();
        let mount = json!({"destination": "/shared/point/new", "type": "bind", "source": volume, "options": ["rbind"]});
        world.config["mounts"].as_array_mut().unwrap().push(mount);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (point, link, real) = (shared.join("point"), shared.join("link"), shared.join("real"));
                while !stop.load(Ordering::Relaxed) {
                    for what in [&link, &real] {
                        let _ = fs::rename(what, &point);
                        std::thread::yield_now();
                        let _ = fs::rename(&point, what);
                    }
                }
            });
            for _ in 0..30 {
                // Some fail, as they may.
                world.call(&["run", "c"]);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
        world.nothing_remains();
    }
}

#[test]
fn another_user_of_the_machine_reaches_no_state_and_no_gate() {
    // CVE-2020-15257 and its like: what controls a container is a path, and the path is shut.
    let world = World::sleeper();
    for path in ["", "bundle"] {
        fs::set_permissions(world.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    // SAFETY: umask(2) cannot fail; the mask of the command, not of the test.
    let careless = |command: &mut Command| unsafe {
        Said::by(command.pre_exec(|| {
            libc::umask(0);
            Ok(())
        }))
    };
    assert_eq!(careless(&mut world.command(&["create", "c"])).status, 0);
    let mode = |path: &str| fs::metadata(world.path(path)).unwrap().mode() & 0o777;
    assert_eq!((mode("root"), mode("root/c")), (0o700, 0o700));
    for script in ["cat root/c/*", "ls root", "echo G > root/c/go"] {
        let mut other = Command::new("sh");
        other.args(["-c", script]).current_dir(world.directory.path()).uid(54_321).gid(54_321);
        let said = Said::by(&mut other);
        assert!(said.status != 0 && said.stdout.is_empty(), "{script}: {said:?}");
    }
    assert_eq!(world.status(), "created");
    world.ok(&["delete", "-f", "c"]);
    // No socket without a path either.
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    assert!(!sockets.lines().any(|line| line.contains("@") && line.contains("kapsel-runtime")), "{sockets}");
    world.nothing_remains();
}

#[test]
fn ids_that_are_none_are_refused() {
    // crun CVE-2026-30892.
    let strange = [json!(null), json!(-1), json!("0"), json!("root"), json!(1.5), json!(4_294_967_296_u64)];
    for field in ["uid", "gid"] {
        for id in &strange {
            let world = World::new("id -u > /tmp/ran").set(&format!("/process/user/{field}"), id.clone());
            assert_eq!(world.call(&["run", "c"]).status, 1, "{field}: {id}");
            assert!(!world.inside("tmp/ran").exists(), "{field}: {id}");
            world.nothing_remains();
        }
    }
    let world = World::sleeper().started();
    for user in ["-1", "", "0x0", "root", "1:", ":1", "1:x", "4294967295", "4294967296", "+0", " 0", "1:2:3"]
    {
        world.fails(255, &["exec", &format!("--user={user}"), "c", "touch", "/tmp/ran"]);
    }
    world.fails(255, &["exec", "--additional-gids", "x", "c", "touch", "/tmp/ran"]);
    assert!(!world.inside("tmp/ran").exists());
    world.ok(&["delete", "-f", "c"]);
}
