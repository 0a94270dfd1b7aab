//! Clients and containers that mean harm: the container goes on, the monitor does not grow.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use crate::harness::*;
use crate::run::Memory;

fn victim() -> (Container, Memory) {
    let (mut container, _streams) = World::new("while true; do sleep 0.05; done").start();
    container.client.started();
    std::thread::sleep(Duration::from_millis(200));
    let memory = Memory::of(container.monitor.id());
    (container, memory)
}

/// It still answers, and is hardly larger.
fn survives(mut container: Container, before: &Memory) {
    container.client.asks(&json!({"request": "resize", "columns": 1, "rows": 1}));
    let after = Memory::of(container.monitor.id());
    assert!(after.private < before.private + 512, "{before:?} {after:?}");
    container.kill();
}

fn connect(container: &Container) -> UnixStream {
    let socket = UnixStream::connect(container.world.path("run/control")).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn garbage_is_answered_and_forgotten() {
    let (container, memory) = victim();
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for _ in 0..50 {
        let mut socket = connect(&container);
        let bytes: Vec<u8> = (0..20_000).map(|_| noise()).collect();
        let _ = socket.write_all(&bytes);
        let _ = socket.write_all(&b"[".repeat(60_000));
        let _ = socket.write_all(b"\n{\"request\":\"signal\",\"signal\":1e999}\n\n\n\0\n");
    }
    survives(container, &memory);
}

#[test]
fn a_line_without_end_ends_the_connection() {
    let (container, memory) = victim();
    let mut socket = connect(&container);
    let chunk = [b' '; 4096];
    assert!((0..1000).try_for_each(|_| socket.write_all(&chunk)).is_err());
    survives(container, &memory);
}

#[test]
fn many_unfinished_megabytes_are_not_kept() {
    let (container, memory) = victim();
    let sockets: Vec<UnixStream> = (0..40)
        .map(|_| {
            let mut socket = connect(&container);
            let _ = socket.write_all(b"{\"request\":\"exec\"");
            let _ = socket.write_all(&vec![b' '; 900_000]);
            socket
        })
        .collect();
    let during = Memory::of(container.monitor.id());
    assert!(during.private < memory.private + 8192, "{memory:?} {during:?}");
    drop(sockets);
    // What they made it keep is given back.
    std::thread::sleep(Duration::from_millis(100));
    survives(container, &memory);
}

#[test]
fn thousands_of_connections_are_turned_away() {
    let (container, memory) = victim();
    let mut refused = 0;
    let mut sockets = Vec::new();
    for _ in 0..3000 {
        let Ok(socket) = UnixStream::connect(container.world.path("run/control")) else { continue };
        sockets.push(socket);
        if sockets.len() > 400 {
            let mut text = String::new();
            let mut oldest = sockets.swap_remove(300);
            oldest.set_read_timeout(Some(PATIENCE)).unwrap();
            refused +=
                usize::from(oldest.read_to_string(&mut text).is_ok() && text.contains("TOO_MANY_CLIENTS"));
        }
    }
    assert!(refused > 2000, "{refused}");
    let descriptors = fs::read_dir(format!("/proc/{}/fd", container.monitor.id())).unwrap().count();
    assert!(descriptors < 200, "{descriptors}");
    drop(sockets);
    until("room for a client", || {
        let mut client = Client::new(connect(&container));
        (client.next()["event"] == "started").then_some(())
    });
    survives(container, &memory);
}

#[test]
fn descriptors_nobody_asked_for_are_closed() {
    let (container, memory) = victim();
    let null = fs::File::open("/dev/null").unwrap();
    let count = || fs::read_dir(format!("/proc/{}/fd", container.monitor.id())).unwrap().count();
    let before = count();
    let many = vec![null.as_raw_fd(); 200];
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let socket = connect(&container);
        let _ = try_send_with(&socket, b"{", &many);
        sockets.push(socket);
        // With every byte of a message that never ends.
        let socket = connect(&container);
        for _ in 0..100 {
            if try_send_with(&socket, b" ", &many[..3]).is_err() {
                break;
            }
        }
        sockets.push(socket);
        // With requests that want none.
        let socket = connect(&container);
        for _ in 0..50 {
            let _ =
                try_send_with(&socket, b"{\"request\":\"resize\",\"columns\":1,\"rows\":1}\n", &many[..3]);
        }
        sockets.push(socket);
    }
    until("the descriptors to be closed", || (count() <= before + sockets.len()).then_some(()));
    drop(sockets);
    until("the connections to be closed", || (count() <= before).then_some(()));
    survives(container, &memory);
}

#[test]
fn a_client_that_never_reads_is_dropped() {
    let (container, memory) = victim();
    let mut socket = connect(&container);
    let request = b"{\"request\":\"nonsense that is answered with something longer\"}\n".repeat(100);
    let mut result = Ok(());
    for _ in 0..1000 {
        result = socket.write_all(&request);
        if result.is_err() {
            break;
        }
    }
    assert!(result.is_err());
    survives(container, &memory);
}

#[test]
fn another_user_is_not_listened_to() {
    let (container, memory) = victim();
    // As if somebody had opened the way to the socket.
    let path = container.world.path("run/control");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for path in ["", "run", "run/control"] {
        fs::set_permissions(container.world.path(path), Permissions::from_mode(0o777)).unwrap();
    }
    let other = std::thread::spawn(move || {
        // SAFETY: no pointer is passed. The system call, unlike libc's function, changes this thread only.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 4242, 4242, 4242) }, 0);
        let mut socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = socket.write_all(b"{\"request\":\"signal\",\"signal\":9}\n");
        let mut text = String::new();
        let _ = socket.read_to_string(&mut text);
        text
    });
    assert_eq!(other.join().unwrap(), "");
    survives(container, &memory);
}

#[test]
fn a_container_cannot_make_the_monitor_grow_with_its_output() {
    let (output, stdout) = pipe();
    // The worst for a log: records of seventy bytes for lines of two.
    let mut container = World::new("yes").set("/log/maxSize", 1 << 20).start_with(|client| {
        client.send(&json!({"request": "attach", "stdout": true}), &[stdout.as_raw_fd()]);
    });
    drop(stdout);
    container.client.started();
    std::thread::sleep(Duration::from_millis(200));
    let before = Memory::of(container.monitor.id());
    let mut bytes = vec![0; 1 << 20];
    let mut output = output;
    for _ in 0..5 {
        output.read_exact(&mut bytes).unwrap();
    }
    drop(output);
    survives(container, &before);
}

#[test]
fn the_longest_path_has_a_control_socket_too() {
    let mut world = World::new("true");
    let long = world.path(&format!("run/{}/{}", "d".repeat(200), "e".repeat(200)));
    fs::create_dir_all(&long).unwrap();
    world.launch["runDirectory"] = json!(long);
    let (mut container, _streams) = world.start();
    assert_eq!(container.client.end()["exitCode"], 0);
    container.wait();
    assert!(long.join("exit.json").exists());
}
