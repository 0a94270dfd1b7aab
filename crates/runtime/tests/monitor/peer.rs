//! A client's side: the connection with its descriptors, pipes, and starting a process as the engine does.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::RwLock;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::harness::{PATIENCE, shell};

/// Spawns with `fds` as 3, 4, 5, ….
pub fn spawn(command: &mut Command, fds: &[RawFd]) -> Child {
    let high: Vec<OwnedFd> = fds.iter().map(high).collect();
    let numbers: Vec<RawFd> = high.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: the closure makes system calls only, and touches no lock.
    unsafe {
        command.pre_exec(move || {
            libc::setsid();
            for (fd, place) in numbers.iter().zip(3..) {
                if libc::dup2(*fd, place) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let _nobody_writes = FORK.write().unwrap();
    command.spawn().unwrap()
}

/// A copy with a high number, which is not the place of anything that a child is given.
pub fn high(fd: &impl AsRawFd) -> OwnedFd {
    // SAFETY: no pointer is passed; the result is a new descriptor of ours.
    unsafe { OwnedFd::from_raw_fd(libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100)) }
}

/// Held while a program's file is written, and while a process is forked: between fork and exec it would have a copy of the
/// writing descriptor, and the program could not be executed (ETXTBSY).
pub static FORK: RwLock<()> = RwLock::new(());

/// A document on a descriptor.
pub fn memfd(bytes: &[u8]) -> OwnedFd {
    // SAFETY: the name ends with a NUL byte; the result is a new descriptor of ours.
    let mut file = unsafe {
        File::from_raw_fd(libc::memfd_create(
            c"document".as_ptr(),
            libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING,
        ))
    };
    file.write_all(bytes).unwrap();
    file.into()
}

/// A pipe: its reading and its writing end.
pub fn pipe() -> (File, File) {
    let mut fds = [0; 2];
    // SAFETY: there is room for two descriptors, which are then ours.
    unsafe {
        assert_eq!(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1]))
    }
}

/// Reads to the end on a thread of its own.
pub fn collect(mut from: File) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// A client's ends of what it has attached.
pub struct Streams {
    pub stdin: File,
    pub stdout: JoinHandle<Vec<u8>>,
    pub stderr: JoinHandle<Vec<u8>>,
}

/// A client's side of a connection.
pub struct Client {
    pub socket: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Client {
    pub fn new(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let lines = BufReader::new(socket.try_clone().unwrap());
        Self { socket, lines }
    }

    /// Sends a request with descriptors on its first byte.
    pub fn send(&mut self, request: &Value, fds: &[RawFd]) {
        let text = format!("{request}\n");
        send_with(&self.socket, text.as_bytes(), fds);
    }

    /// The next line; null at the end.
    pub fn next(&mut self) -> Value {
        let mut line = String::new();
        match self.lines.read_line(&mut line).unwrap() {
            0 => Value::Null,
            _ => serde_json::from_str(&line).unwrap(),
        }
    }

    /// The next line about this.
    pub fn until(&mut self, key: &str, value: &str) -> Value {
        loop {
            let line = self.next();
            assert!(!line.is_null(), "the connection ended before {key} {value}");
            if line[key] == value {
                return line;
            }
            assert!(line["event"] != "failed", "{line}");
        }
    }

    pub fn started(&mut self) -> i32 {
        self.until("event", "started")["pid"].as_i64().unwrap() as i32
    }

    /// `exited` or `failed`.
    pub fn end(&mut self) -> Value {
        loop {
            let line = self.next();
            assert!(!line.is_null(), "the connection ended before the container");
            if line["event"] == "exited" || line["event"] == "failed" {
                return line;
            }
        }
    }

    /// Sends a request and gives the reply.
    pub fn ask(&mut self, request: &Value) -> Value {
        self.send(request, &[]);
        loop {
            let line = self.next();
            assert!(!line.is_null(), "no reply to {request}");
            if line.get("reply").is_some() {
                return line;
            }
        }
    }

    pub fn asks(&mut self, request: &Value) {
        assert_eq!(self.ask(request), json!({"reply": "ok"}), "{request}");
    }

    /// Sends a request with all three streams.
    pub fn with_streams(&mut self, mut request: Value) -> Streams {
        let ((stdin, input), (output, stdout), (errors, stderr)) = (pipe(), pipe(), pipe());
        for name in ["stdin", "stdout", "stderr"] {
            request[name] = true.into();
        }
        self.send(&request, &[stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()]);
        Streams { stdin: input, stdout: collect(output), stderr: collect(errors) }
    }

    pub fn attach(&mut self) -> Streams {
        self.with_streams(json!({"request": "attach"}))
    }

    pub fn exec(&mut self, script: &str) -> Streams {
        self.with_streams(json!({"request": "exec", "process": shell(script), "user": "", "detach": false}))
    }
}

/// sendmsg with SCM_RIGHTS.
pub fn send_with(socket: &UnixStream, bytes: &[u8], fds: &[RawFd]) {
    try_send_with(socket, bytes, fds).unwrap();
}

pub fn try_send_with(socket: &UnixStream, bytes: &[u8], fds: &[RawFd]) -> std::io::Result<()> {
    let mut control = [0_u64; 256];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all-zero is a valid msghdr; `control` has room for 253 descriptors and is aligned for a cmsghdr; every pointer
    // outlives the call.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            let size = std::mem::size_of_val(fds) as u32;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(size) as usize;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(header), size as usize);
        }
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    if sent < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let mut rest = &bytes[sent as usize..];
    (&mut &*socket).write_all(std::mem::take(&mut rest))
}
