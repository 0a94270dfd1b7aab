//! A client: its connection, the streams it has attached, and what it is still to be told; and how clients come and go.

use std::mem;
use std::os::fd::OwnedFd;

use super::connection::{Connection, End};
use super::process::CONTAINER;
use super::stdio::{ClientFd, Sink};
use super::wire::{Event, line};
use super::{Monitor, requests, setup};

/// Connections at a time; more are turned away.
const CLIENTS: usize = 128;
/// Reads from one client before the others have their turn.
const TURN: usize = 32;
/// Bytes of unfinished requests that all clients together may make us keep.
const UNFINISHED: usize = 4 * 1024 * 1024;
/// Bytes that one client made us keep whose memory is given back at once.
const LARGE: usize = 64 * 1024;

/// One client.
#[derive(Debug)]
pub struct Client {
    /// Requests and events.
    pub connection: Connection,
    /// The process that its requests are about: the container's first, or its own exec.
    pub process: u32,
    /// Its stdin.
    pub source: Option<ClientFd>,
    /// Its stdout (or terminal) and stderr.
    pub sinks: [Option<Sink>; 2],
    /// Whether it has attached or made an exec: it may do so once.
    pub bound: bool,
    /// How its process ended, until its streams have taken everything.
    last_word: Option<String>,
    /// Whether there will be nothing more to tell.
    ended: bool,
}

impl Client {
    /// A client that has asked for nothing yet.
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            process: CONTAINER,
            source: None,
            sinks: [None, None],
            bound: false,
            last_word: None,
            ended: false,
        }
    }

    /// Whether it made an exec, and hears of that only.
    pub fn has_exec(&self) -> bool {
        self.process != CONTAINER
    }

    /// Whether this stream of its process can be read on.
    pub fn takes(&self, part: usize) -> bool {
        self.sinks[part].as_ref().is_none_or(Sink::is_empty)
    }

    /// Gives it the last event once everything before has been written.
    pub fn finish(&mut self, last_word: String) -> Result<(), End> {
        self.last_word = Some(last_word);
        self.ended = true;
        self.source = None;
        self.settle()
    }

    /// Says the last word if its streams are empty, and closes them first: their readers may wait for the end.
    pub fn settle(&mut self) -> Result<(), End> {
        if self.last_word.is_none() || !(self.takes(0) && self.takes(1)) {
            return Ok(());
        }
        self.sinks = [None, None];
        match mem::take(&mut self.last_word) {
            Some(word) => self.connection.say(&word),
            None => Ok(()),
        }
    }

    /// Whether its streams still have something to take: then it is waited for as long as it lives.
    pub fn is_behind(&self) -> bool {
        self.last_word.is_some()
    }

    /// Whether it knows everything there is to know.
    pub fn is_done(&self) -> bool {
        self.ended && self.last_word.is_none() && self.connection.is_flushed()
    }
}

impl Monitor {
    /// Somebody connects to the control socket.
    pub fn on_listener(&mut self) {
        let Some(control) = &mut self.control else { return };
        if let Some(socket) = control.accept() {
            self.add_client(socket);
        }
    }

    /// Takes a connection in, and tells it what is already true.
    pub fn add_client(&mut self, socket: OwnedFd) {
        let full = self.clients.len() >= CLIENTS;
        let id = self.new_id();
        let Ok(connection) = Connection::new(socket, &self.epoll, id) else { return };
        let mut client = Client::new(connection);
        if full {
            let reply = requests::refusal(
                "TOO_MANY_CLIENTS",
                "this container has as many clients as it may have; try again later",
            );
            let _ = client.connection.say(&reply);
            return;
        }
        if let Some(started_at) = self.started_at
            && let Some(process) = self.processes.get(&CONTAINER)
            && client
                .connection
                .say(&line(&Event::Started { pid: process.pid, started_at, filter_made: false }))
                .is_err()
        {
            return;
        }
        self.clients.insert(id, client);
    }

    /// An id that nothing has had: the monitor would have to make four thousand million of them to come round.
    pub fn new_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = self.next_id.checked_add(1).unwrap_or(CONTAINER + 1);
        id
    }

    /// A client has requests, or takes more events.
    pub fn on_connection(&mut self, id: u32) {
        // Not for ever: a client that never pauses must leave room for the others.
        for _ in 0..TURN {
            let Some(client) = self.clients.get_mut(&id) else { return };
            let received = client.connection.flush().and_then(|()| client.connection.receive());
            match received {
                Ok(true) => {}
                Ok(false) => return,
                Err(end) => return self.end_client(id, end),
            }
            loop {
                let Some(client) = self.clients.get_mut(&id) else { return };
                match client.connection.line() {
                    Ok(Some(request)) => self.on_request(id, &request),
                    Ok(None) => break,
                    Err(end) => return self.end_client(id, end),
                }
            }
            if self.clients.values().map(|client| client.connection.unfinished()).sum::<usize>() > UNFINISHED
            {
                return self.end_client(id, End::TooLong);
            }
        }
    }

    /// Says why, where there is somebody to hear it, and lets the client go.
    fn end_client(&mut self, id: u32, end: End) {
        let why = match end {
            End::Closed => None,
            End::TooLong => Some("a request may be 1 MiB long"),
            End::TooManyDescriptors => {
                Some("a request carries at most three descriptors: stdin, stdout and stderr")
            }
        };
        if let (Some(why), Some(client)) = (why, self.clients.get_mut(&id)) {
            let _ = client.connection.say(&requests::refusal("PROTOCOL", why));
        }
        self.drop_client(id);
    }

    /// A client has gone, and its descriptors with it. A stdin that only it fed has come to its end.
    pub fn drop_client(&mut self, id: u32) {
        let Some(client) = self.clients.remove(&id) else { return };
        let large = client.connection.unfinished() > LARGE;
        let fed = client.source.is_some();
        let others =
            self.clients.values().any(|other| other.process == client.process && other.source.is_some());
        if let Some(process) = self.processes.get_mut(&client.process) {
            if process.client == Some(id) {
                process.client = None;
            }
            if fed
                && !others
                && !process.has_terminal()
                && let Some(input) = &mut process.input
            {
                input.close();
            }
        }
        self.pace_input(client.process);
        [0, 1].into_iter().for_each(|part| self.pace(client.process, part));
        if large {
            drop(client);
            setup::trim_memory();
        }
    }

    /// Tells every client of the container; an exec's clients have their own events.
    pub fn tell(&mut self, event: &Event) {
        let line = line(event);
        let mut gone = Vec::new();
        for (&id, client) in self.clients.iter_mut().filter(|(_, client)| !client.has_exec()) {
            if client.connection.say(&line).is_err() {
                gone.push(id);
            }
        }
        gone.into_iter().for_each(|id| self.drop_client(id));
    }
}
