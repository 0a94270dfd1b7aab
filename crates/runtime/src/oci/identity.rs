//! Where a container is in its life, asked of the kernel every time: nothing that is written down could stay true.

use std::fs;
use std::os::fd::{FromRawFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A process as no other can be mistaken for: its id and when it started, in clock ticks since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its id in our PID namespace.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat.
    pub start_time: u64,
}

impl Identity {
    /// Of a process that exists.
    pub fn of(pid: i32) -> Result<Self> {
        let (_, start_time) = stat(pid)
            .ok_or_else(|| Error::new("CONTAINER_NOT_RUNNING", format!("process {pid} has ended already")))?;
        Ok(Self { pid, start_time })
    }

    /// Whether it lives: one that has ended and only waits to be reaped does not.
    pub fn is_alive(self) -> bool {
        stat(self.pid)
            .is_some_and(|(state, start_time)| start_time == self.start_time && !matches!(state, 'Z' | 'X'))
    }

    /// A descriptor for it; none where it has ended. Whoever uses the descriptor can hit no stranger with its number.
    pub fn open(self) -> Option<OwnedFd> {
        // SAFETY: no pointer is passed.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid, 0) };
        if fd < 0 {
            return None;
        }
        // SAFETY: the kernel has just given this descriptor to us and nobody else knows its number.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // Asked after it was opened: had the number changed hands before, its start time would have too.
        self.is_alive().then_some(fd)
    }
}

/// State and start time. The name in between may hold anything, parentheses included.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &text[text.rfind(')')? + 2..];
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_means_somebody_else_is_nobody() {
        let own = Identity::of(std::process::id() as i32).unwrap();
        assert!(own.is_alive() && own.open().is_some());
        let other = Identity { start_time: own.start_time + 1, ..own };
        assert!(!other.is_alive() && other.open().is_none());
        assert!(Identity::of(i32::MAX).is_err());
    }
}
