//! `events`: what a container uses, once or again and again, and that it ran out of memory.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use kapsel_cgroups::{Cgroup, Metrics};
use kapsel_sandbox::spec::Status;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::Context;
use super::arguments::{Arguments, Flag, switch, usage, value};
use super::container::Container;
use crate::ExitCode;
use crate::error::{Error, Result};
use crate::output;

/// The flags.
pub const FLAGS: &[Flag] = &[switch("stats"), value("interval")];

/// One line; its members are runc's (`types/events.go`).
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

#[derive(Serialize)]
struct Data {
    #[serde(flatten)]
    metrics: Metrics,
    /// Not this runtime's business; the members are expected.
    intel_rdt: Empty,
    network_interfaces: Option<()>,
}

#[derive(Serialize)]
struct Empty {}

/// With `--stats` one line; otherwise one every `--interval` (5s), and one of the type `oom` when memory has run out,
/// until the container has ended.
pub fn events(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let id = arguments.id()?;
    let interval = arguments.text("interval")?.map_or(Ok(Duration::from_secs(5)), duration)?;
    let container = Container::open(&context.store, id)?;
    if container.status() == Status::Stopped {
        let message = format!("container with id {id} is not running");
        return Err(Error::new("CONTAINER_NOT_RUNNING", message));
    }
    let cgroup = container.own_cgroup("read the statistics of")?;
    if arguments.has("stats") {
        return statistics(id, &cgroup);
    }
    let process = container.process()?;
    // This may go on as long as the container does.
    container.entry.unlock();
    let (oom, mut kills) = (cgroup.oom_fd()?, cgroup.oom_kills()?);
    let mut next = Instant::now() + interval;
    loop {
        let mut watched = vec![PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        watched.extend(oom.as_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let ready = match poll(&mut watched, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other.map_err(|errno| Error::io("cannot wait for events", &errno.into()))?,
        };
        let (ended, told) =
            (watched[0].any() == Some(true), watched.get(1).and_then(PollFd::any) == Some(true));
        if told && let Some(fd) = &oom {
            // Otherwise it would go on being readable.
            let _ = nix::unistd::read(fd, &mut [0u8; 4096]);
        }
        let now = cgroup.oom_kills().unwrap_or(kills);
        if now > kills {
            kills = now;
            output(&Event { kind: "oom", id, data: None })?;
        }
        if ended {
            return Ok(ExitCode::SUCCESS);
        }
        if ready == 0 {
            statistics(id, &cgroup)?;
            // What it was too slow for is lost, as a ticker of Go's loses it.
            next = (next + interval).max(Instant::now());
        }
    }
}

fn statistics(id: &str, cgroup: &Cgroup) -> Result<ExitCode> {
    let data = Data { metrics: cgroup.metrics()?, intel_rdt: Empty {}, network_interfaces: None };
    output(&Event { kind: "stats", id, data: Some(data) })
}

/// A length of time as Go writes it: `5s`, `1m30s`, `500ms`.
fn duration(text: &str) -> Result<Duration> {
    const UNITS: [(&str, f64); 6] =
        [("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
    let wrong = || usage(format!("--interval {text:?} is no length of time such as 5s"));
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        let (unit, scale) = UNITS.iter().find(|(unit, _)| rest[end..].starts_with(unit)).ok_or_else(wrong)?;
        seconds += number * scale;
        rest = &rest[end + unit.len()..];
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|length| !length.is_zero()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_gos() {
        for (text, milliseconds) in
            [("5s", 5000), ("1m30s", 90_000), ("250ms", 250), ("1.5s", 1500), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
        for text in ["", "5", "s", "-5s", "0s", "5 s", "1e9s", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
