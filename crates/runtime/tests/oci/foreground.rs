//! `run` and `exec` in the foreground: they end as the program ends, and are its terminal and its target for signals.

use std::fs;
use std::process::Stdio;

use crate::harness::*;
use crate::terminal::{Pty, expect, say};

#[test]
fn run_gives_the_programs_exit_status_and_removes_the_container() {
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("exec sleep 1000", 137)] {
        let world = World::new(script);
        let mut run = world.command(&["run", "c"]).spawn().unwrap();
        if status == 137 {
            until("the container", || (world.call(&["kill", "c", "KILL"]).status == 0).then_some(()));
        }
        assert_eq!(run.wait().unwrap().code(), Some(status), "{script}");
        world.nothing_remains();
    }
}

#[test]
fn a_container_can_be_kept() {
    let world = World::new("exit 3");
    assert_eq!(world.call(&["run", "--keep", "c"]).status, 3);
    assert_eq!(world.status(), "stopped");
    world.ok(&["delete", "c"]);
    world.nothing_remains();
}

#[test]
fn signals_are_for_the_program() {
    let world =
        World::new("trap 'echo usr1' USR1; trap 'exit 6' TERM; echo ready; while :; do sleep 0.01; done");
    let mut run = world.command(&["run", "c"]).spawn().unwrap();
    signals(&mut run);
    world.nothing_remains();
    let world = World::sleeper().started();
    let script = "trap 'echo usr1' USR1; trap 'exit 6' TERM; echo ready; while :; do sleep 0.01; done";
    let mut exec = world.command(&["exec", "c", "sh", "-c", script]).spawn().unwrap();
    signals(&mut exec);
    assert_eq!(world.status(), "running");
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

fn signals(child: &mut std::process::Child) {
    use std::io::BufRead;
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    // SAFETY: no pointer is passed, and the child is not reaped yet.
    unsafe { libc::kill(child.id() as i32, libc::SIGUSR1) };
    assert_eq!(lines.next().unwrap().unwrap(), "usr1");
    // SAFETY: likewise.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    assert_eq!(child.wait().unwrap().code(), Some(6));
}

#[test]
fn it_is_not_held_up_by_who_else_has_the_streams() {
    // The second process keeps stdout open for long.
    let mut world = World::new("sleep 1000 & exit 5");
    world.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|it| it["type"] != "pid");
    let mut run = world.command(&["run", "c"]).spawn().unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(5));
    world.nothing_remains();
}

#[test]
fn a_container_that_is_deleted_meanwhile_ends_the_command() {
    let world = World::sleeper();
    let mut run = world.command(&["run", "c"]).spawn().unwrap();
    until("the container", || world.call(&["state", "c"]).stdout.contains("running").then_some(()));
    world.ok(&["delete", "--force", "c"]);
    assert_eq!(run.wait().unwrap().code(), Some(137));
    world.nothing_remains();
}

/// The command with the pty for its three streams, and as its session's controlling terminal.
fn in_terminal(world: &World, arguments: &[&str], pty: &Pty) -> std::process::Child {
    use std::os::unix::process::CommandExt;
    let mut command = world.command(arguments);
    let stream = || Stdio::from(pty.slave.try_clone().unwrap());
    command.stdin(stream()).stdout(stream()).stderr(stream());
    let lead = || {
        // SAFETY: no pointer is passed; 0 is the terminal by now.
        match unsafe { libc::setsid() >= 0 && libc::ioctl(0, libc::TIOCSCTTY, 0) == 0 } {
            true => Ok(()),
            false => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: both calls may be made between fork and exec.
    unsafe { command.pre_exec(lead) }.spawn().unwrap()
}

#[test]
fn a_terminal_is_relayed_with_its_size_and_given_back_as_it_was() {
    let script = "stty size; trap 'stty size' WINCH; echo ready; while ! test -e /tmp/go; do sleep 0.01; done; read line; echo got $line; exit 8";
    for verb in ["run", "exec"] {
        let pty = Pty::new(91, 31);
        let (world, mut child);
        if verb == "run" {
            world = World::new(script).set("/process/terminal", true);
            child = in_terminal(&world, &["run", "c"], &pty);
        } else {
            world = World::sleeper().started();
            child = in_terminal(&world, &["exec", "-t", "c", "sh", "-c", script], &pty);
        }
        let shown = expect(&pty.master, "ready");
        assert!(shown.contains("31 91"), "{verb}: {shown}");
        assert!(!pty.is_cooked(), "{verb}: keys must reach the program as they are");
        pty.resize(92, 32);
        expect(&pty.master, "32 92");
        fs::write(world.inside("tmp/go"), "").unwrap();
        say(&pty.master, "hello\r");
        expect(&pty.master, "got hello");
        assert_eq!(child.wait().unwrap().code(), Some(8), "{verb}");
        assert!(pty.is_cooked(), "{verb}");
        if verb == "exec" {
            world.ok(&["delete", "-f", "c"]);
        }
        world.nothing_remains();
    }
}

#[test]
fn control_c_reaches_the_program_in_its_terminal() {
    let pty = Pty::new(80, 24);
    let world = World::new("trap 'exit 33' INT; echo ready; while :; do sleep 0.01; done")
        .set("/process/terminal", true);
    let mut run = in_terminal(&world, &["run", "c"], &pty);
    expect(&pty.master, "ready");
    say(&pty.master, "\x03");
    assert_eq!(run.wait().unwrap().code(), Some(33));
    world.nothing_remains();
}

#[test]
fn everything_a_program_wrote_to_its_terminal_is_shown() {
    let pty = Pty::new(80, 24);
    let world = World::new("seq 1 2000; echo end").set("/process/terminal", true);
    let mut run = in_terminal(&world, &["run", "c"], &pty);
    let shown = expect(&pty.master, "end\r\n");
    assert_eq!(shown.lines().filter(|line| line.parse::<u32>().is_ok()).count(), 2000);
    assert_eq!(run.wait().unwrap().code(), Some(0));
    world.nothing_remains();
}
