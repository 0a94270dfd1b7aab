//! Bytes in and out: complete, in order, without blocking and without touching what the client lends.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

use serde_json::json;

use crate::harness::*;

#[test]
fn ten_megabytes_on_both_streams_arrive_whole_and_in_order_and_are_logged() {
    let script = "seq 1 400000 & seq 400001 800000 >&2; wait";
    let (container, event, stdout, stderr) = World::new(script).run();
    assert_eq!(event["exitCode"], 0);
    let numbers = |from: u32, to: u32| (from..=to).map(|number| format!("{number}\n")).collect::<String>();
    assert!(stdout == numbers(1, 400_000) && stderr == numbers(400_001, 800_000));
    assert!(container.log() == (stdout, stderr));
}

#[test]
fn what_was_written_just_before_the_end_is_not_lost() {
    for _ in 0..10 {
        let (_container, _, stdout, _) = World::new("dd if=/dev/zero bs=60000 count=1 2>/dev/null").run();
        assert_eq!(stdout.len(), 60_000);
    }
}

#[test]
fn stdin_is_passed_on_and_its_end_too() {
    let (mut container, mut streams) = World::new("cat; echo end").set("/stdin", true).start();
    let text = "line of text\n".repeat(100_000);
    streams.stdin.write_all(text.as_bytes()).unwrap();
    drop(streams.stdin);
    assert_eq!(container.client.end()["exitCode"], 0);
    assert_eq!(String::from_utf8(streams.stdout.join().unwrap()).unwrap(), text + "end\n");
    container.wait();
}

#[test]
fn a_file_as_stdin_is_read_to_its_end() {
    let world = World::new("wc -c").set("/stdin", true);
    let path = world.path("input");
    fs::write(&path, vec![b'x'; 1_000_000]).unwrap();
    let mut input = File::open(&path).unwrap();
    input.seek(SeekFrom::Start(1000)).unwrap();
    let (output, stdout) = pipe();
    let mut container = world.start_with(|client| {
        let request = json!({"request": "attach", "stdin": true, "stdout": true});
        client.send(&request, &[input.as_raw_fd(), stdout.as_raw_fd()]);
    });
    drop(stdout);
    assert_eq!(container.client.end()["exitCode"], 0);
    assert_eq!(collect(output).join().unwrap(), b"999000\n");
    container.wait();
}

#[test]
fn a_program_that_does_not_read_its_stdin_ends_all_the_same() {
    let (mut container, mut streams) = World::new("exit 4").set("/stdin", true).start();
    let writer = std::thread::spawn(move || while streams.stdin.write_all(&[0; 4096]).is_ok() {});
    assert_eq!(container.client.end()["exitCode"], 4);
    container.wait();
    writer.join().unwrap();
}

#[test]
fn a_client_learns_that_its_stdin_is_not_read_any_more() {
    let (mut container, mut streams) =
        World::new("exec 0<&-; while true; do sleep 0.05; done").set("/stdin", true).start();
    container.client.started();
    let mut poll = libc::pollfd { fd: streams.stdin.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one pollfd, and the kernel is told that it is one.
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, PATIENCE.as_millis() as i32) }, 1);
    assert!(streams.stdin.write_all(b"x").is_err());
    container.kill();
}

#[test]
fn stdin_without_a_client_stays_open_and_ends_with_the_last_one() {
    let mut container = World::new("cat > /dev/null; echo end").set("/stdin", true).start_with(|_| {});
    container.client.started();
    std::thread::sleep(Duration::from_millis(50));
    let mut second = container.connect();
    let streams = second.attach();
    second.until("reply", "ok");
    drop(second);
    assert_eq!(container.client.end()["exitCode"], 0);
    drop(streams.stdin);
    container.wait();
    assert_eq!(container.log().0, "end\n");
}

#[test]
fn a_file_as_stdout_is_appended_to_where_its_owner_is() {
    let world = World::new("echo two; echo three >&2");
    let path = world.path("output");
    let mut output = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    output.write_all(b"one\n").unwrap();
    let mut container = world.start_with(|client| {
        let request = json!({"request": "attach", "stdout": true, "stderr": true});
        client.send(&request, &[output.as_raw_fd(), output.as_raw_fd()]);
    });
    container.client.end();
    output.write_all(b"four\n").unwrap();
    container.wait();
    let text = fs::read_to_string(path).unwrap();
    assert!(
        text.starts_with("one\n")
            && text.ends_with("four\n")
            && text.contains("two\n")
            && text.contains("three\n")
    );
}

#[test]
fn a_clients_descriptors_keep_their_flags() {
    let flags = |file: &File| {
        // SAFETY: no pointer is passed.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) }
    };
    let ((stdin, input), (output, stdout)) = (pipe(), pipe());
    let before = (flags(&stdin), flags(&stdout));
    let mut container = World::new("cat").set("/stdin", true).start_with(|client| {
        let request = json!({"request": "attach", "stdin": true, "stdout": true});
        client.send(&request, &[stdin.as_raw_fd(), stdout.as_raw_fd()]);
    });
    container.client.started();
    (&input).write_all(b"x").unwrap();
    (&output).read_exact(&mut [0]).unwrap();
    assert_eq!(before, (flags(&stdin), flags(&stdout)));
    drop(input);
    container.client.end();
    container.wait();
}

#[test]
fn sockets_and_dev_null_will_do_as_streams() {
    use std::os::unix::net::UnixStream;
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let mut container =
        World::new("cat; seq 1 100000; echo x >&2").set("/stdin", true).start_with(|client| {
            let request = json!({"request": "attach", "stdin": true, "stdout": true, "stderr": true});
            client.send(&request, &[null.as_raw_fd(), theirs.as_raw_fd(), null.as_raw_fd()]);
        });
    drop(theirs);
    let mut text = String::new();
    ours.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("\n100000\n"));
    assert_eq!(container.client.end()["exitCode"], 0);
    container.wait();
}

#[test]
fn a_terminal_has_the_size_asked_for_before_and_after_the_start() {
    let script = "stty size; trap 'stty size; exit 0' WINCH; echo ready; while true; do sleep 0.05; done";
    let mut streams = None;
    let mut container = World::new(script).terminal().set("/stdin", true).start_with(|client| {
        streams = Some(client.attach());
        client.send(&json!({"request": "resize", "columns": 101, "rows": 31}), &[]);
    });
    container.client.started();
    until("the terminal's first size", || container.log().0.contains("ready").then_some(()));
    container.client.asks(&json!({"request": "resize", "columns": 202, "rows": 52}));
    assert_eq!(container.client.end()["exitCode"], 0);
    let streams = streams.unwrap();
    drop(streams.stdin);
    assert_eq!(String::from_utf8(streams.stdout.join().unwrap()).unwrap(), "31 101\r\nready\r\n52 202\r\n");
    container.wait();
}

#[test]
fn a_terminal_takes_input_and_interrupts() {
    let script = "trap 'echo interrupted; exit 9' INT; echo ready; read line; echo \"got $line\"; read line";
    let (mut container, mut streams) = World::new(script).terminal().set("/stdin", true).start();
    streams.stdin.write_all(b"hello\n").unwrap();
    until("the answer", || container.log().0.contains("got hello").then_some(()));
    streams.stdin.write_all(b"\x03").unwrap();
    assert_eq!(container.client.end()["exitCode"], 9);
    drop(streams.stdin);
    assert!(String::from_utf8(streams.stdout.join().unwrap()).unwrap().ends_with("interrupted\r\n"));
    container.wait();
}

#[test]
fn a_slow_client_holds_the_container_back_and_a_dead_one_does_not() {
    let script = "dd if=/dev/zero bs=65536 count=160 2>/dev/null; echo done >&2";
    let (output, stdout) = pipe();
    let mut container = World::new(script).start_with(|client| {
        client.send(&json!({"request": "attach", "stdout": true}), &[stdout.as_raw_fd()]);
    });
    drop(stdout);
    container.client.started();
    std::thread::sleep(Duration::from_millis(200));
    let logged = fs::metadata(container.world.path("container/log")).unwrap().len();
    // Its pipe, the container's pipe and one read; each byte is six in the log.
    assert!(logged < 6 * 3 * 65_536 + 65_536, "{logged}");
    drop(output);
    assert_eq!(container.client.end()["exitCode"], 0);
    container.wait();
    assert_eq!(container.log().1, "done\n");
}

#[test]
fn a_client_that_reads_late_still_gets_everything_and_the_record_does_not_wait() {
    let (mut output, stdout) = pipe();
    let mut container = World::new("dd if=/dev/zero bs=100000 count=1 2>/dev/null").start_with(|client| {
        client.send(&json!({"request": "attach", "stdout": true}), &[stdout.as_raw_fd()]);
    });
    drop(stdout);
    let record = container.world.path("run/exit.json");
    until("the record", || record.exists().then_some(()));
    assert!(container.monitor.try_wait().unwrap().is_none());
    std::thread::sleep(Duration::from_millis(50));
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 100_000);
    assert_eq!(container.client.end()["exitCode"], 0);
    container.wait();
}

#[test]
fn a_stray_that_holds_the_pipe_does_not_delay_the_end() {
    // In the host's PID namespace nothing dies with PID 1 but what is in its cgroup.
    let world = World::new("sleep 100 & sleep 100 >/dev/null & echo here; exit 5");
    let namespaces =
        json!([{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}, {"type": "cgroup"}]);
    let (container, event, stdout, _) = world.set("/config/linux/namespaces", namespaces).run();
    assert_eq!((&event["exitCode"], stdout.as_str()), (&json!(5), "here\n"));
    assert!(container.cgroups().is_empty());
}

#[test]
fn a_full_client_disk_costs_that_client_only() {
    // SAFETY: the path ends with a NUL byte; the result is a new descriptor of ours.
    let full =
        unsafe { File::from_raw_fd(libc::open(c"/dev/full".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC)) };
    let mut container = World::new("seq 1 1000").start_with(|client| {
        client.send(&json!({"request": "attach", "stdout": true}), &[full.as_raw_fd()]);
    });
    assert_eq!(container.client.end()["exitCode"], 0);
    container.wait();
    assert!(container.log().0.ends_with("\n1000\n"));
}
