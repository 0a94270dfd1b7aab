//! Where the microseconds go: with `KAPSEL_TRACE=FILE` each phase appends `PID NANOSECONDS PHASE` to that file.
//! Off, it costs one look at the environment per start.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
};

/// An open trace, or nothing.
pub struct Trace(Option<File>);

impl Trace {
    /// Opens what `KAPSEL_TRACE` names; a file that cannot be opened is no trace, never an error.
    pub fn from_environment() -> Self {
        Self(std::env::var_os("KAPSEL_TRACE").and_then(|path| {
            let mut options = OpenOptions::new();
            options.append(true).create(true).mode(0o600).custom_flags(libc::O_CLOEXEC).open(path).ok()
        }))
    }

    /// The end of a phase; the clock is CLOCK_MONOTONIC, which every process of the machine shares.
    pub fn mark(&self, phase: &str) {
        let Some(mut file) = self.0.as_ref() else { return };
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a valid timespec for the kernel to fill.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        let line = format!("{} {}{:09} {phase}\n", std::process::id(), now.tv_sec, now.tv_nsec);
        // One write a line keeps lines of several processes whole; a full disk loses the trace only.
        let _ = file.write_all(line.as_bytes());
    }
}
