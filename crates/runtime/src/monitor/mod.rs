//! The monitor: one thread and one epoll, the parent of a container and of everything `exec` starts in it.
//!
//! It owns stdio or the terminal, the log, the control socket and the exit record. It lives as long as the container, is
//! about a megabyte, and must survive whatever its clients and the container do.
//!
//! - [`settled`](self::settled): before there is a container
//! - [`spare`](self::spare): what can be made before there is a Launch
//! - [`start`](self::start): from a Launch to a running container
//! - [`streams`](self::streams): bytes
//! - [`network`](self::network): the container's networks
//! - [`requests`](self::requests): what clients ask for
//! - [`checkpoint`](self::checkpoint): CRIU
//! - [`finish`](self::finish): from the container's end to the monitor's own

mod checkpoint;
mod client;
mod connection;
mod control;
mod epoll;
mod finish;
mod log;
mod network;
mod process;
mod requests;
mod settled;
mod setup;
mod spare;
mod start;
mod stdio;
mod streams;
mod wire;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kapsel_cgroups::Cgroup;
use kapsel_sandbox::{Listener, Trace};
use kapsel_seccomp::Program;

pub use log::LogOptions;
pub(crate) use setup::let_go_of_stdio;

use self::checkpoint::Checkpoint;
use self::client::Client;
use self::control::Control;
use self::epoll::{Epoll, Token, Watched};
use self::finish::Outcome;
use self::log::Log;
use self::network::Network;
use self::process::{CONTAINER, Process};
use self::settled::Settled;
use self::spare::Place;
use self::streams::CHUNK;
use self::wire::{Event, Exit, Failure, line};
use crate::ExitCode;
use crate::clock::Timestamp;
use crate::document::Lines;
use crate::error::{Error, Result};
use crate::launch::Launch;
use crate::rootless::{self, Hub};

/// How long after the start memory is given back: a container that has ended by then need not wait for it.
const SETTLING: Duration = Duration::from_millis(100);
/// How long a client that does not read its last event is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is left of the Launch once the container has started.
struct Settings {
    run_directory: PathBuf,
    stop_signal: i32,
    stop_timeout: u32,
    remove_on_exit: Vec<PathBuf>,
}

/// Everything a monitor holds.
struct Monitor {
    epoll: Epoll,
    signals: Watched,
    settings: Settings,
    lock: OwnedFd,
    control: Option<Control>,
    cgroup: Option<Cgroup>,
    /// An ordinary user's, where the bridges are; and its holder in the epoll.
    hub: Option<(Hub, Watched)>,
    network: Option<Network>,
    seccomp: Option<Program>,
    /// Who answers the filter, where it asks.
    listener: Option<Listener>,
    log: Option<Log>,
    processes: BTreeMap<u32, Process>,
    clients: BTreeMap<u32, Client>,
    /// The next id of a process or a client; 0 is the container's first process.
    next_id: u32,
    started_at: Option<Timestamp>,
    paused: bool,
    checkpoint: Option<Checkpoint>,
    /// What the container's streams were when it began, for a checkpoint.
    streams: Vec<String>,
    /// Columns and rows that a client asked for before there was a terminal.
    size: Option<(u16, u16)>,
    /// When to give back what only the start needed.
    trim_at: Option<Instant>,
    /// When the container had ended and everybody had been told who would listen.
    ended_at: Option<Instant>,
    /// Where reads go.
    buffer: Box<[u8]>,
    trace: Trace,
}

/// `kapsel-runtime monitor [spare]`.
pub fn run(arguments: &[OsString]) -> Result<ExitCode> {
    setup::close_others();
    let trace = Trace::from_environment();
    trace.mark("monitor");
    let is_safe = rootless::cannot_write_executable();
    let mut documents = setup::documents()?;
    if arguments.first().is_some_and(|word| word == "spare") {
        return spare::run(documents, is_safe, trace);
    }
    let launch = documents.next().and_then(|json| match json {
        Some(json) => Launch::parse(&json),
        None => {
            Err(Error::new("LAUNCH_MISSING", "there is no Launch on fd 3: who started this monitor has gone"))
        }
    });
    let settled = Settled::new(is_safe, rootless::enter_for(launch.as_ref().ok())?, trace)?;
    // The longest of all that has to be made: it is waited for when it is needed.
    let begin = |launch: &Launch| launch.awaits_network.then(Place::begin);
    let place = launch.as_ref().ok().and_then(begin);
    settled.carry_out(launch, place, documents)
}

impl Monitor {
    fn new(
        launch: &Launch,
        lock: OwnedFd,
        first: &mut Option<OwnedFd>,
        hub: Option<Hub>,
        trace: Trace,
    ) -> Result<Self> {
        let epoll = Epoll::new()?;
        let mut signals = epoll.watch(setup::signals()?, Token::Signals);
        signals.set(epoll::READ).map_err(|error| Error::io("cannot watch signals", &error))?;
        let control = Control::listen(&launch.run_directory, &epoll)?;
        let mut monitor = Self {
            epoll,
            signals,
            settings: Settings {
                run_directory: launch.run_directory.clone(),
                stop_signal: launch.stop_signal,
                stop_timeout: launch.stop_timeout,
                remove_on_exit: launch.remove_on_exit.clone(),
            },
            lock,
            control: Some(control),
            cgroup: None,
            hub: None,
            network: None,
            seccomp: None,
            listener: None,
            log: None,
            processes: BTreeMap::new(),
            clients: BTreeMap::new(),
            next_id: CONTAINER + 1,
            started_at: None,
            paused: false,
            checkpoint: None,
            streams: Vec::new(),
            size: None,
            trim_at: None,
            ended_at: None,
            buffer: vec![0; CHUNK].into_boxed_slice(),
            trace,
        };
        if let Some(socket) = first.take() {
            monitor.add_client(socket);
        }
        if let Some(hub) = hub {
            monitor.watch_hub(hub)?;
        }
        Ok(monitor)
    }

    /// From the first request to the last event.
    fn live(
        mut self,
        mut launch: Launch,
        documents: Lines,
        place: Option<Place>,
        rootless: bool,
    ) -> Result<ExitCode> {
        // What waits on the first connection is carried out before there is any output to lose.
        let first: Vec<u32> = self.clients.keys().copied().collect();
        first.into_iter().for_each(|client| self.on_connection(client));
        if let Err(failure) = self.start(&mut launch, documents, place, rootless) {
            self.finish(Outcome::Failed(failure));
        }
        drop(launch);
        while !self.is_over() {
            let events = match self.epoll.wait(self.timeout()) {
                Ok(events) => events,
                Err(error) => return Err(Error::io("cannot wait for events", &error)),
            };
            for (token, bits) in events {
                self.dispatch(token, bits);
            }
            self.kill_the_late();
            if self.trim_at.take_if(|at| *at <= Instant::now()).is_some() {
                setup::trim_memory();
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn watch_hub(&mut self, hub: Hub) -> Result<()> {
        let failed = |error| Error::io("cannot watch the hub's holder", &error);
        let mut watched = self.epoll.watch(hub.holder().map_err(failed)?, Token::Hub);
        watched.set(epoll::READ).map_err(failed)?;
        self.hub = Some((hub, watched));
        Ok(())
    }

    /// The hub has lost its holder: it gets another. Where that cannot be, those who come later say so.
    fn on_hub(&mut self) {
        let Some((mut hub, _)) = self.hub.take() else { return };
        let _ = hub.mend().and_then(|()| self.watch_hub(hub));
    }

    fn dispatch(&mut self, token: Token, bits: u32) {
        match token {
            Token::Listener => self.on_listener(),
            Token::Signals => self.on_signals(),
            Token::Start(id) => self.on_start(id),
            Token::Checkpoint => self.on_checkpoint(),
            Token::Network => self.network.iter_mut().for_each(Network::on_ready),
            Token::Hub => self.on_hub(),
            Token::Exit(id) => self.on_exit(id),
            Token::Output(id, part) => self.on_output(id, part),
            Token::Input(id) if bits & epoll::BROKEN != 0 => self.close_input(id),
            Token::Input(id) => self.on_input(id),
            Token::Connection(id) => self.on_connection(id),
            Token::Source(id) => self.on_source(id),
            Token::Sink(id, part) => self.on_sink(id, part),
        }
    }

    /// Milliseconds until something is due, -1 for never.
    fn timeout(&self) -> i32 {
        let kills = self.processes.values().filter_map(|process| process.kill_at);
        let patience =
            self.ended_at.filter(|_| !self.clients.values().any(Client::is_behind)).map(|at| at + PATIENCE);
        kills.chain(patience).chain(self.trim_at).min().map_or(-1, |at| {
            let left = at.saturating_duration_since(Instant::now()).as_millis();
            // One more: the remainder of a millisecond must not make us spin.
            i32::try_from(left).unwrap_or(i32::MAX - 1) + 1
        })
    }

    /// Whether there is nothing left to do or to tell.
    fn is_over(&self) -> bool {
        let Some(ended_at) = self.ended_at else { return false };
        let told = self.clients.values().all(Client::is_done);
        let waiting = self.clients.values().any(Client::is_behind);
        (told && self.processes.is_empty()) || (!waiting && ended_at.elapsed() >= PATIENCE)
    }

    /// A signal to the monitor is for the container; SIGCHLD may be a process that has been left to us.
    fn on_signals(&mut self) {
        while let Some(signal) = setup::next_signal(&self.signals) {
            if signal == libc::SIGCHLD {
                self.reap_strays();
            } else if let Some(process) = self.processes.get(&CONTAINER) {
                let _ = process.signal(signal);
            }
        }
    }

    /// Processes that have been left to us; those of our own are reaped through their pidfds.
    fn reap_strays(&self) {
        let known: Vec<i32> = self.processes.values().map(|process| process.pid).collect();
        setup::reap_strays(&known);
    }

    /// Stops that have run out of patience.
    fn kill_the_late(&mut self) {
        let now = Instant::now();
        let mut thaw = false;
        for process in self.processes.values_mut() {
            if process.kill_at.is_some_and(|at| at <= now) {
                process.kill_at = None;
                thaw |= process.signal(libc::SIGKILL).is_ok();
            }
        }
        if thaw {
            self.thaw();
        }
    }

    /// A frozen process dies only when it is thawed (v1), so whoever kills thaws.
    fn thaw(&mut self) {
        if self.paused && self.cgroup.as_ref().is_some_and(|cgroup| cgroup.thaw().is_ok()) {
            self.paused = false;
        }
    }

    /// A process has been executed, or has not.
    fn on_start(&mut self, id: u32) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some((mut launched, _)) = process.starting.take() else { return };
        if let Err(error) = launched.wait_exec() {
            let failure = Failure { exit_code: error.exit_code(), error: error.into() };
            process.reap(true);
            return if id == CONTAINER {
                self.finish(Outcome::Failed(failure))
            } else {
                self.end_exec(id, &Event::Failed(failure))
            };
        }
        self.executed(id);
    }

    /// A program runs.
    fn executed(&mut self, id: u32) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let (pid, client, started_at) = (process.pid, process.client, Timestamp::now());
        if process.read_outputs().is_err() {
            process.outputs = [None, None];
        }
        if id == CONTAINER {
            self.trace.mark("executed");
            self.started_at = Some(started_at);
            let filter_made = self.network.as_ref().is_some_and(|network| network.made);
            self.tell(&Event::Started { pid, started_at, filter_made });
            self.trim_at = Some(Instant::now() + SETTLING);
        } else if let Some(client) = client
            && self.clients.get_mut(&client).is_some_and(|client| {
                let started = Event::Started { pid, started_at, filter_made: false };
                client.connection.say(&line(&started.of_exec())).is_err()
            })
        {
            self.drop_client(client);
        }
        self.pace_input(id);
    }

    /// A process has ended.
    fn on_exit(&mut self, id: u32) {
        // Its start may be news still.
        self.on_start(id);
        let Some(process) = self.processes.get(&id) else { return };
        let Some((exit_code, signal)) = process.reap(false) else { return };
        if id == CONTAINER {
            self.finish_checkpoint();
        }
        self.reap_strays();
        let mut exit = Exit { exit_code, signal, oom_killed: false, finished_at: Timestamp::now() };
        if id == CONTAINER {
            self.trace.mark("exited");
            exit.oom_killed =
                self.cgroup.as_ref().is_some_and(|cgroup| cgroup.oom_kills().is_ok_and(|kills| kills > 0));
            self.finish(Outcome::Exited(exit));
        } else {
            self.drain_outputs(id);
            self.end_exec(id, &Event::Exited(exit));
        }
    }

    /// The end of an exec is told to the client that made it.
    fn end_exec(&mut self, id: u32, event: &Event) {
        let Some(process) = self.processes.remove(&id) else { return };
        if let Some(client) = process.client
            && self
                .clients
                .get_mut(&client)
                .is_some_and(|client| client.finish(line(&event.of_exec())).is_err())
        {
            self.drop_client(client);
        }
    }
}
