//! `--console-socket` and `--pidfd-socket`: whoever listens has the descriptor before the command returns.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::harness::*;
use crate::terminal::{expect, listen, received, say};

const SCRIPT: &str =
    "test -t 0 -a -t 1 -a -t 2 && tty && stty size && read line && echo got $line && exec sleep 1000";

fn terminal() -> World {
    World::new(SCRIPT).set("/process/terminal", true)
}

#[test]
fn create_sends_the_terminal_before_it_returns() {
    let world = terminal().set("/process/consoleSize", json!({"width": 90, "height": 30}));
    let listener = listen(&world.path("socket"));
    world.ok(&["create", "--console-socket", &world.text("socket"), "c"]);
    let (master, name) = received(&listener).expect("a terminal");
    // Go's receivers want a name.
    assert!(!name.is_empty());
    world.ok(&["start", "c"]);
    let master = File::from(master);
    let shown = expect(&master, "30 90");
    assert!(shown.contains("/dev/"), "{shown}");
    say(&master, "hello\n");
    expect(&master, "got hello");
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

#[test]
fn run_and_exec_in_the_background_send_theirs() {
    let world = terminal();
    let listener = listen(&world.path("socket"));
    world.ok(&["run", "-d", "--console-socket", &world.text("socket"), "c"]);
    let (first, _) = received(&listener).expect("a terminal");
    // Kept: its end would be the end of the program.
    let first = File::from(first);
    expect(&first, "/dev/");
    world.ok(&[
        "exec",
        "-d",
        "-t",
        "--console-socket",
        &world.text("socket"),
        "c",
        "sh",
        "-c",
        "tty; read x; echo $x",
    ]);
    let (second, _) = received(&listener).expect("a terminal");
    let second = File::from(second);
    // All of the line: what is typed sooner may be echoed before its end.
    assert!(expect(&second, "\r\n").contains("/dev/pts/"));
    say(&second, "more\n");
    expect(&second, "more\r\nmore\r\n");
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

#[test]
fn a_terminal_without_a_socket_and_a_socket_without_a_terminal_are_refused() {
    let world = terminal();
    assert!(world.fails(1, &["create", "c"]).contains("--console-socket"));
    assert!(world.fails(1, &["run", "-d", "c"]).contains("--console-socket"));
    assert!(world.fails(1, &["create", "--console-socket", "/none", "c"]).contains("/none"));
    world.nothing_remains();
    let world = world.set("/process/terminal", false);
    let _listener = listen(&world.path("socket"));
    assert!(
        world.fails(1, &["create", "--console-socket", &world.text("socket"), "c"]).contains("no terminal")
    );
    world.nothing_remains();
}

#[test]
fn a_path_that_is_longer_than_a_sockets_name_may_be_is_taken() {
    let world = terminal();
    let deep = world.path(&"d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    // The listener binds by a short way to the same place.
    let short = world.path("short");
    std::os::unix::fs::symlink(&deep, &short).unwrap();
    let listener = listen(&short.join("socket"));
    world.ok(&["create", "--console-socket", deep.join("socket").to_str().unwrap(), "c"]);
    assert!(received(&listener).is_some());
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}

/// The process that a descriptor on this socket is for.
fn process(listener: &UnixListener) -> (OwnedFd, i32) {
    let (process, _) = received(listener).expect("a pidfd");
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).unwrap();
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd").trim().parse();
    (process, pid.unwrap())
}

#[test]
fn a_descriptor_for_the_process_is_sent() {
    for verb in [&["run", "-d"][..], &["create"]] {
        let world = World::sleeper();
        let listener = listen(&world.path("socket"));
        world.ok(&[verb, &["--pidfd-socket", &world.text("socket"), "c"]].concat());
        let (process, pid) = process(&listener);
        assert_eq!(pid, world.pid());
        // SAFETY: the descriptor is open, and a null siginfo is allowed.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                process.as_raw_fd(),
                libc::SIGKILL,
                std::ptr::null::<u8>(),
                0,
            )
        };
        assert_eq!(sent, 0);
        until("the end", || (world.status() == "stopped").then_some(()));
        world.ok(&["delete", "c"]);
        world.nothing_remains();
    }
}

#[test]
fn a_descriptor_for_what_is_executed_is_sent() {
    let world = World::sleeper().started();
    let listener = listen(&world.path("socket"));
    let (socket, file) = (world.text("socket"), world.text("pid"));
    world.ok(&["exec", "-d", "--pid-file", &file, "--pidfd-socket", &socket, "c", "sleep", "1000"]);
    assert_eq!(process(&listener).1.to_string(), fs::read_to_string(file).unwrap());
    world.ok(&["delete", "-f", "c"]);
    world.nothing_remains();
}
