//! The pump: this process's stdio to and from a container, on one thread, until the container has ended.
//!
//! One poll loop over the relays and the connection. What ends it: the monitor's last event (then what is in the
//! pipes is still written), the detach keys, an output nobody reads any more, or, without a connection, the end of
//! the outputs. An input that stays open never does.

mod detach;
mod lines;
mod relay;

use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use napi::Status;
use napi::bindgen_prelude::{Env, Object, Uint8Array};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::descriptors::duplicate;
use crate::outcome::Failure;
use crate::settle::on_a_thread;

use detach::DetachKeys;
use lines::Lines;
use relay::{Relay, Step};

/// Called with each line of the monitor's that is not the last; does not keep Node alive by itself.
type OnEvent = ThreadsafeFunction<String, (), String, Status, false, true>;

/// See `PumpOptions` in src/native.ts.
#[napi(object, object_to_js = false)]
pub struct PumpOptions {
    /// To the monitor; the caller's.
    pub connection: Option<RawFd>,
    /// The container's; the pump's to close.
    pub stdin: Option<RawFd>,
    /// The container's; the pump's to close.
    pub stdout: Option<RawFd>,
    /// The container's; the pump's to close.
    pub stderr: Option<RawFd>,
    /// Whether to look for the detach keys.
    pub terminal: bool,
    /// Bytes; Docker's ctrl-p, ctrl-q unless given.
    pub detach_keys: Option<Uint8Array>,
    /// This process's, 0 unless given.
    pub input: Option<RawFd>,
    /// This process's, 1 unless given.
    pub output: Option<RawFd>,
    /// This process's, 2 unless given.
    pub error_output: Option<RawFd>,
}

/// Resolves with every line there was, the last one last.
#[napi]
pub fn pump(env: &Env, options: PumpOptions, on_event: OnEvent) -> napi::Result<Object<'_>> {
    let prepared = Pump::new(&options);
    on_a_thread(env, move || {
        let mut pump = prepared?;
        let mut seen = Vec::new();
        let outcome = pump.run(&mut |line| {
            seen.push(line.to_owned());
            on_event.call(line.to_owned(), ThreadsafeFunctionCallMode::NonBlocking);
        });
        let last = outcome.map_err(|errno| Failure::system("copy the container's streams", errno))?;
        seen.push(last);
        Ok(seen)
    })
}

struct Pump {
    connection: Option<OwnedFd>,
    lines: Lines,
    input: Option<Relay>,
    outputs: Vec<Relay>,
}

impl Pump {
    /// Takes the container's descriptors over, whatever happens next.
    fn new(options: &PumpOptions) -> Result<Self, Failure> {
        let (stdin, stdout, stderr) = (own(options.stdin), own(options.stdout), own(options.stderr));
        let connection = options.connection.map(duplicate).transpose()?;
        let keys = if options.terminal { DetachKeys::new(options.detach_keys.as_deref()) } else { None };
        let failed = |errno| Failure::system("prepare to copy the container's streams", errno);
        let input = match stdin {
            Some(sink) => {
                Some(Relay::input(duplicate(options.input.unwrap_or(0))?, sink, keys).map_err(failed)?)
            }
            None => None,
        };
        let mut outputs = Vec::new();
        for (source, sink) in
            [(stdout, options.output.unwrap_or(1)), (stderr, options.error_output.unwrap_or(2))]
        {
            if let Some(source) = source {
                outputs.push(Relay::output(source, duplicate(sink)?).map_err(failed)?);
            }
        }
        Ok(Self { connection, lines: Lines::default(), input, outputs })
    }

    /// Returns the last event's line.
    fn run(&mut self, tell: &mut dyn FnMut(&str)) -> nix::Result<String> {
        let (has_connection, has_outputs) = (self.connection.is_some(), !self.outputs.is_empty());
        let mut last: Option<String> = None;
        loop {
            match &last {
                Some(line) if self.outputs.is_empty() => return Ok(line.clone()),
                None if !has_connection
                    && self.outputs.is_empty()
                    && (has_outputs || self.input.is_none()) =>
                {
                    return Ok(event("ended"));
                }
                _ => {}
            }
            // Before its last event the monitor has written everything: what is not there now never comes.
            let ready = self.wait(if last.is_some() { PollTimeout::ZERO } else { PollTimeout::NONE })?;
            if let Some(line) = &last
                && !ready.outputs.iter().any(|ready| *ready)
            {
                return Ok(line.clone());
            }
            if ready.connection {
                last = self.listen(tell)?.or(last);
            }
            if ready.input_closed {
                self.input = None;
            } else if ready.input {
                match self.input.as_mut().map(Relay::step).transpose()? {
                    Some(Step::Detached) => return Ok(event("detached")),
                    Some(Step::SourceEnded | Step::SinkClosed) => self.input = None,
                    Some(Step::Moved) | None => {}
                }
            }
            for index in (0..self.outputs.len()).rev().filter(|index| ready.outputs[*index]) {
                match self.outputs[index].step()? {
                    Step::SinkClosed if last.is_none() => return Ok(event("closed")),
                    Step::SourceEnded | Step::SinkClosed => drop(self.outputs.remove(index)),
                    Step::Moved | Step::Detached => {}
                }
            }
        }
    }

    /// Reads what the monitor says; its last event, or that it is gone, ends the wait.
    fn listen(&mut self, tell: &mut dyn FnMut(&str)) -> nix::Result<Option<String>> {
        let Some(connection) = &self.connection else { return Ok(None) };
        let mut last = None;
        let open = self.lines.read(connection, &mut |line| {
            if last.is_none() && lines::is_last(line) {
                last = Some(line.to_owned());
            } else if last.is_none() {
                tell(line);
            }
        })?;
        if !open && last.is_none() {
            last = Some(event("lost"));
        }
        if last.is_some() {
            self.connection = None;
            self.input = None;
        }
        Ok(last)
    }

    /// Waits until something can be done. What was read and is still to be written is waited for without limit.
    fn wait(&self, timeout: PollTimeout) -> nix::Result<Ready> {
        let timeout = if self.outputs.iter().any(Relay::is_writing) { PollTimeout::NONE } else { timeout };
        let connection = self.connection.iter().map(|fd| (fd.as_fd(), PollFlags::POLLIN));
        // A program that closes its stdin, or ends, shows as an error on the pipe, also while nothing is typed.
        let input = self.input.iter().flat_map(|relay| [relay.wants(), (relay.sink(), PollFlags::empty())]);
        let outputs = self.outputs.iter().map(Relay::wants);
        let wanted = connection.chain(input).chain(outputs);
        let mut fds: Vec<_> = wanted.map(|(fd, flags)| PollFd::new(fd, flags)).collect();
        loop {
            match poll(&mut fds, timeout) {
                Ok(_) => break,
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
        let mut happened = fds.iter().map(|fd| fd.any().unwrap_or(true));
        let mut next = |asked: bool| asked && happened.next().unwrap_or(false);
        Ok(Ready {
            connection: next(self.connection.is_some()),
            input: next(self.input.is_some()),
            input_closed: next(self.input.is_some()),
            outputs: happened.collect(),
        })
    }
}

/// What the relays and the connection can do without waiting.
struct Ready {
    connection: bool,
    input: bool,
    input_closed: bool,
    outputs: Vec<bool>,
}

/// A container's descriptor, from now on the pump's.
fn own(fd: Option<RawFd>) -> Option<OwnedFd> {
    // SAFETY: `src/native.ts` gives these away: nothing else closes or uses the number from here on.
    fd.filter(|fd| *fd >= 0).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

fn event(name: &str) -> String {
    format!(r#"{{"event":"{name}"}}"#)
}
