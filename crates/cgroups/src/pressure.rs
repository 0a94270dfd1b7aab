//! Pressure stall information: how much time is lost for want of processors, memory and devices.

use serde::Serialize;

use crate::{Error, directory::Directory};

/// The pressure on a cgroup; what the kernel does not measure (no v2 tree, no PSI, or switched off) is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// For want of a processor.
    pub cpu: Option<Stall>,
    /// For want of memory.
    pub memory: Option<Stall>,
    /// Waiting for devices.
    pub io: Option<Stall>,
}

/// Time lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stall {
    /// While at least one task waited.
    pub some: StallTime,
    /// While all tasks waited.
    pub full: StallTime,
}

/// Shares in percent, and a total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StallTime {
    /// Of the last ten seconds.
    pub avg10: f64,
    /// Of the last minute.
    pub avg60: f64,
    /// Of the last five minutes.
    pub avg300: f64,
    /// Microseconds since the cgroup was made.
    pub total: u64,
}

pub(crate) fn read(directories: &[Directory]) -> Result<Pressure, Error> {
    let Some(directory) = directories.iter().find(|directory| directory.mount.unified) else {
        return Ok(Pressure::default());
    };
    let stall = |file: &str| match directory.read(file) {
        Ok(text) => Ok(Some(Stall { some: time(&text, "some"), full: time(&text, "full") })),
        // No PSI in this kernel, or not for this cgroup (cgroup.pressure).
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) => Ok(None),
        Err(error) => Err(directory.error("read", file, error)),
    };
    Ok(Pressure { cpu: stall("cpu.pressure")?, memory: stall("memory.pressure")?, io: stall("io.pressure")? })
}

/// The line of that name: `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn time(text: &str, name: &str) -> StallTime {
    let mut time = StallTime::default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_default();
    for (key, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
        let share = || value.parse().unwrap_or(0.0);
        match key {
            "avg10" => time.avg10 = share(),
            "avg60" => time.avg60 = share(),
            "avg300" => time.avg300 = share(),
            "total" => time.total = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read_and_a_missing_one_is_zero() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=42\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(time(text, "some"), StallTime { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 42 });
        assert_eq!(time(text, "full"), StallTime { avg10: 0.5, avg60: 0.0, avg300: 0.0, total: 7 });
        assert_eq!(time("some avg10=1.00\n", "full"), StallTime::default());
    }
}
