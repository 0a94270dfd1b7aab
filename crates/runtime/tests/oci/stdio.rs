//! Which descriptors a program has: ours for its streams, those it is to inherit, and no other.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::harness::*;

#[test]
fn streams_that_are_no_terminal_pass_through_untouched() {
    let world = World::new("exec cat");
    let mut run = world.command(&["run", "c"]).stdin(Stdio::piped()).spawn().unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let (mut stdin, mut stdout) = (run.stdin.take().unwrap(), run.stdout.take().unwrap());
    let sent = bytes.clone();
    let sender = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let mut got = Vec::new();
    stdout.read_to_end(&mut got).unwrap();
    sender.join().unwrap();
    assert!(got == bytes && run.wait().unwrap().success());
    world.nothing_remains();
}

#[test]
fn a_created_containers_streams_are_those_of_create() {
    let world = World::new("echo out; echo err >&2; exec sleep 1000");
    let file = File::create(world.path("out")).unwrap();
    let status =
        world.command(&["create", "c"]).stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
    assert!(status.success());
    let of_stdout = std::fs::metadata(format!("/proc/{}/fd/1", world.pid())).unwrap();
    assert_eq!(of_stdout.ino(), std::fs::metadata(world.path("out")).unwrap().ino());
    assert_eq!(world.ok(&["start", "c"]), "");
    until("its words", || (std::fs::read(world.path("out")).unwrap() == b"out\nerr\n").then_some(()));
    world.ok(&["delete", "-f", "c"]);
}

/// Gives the command descriptors from 3 on, each an open file.
fn with_descriptors(command: &mut Command, files: &[&File]) {
    let own: Vec<i32> = files.iter().map(|file| file.as_raw_fd()).collect();
    let place = move || {
        for (number, fd) in (3..).zip(&own) {
            // High enough to be in nobody's way, and then where it belongs.
            // SAFETY: integers only.
            let placed = unsafe { libc::dup2(libc::fcntl(*fd, libc::F_DUPFD, 100), number) };
            if placed != number {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the calls may be made between fork and exec.
    unsafe { command.pre_exec(place) };
}

const LIST: &str = "ls /proc/self/fd | tr '\\n' ' '; echo $LISTEN_FDS $LISTEN_PID; cat <&3";

#[test]
fn no_descriptor_is_inherited_unasked() {
    let world = World::new("ls /proc/self/fd | tr '\\n' ' '");
    let file = File::open("/etc/passwd").unwrap();
    let mut command = world.command(&["run", "c"]);
    with_descriptors(&mut command, &[&file, &file]);
    let said = Said::by(&mut command);
    // The three streams, and the directory that ls reads.
    assert_eq!((said.status, &*said.stdout), (0, "0 1 2 3 "), "{}", said.stderr);
}

#[test]
fn those_to_preserve_are_inherited() {
    let world = World::new(LIST).set("/process/noNewPrivileges", true);
    std::fs::write(world.path("file"), "content\n").unwrap();
    let file = File::open(world.path("file")).unwrap();
    let mut command = world.command(&["run", "--preserve-fds", "2", "c"]);
    with_descriptors(&mut command, &[&file, &file, &file]);
    let said = Said::by(&mut command);
    assert_eq!((said.status, &*said.stdout), (0, "0 1 2 3 4 5 \ncontent\n"), "{}", said.stderr);
    let complaint = world.fails(1, &["run", "--preserve-fds", "90", "c"]);
    assert!(complaint.contains("is not open"), "{complaint}");
    world.nothing_remains();
}

#[test]
fn those_of_socket_activation_are_inherited_and_told_of() {
    let world = World::new(LIST);
    std::fs::write(world.path("file"), "content\n").unwrap();
    let file = File::open(world.path("file")).unwrap();
    let mut command = world.command(&["run", "c"]);
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    with_descriptors(&mut command, &[&file, &file]);
    let said = Said::by(&mut command);
    assert_eq!((said.status, &*said.stdout), (0, "0 1 2 3 4 1 1\ncontent\n"), "{}", said.stderr);
}

#[test]
fn a_joined_program_inherits_what_it_is_to() {
    let world = World::sleeper().started();
    std::fs::write(world.path("file"), "content\n").unwrap();
    let file = File::open(world.path("file")).unwrap();
    let mut command = world.command(&["exec", "--preserve-fds=1", "c", "sh", "-c", LIST]);
    with_descriptors(&mut command, &[&file, &file]);
    let said = Said::by(&mut command);
    assert_eq!((said.status, &*said.stdout), (0, "0 1 2 3 4 \ncontent\n"), "{}", said.stderr);
    world.ok(&["delete", "-f", "c"]);
}

#[test]
fn streams_that_the_caller_has_closed_lead_nowhere() {
    let world =
        World::new("stat -L -c %t:%T /proc/self/fd/0 /proc/self/fd/2 /proc/self/fd/3 3>&1 >/tmp/streams");
    let mut run = world.command(&["run", "c"]);
    let close = || {
        for fd in 0..3 {
            // SAFETY: integers only.
            unsafe { libc::close(fd) };
        }
        Ok(())
    };
    // SAFETY: the calls may be made between fork and exec.
    unsafe { run.pre_exec(close) };
    assert!(run.status().unwrap().success());
    let devices = std::fs::read_to_string(world.inside("tmp/streams")).unwrap();
    assert_eq!(devices, "1:3\n".repeat(3), "each is /dev/null");
    world.nothing_remains();
}

#[test]
fn an_answer_that_nobody_reads_is_an_error() {
    let world = World::new("true");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = world.command(&["features"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(1), "{status}");
}
