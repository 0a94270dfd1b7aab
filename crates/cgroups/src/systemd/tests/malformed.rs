//! Somebody at the other end who answers nonsense: every time one error, at once.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    thread,
};

use crate::systemd::{
    manager::Manager,
    message::{Kind, Message},
    value::Value,
};

/// What the other end makes of a connection.
type Answer = fn(&mut UnixStream);

/// Starts a unit with someone at the other end; gives the error.
fn error(answer: Answer) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || answer(&mut listener.accept().unwrap().0));
    let manager = Manager::at(&format!("unix:path={}", path.display()), None);
    let result = manager.and_then(|mut manager| manager.start("a.scope", Vec::new()));
    server.join().unwrap();
    let error = result.unwrap_err();
    assert_eq!(error.code(), "CGROUP_SYSTEMD_FAILED");
    error.to_string()
}

fn line(stream: &mut UnixStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") && stream.read(&mut byte).unwrap() == 1 {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// Hears how the client introduces itself.
fn hear(stream: &mut UnixStream) {
    let lines = [line(stream), line(stream), line(stream)];
    assert_eq!(lines, ["\0AUTH EXTERNAL\r\n", "DATA\r\n", "BEGIN\r\n"]);
}

/// Lets it in, with the detour that a bus takes when nobody claims to be someone.
fn welcome(stream: &mut UnixStream) {
    hear(stream);
    stream.write_all(b"DATA\r\nOK 0123456789abcdef\r\n").unwrap();
}

fn reply(stream: &mut UnixStream, values: &[Value]) {
    let call = Message::read(stream).unwrap();
    let reply =
        Message { kind: Kind::Return, serial: 1, reply_serial: Some(call.serial), ..Message::default() };
    stream.write_all(&reply.with(values).to_bytes()).unwrap();
}

/// Says Hello and takes the match; the next call is StartTransientUnit.
fn prepare(stream: &mut UnixStream) {
    welcome(stream);
    reply(stream, &[Value::string(":1.1")]);
    reply(stream, &[]);
}

fn removed(stream: &mut UnixStream, values: &[Value]) {
    let signal = Message {
        kind: Kind::Signal,
        serial: 2,
        destination: None,
        ..Message::call("", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "JobRemoved")
    };
    stream.write_all(&signal.with(values).to_bytes()).unwrap();
}

#[test]
fn who_is_not_let_in_is_told() {
    let seen = error(|stream| {
        hear(stream);
        stream.write_all(b"REJECTED ANONYMOUS\r\n").unwrap();
    });
    assert!(seen.contains("REJECTED ANONYMOUS") && seen.contains("cgroupfs driver"), "{seen}");
    let seen = error(hear);
    assert!(seen.contains("closed the connection"), "{seen}");
    let endless = error(|stream| {
        // Until the client has had enough.
        while stream.write_all(&[b'a'; 1024]).is_ok() {}
    });
    assert!(endless.contains("cannot reach systemd"), "{endless}");
}

#[test]
fn an_answer_that_is_no_message_is_one_error() {
    let seen = error(|stream| {
        welcome(stream);
        Message::read(stream).unwrap();
        stream.write_all(&[0xff; 64]).unwrap();
    });
    assert!(seen.contains("malformed"), "{seen}");
    let cut_off = error(|stream| {
        welcome(stream);
        let call = Message::read(stream).unwrap();
        let reply =
            Message { kind: Kind::Return, serial: 1, reply_serial: Some(call.serial), ..Message::default() };
        stream.write_all(&reply.to_bytes()[..20]).unwrap();
    });
    assert!(cut_off.contains("closed the connection"), "{cut_off}");
}

#[test]
fn a_job_that_is_none_and_one_that_fails_are_errors() {
    let no_path = error(|stream| {
        prepare(stream);
        reply(stream, &[Value::U32(1)]);
    });
    assert!(no_path.contains("cannot start a.scope: a malformed"), "{no_path}");
    let odd = error(|stream| {
        prepare(stream);
        reply(stream, &[Value::Path("/job/1".to_owned())]);
        removed(stream, &[Value::U32(1)]);
    });
    assert!(odd.contains("malformed"), "{odd}");
    let failed = error(|stream| {
        prepare(stream);
        reply(stream, &[Value::Path("/job/1".to_owned())]);
        let job = |job: &str, result: &str| {
            [Value::U32(1), Value::Path(job.to_owned()), Value::string("a.scope"), Value::string(result)]
        };
        removed(stream, &job("/job/2", "done"));
        removed(stream, &job("/job/1", "failed"));
        // ResetFailedUnit
        reply(stream, &[]);
    });
    assert!(failed.contains("cannot start a.scope: its job ended as \"failed\""), "{failed}");
}
