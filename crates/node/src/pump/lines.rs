//! The monitor's lines as they come in pieces.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use serde::Deserialize;

/// What has come of the next line so far.
#[derive(Default)]
pub struct Lines(Vec<u8>);

impl Lines {
    /// Reads what is there and hands on each whole line; false where the other end is gone.
    pub fn read(&mut self, connection: &OwnedFd, line: &mut dyn FnMut(&str)) -> nix::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            match recv(connection.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) | Err(Errno::ECONNRESET) => return Ok(false),
                Ok(count) => self.take(&buffer[..count], line),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(true),
                Err(errno) => return Err(errno),
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8], line: &mut dyn FnMut(&str)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.0.extend_from_slice(&bytes[..end]);
            line(&String::from_utf8_lossy(&self.0));
            self.0.clear();
            bytes = &bytes[end + 1..];
        }
        self.0.extend_from_slice(bytes);
    }
}

/// Whether this is the monitor's last word: how the program ended, or that it never started.
pub fn is_last(line: &str) -> bool {
    #[derive(Deserialize)]
    struct Head<'a> {
        event: Option<&'a str>,
    }
    serde_json::from_str::<Head<'_>>(line).is_ok_and(|head| matches!(head.event, Some("exited" | "failed")))
}
