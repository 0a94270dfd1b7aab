//! Bytes: from the container to the log and then to the clients, from the clients to the container.
//!
//! One read at a time: a stream is read again when every client attached to it has taken what came before, so a slow client
//! holds the container back (as `docker attach` does) and memory does not grow. A client that has gone is dropped.

use std::io;
use std::os::fd::AsFd;

use super::Monitor;
use super::client::Client;
use super::epoll;
use super::log::Stream;
use super::process::CONTAINER;
use super::stdio::{ClientFd, read};

/// Bytes of one read; half of a pipe's default capacity.
pub const CHUNK: usize = 32 * 1024;

/// What one read from a process gave.
enum Read {
    /// Bytes, which have been passed on.
    Some,
    /// Nothing now.
    Nothing,
    /// The end: every writer has closed it.
    End,
}

impl Monitor {
    /// A process has written.
    pub fn on_output(&mut self, id: u32, part: u8) {
        if let Read::End = self.pass(id, part) {
            self.close_output(id, part);
        } else {
            self.pace(id, part);
        }
    }

    /// Passes on all that is left of a process that has ended, whatever the clients have taken. It is no more than a
    /// pipe holds; a writer elsewhere who keeps the pipe open is not waited for.
    pub fn drain_outputs(&mut self, id: u32) {
        for part in [0, 1] {
            while let Read::Some = self.pass(id, part) {}
            self.close_output(id, part);
        }
    }

    /// Reads once from a process and writes that to the log and to the clients.
    fn pass(&mut self, id: u32, part: u8) -> Read {
        let Some(output) =
            self.processes.get(&id).and_then(|process| process.outputs[usize::from(part)].as_ref())
        else {
            return Read::End;
        };
        let count = match read(output.as_fd(), &mut self.buffer) {
            Ok(0) => return Read::End,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Read::Some,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Nothing,
            // EIO: the last slave of a pseudoterminal has been closed.
            Err(_) => return Read::End,
        };
        let bytes = &self.buffer[..count];
        // The log first: what a client has seen is never missing there.
        if id == CONTAINER
            && let Some(log) = &mut self.log
        {
            log.append(if part == 0 { Stream::Stdout } else { Stream::Stderr }, bytes);
        }
        for client in self.clients.values_mut().filter(|client| client.process == id) {
            let sink = &mut client.sinks[usize::from(part)];
            if sink.as_mut().is_some_and(|sink| sink.push(bytes).is_err()) {
                *sink = None;
            }
        }
        Read::Some
    }

    fn close_output(&mut self, id: u32, part: u8) {
        if let Some(process) = self.processes.get_mut(&id) {
            process.outputs[usize::from(part)] = None;
        }
    }

    /// Reads on, or waits for the slowest client.
    pub fn pace(&mut self, id: u32, part: u8) {
        let part = usize::from(part);
        let ready =
            self.clients.values().filter(|client| client.process == id).all(|client| client.takes(part));
        if let Some(process) = self.processes.get_mut(&id)
            && process.starting.is_none()
            && let Some(output) = &mut process.outputs[part]
            && output.set(if ready { epoll::READ } else { 0 }).is_err()
        {
            process.outputs[part] = None;
        }
    }

    /// A client's stdout or stderr takes more.
    pub fn on_sink(&mut self, id: u32, part: u8) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let sink = &mut client.sinks[usize::from(part)];
        if sink.as_mut().is_some_and(|sink| sink.drain().is_err()) {
            *sink = None;
        }
        let process = client.process;
        if client.settle().is_err() {
            self.drop_client(id);
        }
        self.pace(process, part);
    }

    /// A client's stdin has bytes.
    pub fn on_source(&mut self, id: u32) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Some(source) = &mut client.source else { return };
        let process = self.processes.get_mut(&client.process);
        let Some((input, terminal)) = process.and_then(|process| {
            let terminal = process.has_terminal();
            process.input.as_mut().map(|input| (input, terminal))
        }) else {
            client.source = None;
            return;
        };
        if !input.is_empty() {
            // It is asked again by `on_input`.
            let _ = source.set(0);
            return;
        }
        let ended = match source.read(&mut self.buffer) {
            Ok(0) => true,
            Ok(count) => {
                if input.push(&self.buffer[..count]).is_err() {
                    let process = client.process;
                    return self.close_input(process);
                }
                false
            }
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        };
        if ended {
            client.source = None;
            // A terminal has no end of file but the character for it, which its user types.
            if !terminal {
                input.close();
            }
        }
        let process = client.process;
        self.pace_input(process);
    }

    /// A process's stdin takes more.
    pub fn on_input(&mut self, id: u32) {
        let Some(input) = self.processes.get_mut(&id).and_then(|process| process.input.as_mut()) else {
            return;
        };
        if input.drain().is_err() {
            return self.close_input(id);
        }
        if input.is_empty() {
            // Files are always ready, and nobody else will tell.
            let has_file = |client: &Client| {
                client.process == id && client.source.as_ref().is_some_and(ClientFd::always_ready)
            };
            let asked: Vec<u32> = self
                .clients
                .iter()
                .filter(|(_, client)| has_file(client))
                .map(|(&client, _)| client)
                .collect();
            asked.into_iter().for_each(|client| self.on_source(client));
        }
        self.pace_input(id);
    }

    /// Decides what the streams into a process wait for: those of the clients while its stdin is empty, its stdin
    /// otherwise, and also where a file has more for it.
    pub fn pace_input(&mut self, id: u32) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let terminal = process.has_terminal();
        let Some(input) = &mut process.input else { return };
        if input.is_done() {
            process.input = None;
            return;
        }
        let empty = input.is_empty();
        let mut files = false;
        for client in self.clients.values_mut().filter(|client| client.process == id) {
            let Some(source) = &mut client.source else { continue };
            files |= source.always_ready();
            if source.set(if empty { epoll::READ } else { 0 }).is_err() {
                client.source = None;
            }
        }
        if input.watch(!empty || files, terminal).is_err() {
            process.input = None;
        }
    }

    /// Nobody reads a process's stdin: the clients' are closed, so that whoever writes there knows too.
    pub fn close_input(&mut self, id: u32) {
        if let Some(process) = self.processes.get_mut(&id) {
            process.input = None;
        }
        for client in self.clients.values_mut().filter(|client| client.process == id) {
            client.source = None;
        }
    }
}
