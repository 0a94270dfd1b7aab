//! What clients ask for, carried out.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kapsel_cgroups::{Cgroup, Stats};
use kapsel_network::namespace::open_path;
use kapsel_sandbox::{Join, Manner, Stdio, join};

use super::Monitor;
use super::connection::End;
use super::epoll::Token;
use super::network::{Network, Networking};
use super::process::{CONTAINER, Ours, Pipes};
use super::start::size;
use super::stdio::{ClientFd, Direction, Sink};
use super::wire::{Event, Exec, Failure, Reply, Request, Resize, Signal, Stop, Streams, line};
use crate::error::{Error, Result};

/// A reply that says no.
pub fn refusal(code: &str, message: &str) -> String {
    line(&Reply::Error { code, message })
}

impl Monitor {
    /// Carries out one line of a client.
    pub fn on_request(&mut self, id: u32, bytes: &[u8]) {
        let result = match Request::read(bytes) {
            Ok(Request::Exec(exec)) => return self.on_exec(id, &exec),
            Ok(Request::Checkpoint(checkpoint)) => match self.checkpoint(id, *checkpoint) {
                // It is answered when it is made.
                Ok(()) => return,
                error => error,
            },
            Ok(Request::Stats) => match self.stats() {
                Ok(stats) => return self.say(id, &line(&Reply::Used { stats })),
                Err(error) => Err(error),
            },
            Ok(request) => self.carry_out(id, request),
            Err(error) => Err(Error::new("REQUEST_INVALID", format!("the request cannot be read: {error}"))),
        };
        let reply = match &result {
            Ok(()) => line(&Reply::Ok),
            Err(error) => refusal(&error.code, &error.message),
        };
        self.say(id, &reply);
    }

    /// Answers a client.
    pub fn say(&mut self, id: u32, text: &str) {
        if self.clients.get_mut(&id).is_some_and(|client| client.connection.say(text).is_err()) {
            self.drop_client(id);
        }
    }

    fn carry_out(&mut self, id: u32, request: Request) -> Result<()> {
        let Some(client) = self.clients.get(&id) else { return Ok(()) };
        let target = client.process;
        match request {
            Request::Attach(streams) => {
                self.bind(id, streams)?;
                self.pace_input(target);
                Ok(())
            }
            Request::Exec(_) | Request::Checkpoint(_) | Request::Stats => Ok(()),
            Request::Resize(Resize { columns, rows }) => match self.processes.get(&target) {
                Some(process) => {
                    process.resize(columns, rows).map_err(|error| Error::io("cannot resize", &error))
                }
                // The container's terminal is yet to be made, and will have this size.
                None if target == CONTAINER && self.ended_at.is_none() => {
                    self.size = Some((columns, rows));
                    Ok(())
                }
                None => Err(not_running()),
            },
            Request::Signal(Signal { signal }) => self.signal(target, signal),
            Request::Stop(Stop { signal, timeout }) => {
                let timeout = timeout.unwrap_or_else(|| f64::from(self.settings.stop_timeout));
                self.signal(target, signal.unwrap_or(self.settings.stop_signal))?;
                self.thaw();
                // Docker: a negative time-out waits for ever.
                let patience = Duration::try_from_secs_f64(timeout).ok();
                if let Some(process) = self.processes.get_mut(&target) {
                    process.kill_at = patience.and_then(|patience| Instant::now().checked_add(patience));
                }
                Ok(())
            }
            Request::Pause => {
                let cgroup = self.running_cgroup()?;
                cgroup.freeze()?;
                self.paused = true;
                Ok(())
            }
            Request::Resume => {
                let cgroup = self.running_cgroup()?;
                cgroup.thaw()?;
                self.paused = false;
                Ok(())
            }
            Request::Update(update) => Ok(self.running_cgroup()?.apply(&update.resources)?),
            Request::Network(network) => self.change_network(network.network),
        }
    }

    /// A container that was on no network is found in its own namespace.
    fn change_network(&mut self, wanted: Networking) -> Result<()> {
        if self.started_at.is_none() || self.ended_at.is_some() {
            return Err(not_running());
        }
        if let Some(network) = &mut self.network {
            return network.change(wanted);
        }
        let pid = self.processes.get(&CONTAINER).ok_or_else(not_running)?.pid;
        let namespace = open_path(&PathBuf::from(format!("/proc/{pid}/ns/net")))?;
        let id = self.settings.run_directory.file_name().unwrap_or_default().to_string_lossy();
        self.network = Some(Network::make(&id, namespace, &wanted, &self.epoll)?);
        Ok(())
    }

    fn stats(&self) -> Result<Stats> {
        Ok(self.running_cgroup()?.stats()?)
    }

    fn running_cgroup(&self) -> Result<&Cgroup> {
        if self.started_at.is_none() || self.ended_at.is_some() {
            return Err(not_running());
        }
        if self.checkpoint.is_some() {
            return Err(busy());
        }
        self.cgroup.as_ref().ok_or_else(|| {
            Error::new(
                "CGROUP_MISSING",
                "this container has no cgroup; give this user a delegated cgroup v2 subtree",
            )
        })
    }

    fn signal(&mut self, target: u32, signal: i32) -> Result<()> {
        if !(1..=64).contains(&signal) {
            return Err(Error::new(
                "SIGNAL_INVALID",
                format!("{signal} is no signal: give a number from 1 to 64"),
            ));
        }
        let process = self.processes.get(&target).ok_or_else(not_running)?;
        process
            .signal(signal)
            .map_err(|error| Error::io(format_args!("cannot send signal {signal}"), &error))?;
        if signal == libc::SIGKILL {
            self.thaw();
        }
        Ok(())
    }

    /// Gives a client the streams of its process.
    fn bind(&mut self, id: u32, streams: Streams) -> Result<()> {
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        let mut take = |wanted: bool| -> Result<Option<OwnedFd>> {
            match (wanted, wanted.then(|| client.connection.take_descriptor()).flatten()) {
                (true, None) => Err(Error::new(
                    "DESCRIPTOR_MISSING",
                    "the request names more streams than it brought descriptors for",
                )),
                (_, fd) => Ok(fd),
            }
        };
        let [stdin, stdout, stderr] = [take(streams.stdin)?, take(streams.stdout)?, take(streams.stderr)?];
        if client.bound {
            return Err(Error::new("ALREADY_ATTACHED", "a connection attaches once: make another one"));
        }
        let unusable = |what: &str| {
            let what = format!("cannot use the descriptor given as {what}");
            move |error: std::io::Error| Error::io(what, &error)
        };
        let epoll = &self.epoll;
        let sink = |fd: OwnedFd, part: u8| {
            ClientFd::new(fd, Direction::Out, epoll, Token::Sink(id, part)).map(Sink::new)
        };
        let stdin = stdin.map(|fd| ClientFd::new(fd, Direction::In, epoll, Token::Source(id)));
        let stdin = stdin.transpose().map_err(unusable("stdin"))?;
        let stdout = stdout.map(|fd| sink(fd, 0)).transpose().map_err(unusable("stdout"))?;
        let stderr = stderr.map(|fd| sink(fd, 1)).transpose().map_err(unusable("stderr"))?;
        client.bound = true;
        client.source = stdin;
        client.sinks = [stdout, stderr];
        Ok(())
    }

    /// A further process, or the reason why there is none.
    fn on_exec(&mut self, id: u32, exec: &Exec) {
        if let Err(failure) = self.exec(id, exec) {
            let failed = line(&Event::Failed(failure).of_exec());
            let told = match self.clients.get_mut(&id) {
                Some(client) => client.finish(failed),
                None => Err(End::Closed),
            };
            if told.is_err() {
                self.drop_client(id);
            }
        }
    }

    fn exec(&mut self, id: u32, exec: &Exec) -> std::result::Result<(), Failure> {
        let engine = |error: Error| Failure { exit_code: 125, error };
        let streams = if exec.detach { Streams::default() } else { exec.streams };
        self.bind(id, streams).map_err(engine)?;
        let Some(container) = self.processes.get(&CONTAINER).filter(|_| self.started_at.is_some()) else {
            return Err(engine(not_running()));
        };
        if self.checkpoint.is_some() {
            return Err(engine(busy()));
        }
        if self.paused {
            let message = "the container is paused: resume it before executing something in it";
            return Err(engine(Error::new("CONTAINER_PAUSED", message)));
        }
        let entry =
            self.cgroup.as_ref().map(Cgroup::entry).transpose().map_err(|error| engine(error.into()))?;
        let pipes = if exec.process.terminal && !exec.detach {
            None
        } else {
            Some(Pipes::new(streams.stdin, streams.stdout, streams.stderr).map_err(engine)?)
        };
        let (columns, rows) = size(&exec.process).unwrap_or((80, 24));
        let launched = join(&Join {
            target: container.pidfd(),
            process: &exec.process,
            linux: None,
            user: &exec.user,
            group_add: &exec.group_add,
            seccomp: self.seccomp.as_ref(),
            listener: self.listener.as_ref(),
            cgroup: entry.as_ref(),
            stdio: pipes.as_ref().map_or(Stdio::Terminal { columns, rows }, Pipes::stdio),
            manner: Manner::default(),
        })
        .map_err(|error| Failure { exit_code: error.exit_code(), error: error.into() })?;
        let ours = pipes.map_or_else(Ours::default, Pipes::keep_ours);
        let process = self.new_id();
        if let Some(client) = self.clients.get_mut(&id) {
            client.process = process;
        }
        self.adopt(launched, ours, process, Some(id)).map_err(engine)
    }
}

/// Nothing may change while CRIU looks.
pub fn busy() -> Error {
    Error::new("CHECKPOINT_UNDER_WAY", "a checkpoint of the container is being made: wait for it")
}

/// It has not started, or has ended.
pub fn not_running() -> Error {
    Error::new("CONTAINER_NOT_RUNNING", "the container is not running")
}
