//! A client: its connection, the streams it has attached, and what it is still to be told.

use std::mem;

use super::connection::{Connection, End};
use super::process::CONTAINER;
use super::stdio::{ClientFd, Sink};

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
