//! A connection to a bus, or to systemd itself: authentication, calls and the signals that come in between.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use super::{
    address,
    message::{Kind, Message},
    value::Value,
};

/// How long systemd may take for an answer, or for a job, as in runc.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than any line of the authentication.
const LONGEST_LINE: usize = 1024;

/// What a call came to.
#[derive(Debug)]
pub(super) enum Failure {
    /// The other side refused, with a name such as `org.freedesktop.systemd1.NoSuchUnit` and its words.
    Refused { name: String, message: String },
    /// The connection is of no more use.
    Broken(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was awaited.
    signals: VecDeque<Message>,
}

impl Bus {
    /// Connects to a bus and is given a name there.
    pub(super) fn connect(addresses: &str) -> Result<Self, Failure> {
        let mut bus = Self::connect_directly(addresses)?;
        bus.call(Message::call_of_bus("Hello"))?;
        Ok(bus)
    }

    /// Connects to a service that is itself at the other end.
    pub(super) fn connect_directly(addresses: &str) -> Result<Self, Failure> {
        let mut stream = address::connect(addresses)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        authenticate(&mut stream)?;
        Ok(Self { stream, serial: 0, signals: VecDeque::new() })
    }

    /// Calls a method and waits for its return.
    pub(super) fn call(&mut self, call: Message) -> Result<Message, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let serial = self.send(call)?;
        loop {
            let message = self.receive(deadline)?;
            match message.kind {
                Kind::Signal => self.signals.push_back(message),
                _ if message.reply_serial != Some(serial) => {}
                Kind::Return => return Ok(message),
                Kind::Error => {
                    let values = message.values().unwrap_or_default();
                    let text = values.first().and_then(Value::as_str).unwrap_or_default().to_owned();
                    return Err(Failure::Refused {
                        name: message.error_name.unwrap_or_default(),
                        message: text,
                    });
                }
                Kind::Call => {}
            }
        }
    }

    /// The next signal, one that has already come included.
    pub(super) fn signal(&mut self, deadline: Instant) -> io::Result<Message> {
        loop {
            match self.signals.pop_front() {
                Some(message) => return Ok(message),
                None => {
                    let message = self.receive(deadline)?;
                    self.signals.extend(Some(message).filter(|message| message.kind == Kind::Signal));
                }
            }
        }
    }

    /// Sends a message under a new serial number.
    pub(super) fn send(&mut self, mut message: Message) -> io::Result<u32> {
        self.serial += 1;
        message.serial = self.serial;
        self.stream.write_all(&message.to_bytes())?;
        Ok(self.serial)
    }

    /// The next message of any kind.
    pub(super) fn receive(&mut self, deadline: Instant) -> io::Result<Message> {
        let left = deadline.saturating_duration_since(Instant::now());
        // A time-out of zero would mean none.
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        Message::read(&mut self.stream).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::new(io::ErrorKind::TimedOut, "no answer within thirty seconds")
            }
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it has closed the connection"),
            _ => error,
        })
    }
}

/// EXTERNAL: who we are is what the kernel says of the socket. We claim no user id: in a user namespace ours is another
/// than the one that the other side sees.
///
/// All is said at once, as systemd's own library does: what its server reads together with the BEGIN it forgets until
/// more comes, so the first message must not be sent before it has answered.
fn authenticate(stream: &mut UnixStream) -> io::Result<()> {
    stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
    let mut line = read_line(stream)?;
    if line.starts_with("DATA") {
        line = read_line(stream)?;
    }
    if line.starts_with("OK") {
        return Ok(());
    }
    let refused = format!("it does not let this user in ({line:?})");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, refused))
}

/// Byte by byte: a message may be behind the last line.
fn read_line(stream: &mut UnixStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        if line.len() > LONGEST_LINE || stream.read(&mut byte)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has closed the connection"));
        }
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}
