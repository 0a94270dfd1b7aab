//! The container's end, in an order in which a SIGKILL of the monitor at any point leaves what the engine can tell and
//! clean: the record first, the run directory with the record last, and the lock released after that.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Instant;

use kapsel_storage::remove::remove_tree;
use serde::Serialize;

use super::Monitor;
use super::process::CONTAINER;
use super::wire::{Event, Exit, Failure, line};
use crate::clock::Timestamp;

/// How it went.
pub enum Outcome {
    /// The program ran and has ended.
    Exited(Exit),
    /// It was never executed.
    Failed(Failure),
}

/// `exit.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    exit_code: i32,
    signal: Option<i32>,
    oom_killed: bool,
    started_at: Option<Timestamp>,
    finished_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl Monitor {
    /// Ends the container's affairs and tells its clients.
    pub fn finish(&mut self, outcome: Outcome) {
        // Those that are not in the container's PID namespace (`--pid host`) have survived it.
        for (_, process) in self.processes.iter().filter(|(id, _)| **id != CONTAINER) {
            let _ = process.signal(libc::SIGKILL);
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.kill_all();
            self.thaw();
        }
        self.drain_outputs(CONTAINER);
        self.processes.remove(&CONTAINER);
        let lost = self
            .log
            .take()
            .and_then(|mut log| log.finish().map(|error| format!("the log is incomplete: {error}")));
        let event = match outcome {
            Outcome::Exited(exit) => Event::Exited(exit),
            Outcome::Failed(failure) => Event::Failed(failure),
        };
        self.write_record(&event, lost.as_deref());
        self.trace.mark("recorded");
        if let Some(cgroup) = self.cgroup.take() {
            // One that does not go is in use by what it holds; the engine's next command tries again.
            let _ = cgroup.remove();
        }
        if let Some(network) = self.network.take() {
            network.end();
        }
        self.remove_trees();
        if let Some(control) = self.control.take() {
            control.unlink();
        }
        if self.settings.remove_on_exit.contains(&self.settings.run_directory) {
            let _ = remove_tree(&self.settings.run_directory);
        }
        // Whoever hears of the end may start the container again at once.
        // SAFETY: no pointer is passed.
        unsafe { libc::flock(self.lock.as_raw_fd(), libc::LOCK_UN) };
        self.trace.mark("removed");
        self.ended_at = Some(Instant::now());
        self.farewell(&line(&event));
    }

    fn write_record(&self, event: &Event, lost: Option<&str>) {
        let record = match event {
            Event::Failed(failure) => Record {
                exit_code: failure.recorded(),
                signal: None,
                oom_killed: false,
                started_at: None,
                finished_at: Timestamp::now(),
                error: Some(&failure.error.message),
            },
            Event::Exited(exit) => Record {
                exit_code: exit.exit_code,
                signal: exit.signal,
                oom_killed: exit.oom_killed,
                started_at: self.started_at,
                finished_at: exit.finished_at,
                error: lost,
            },
            Event::Started { .. } => return,
        };
        // A record that cannot be written is one that the engine does not find: it then takes the container for killed.
        let _ = write_atomically(&self.settings.run_directory, "exit.json", &line(&record));
    }

    /// `--rm`. The run directory, with the record in it, is left for the very end.
    fn remove_trees(&self) {
        for path in self.settings.remove_on_exit.iter().filter(|path| **path != self.settings.run_directory) {
            let _ = remove_tree(path);
        }
    }

    /// Tells those who are not behind, and leaves it to the loop to tell the others when they are not any more.
    fn farewell(&mut self, last_word: &str) {
        let mut gone = Vec::new();
        for (&id, client) in self.clients.iter_mut().filter(|(_, client)| !client.has_exec()) {
            if client.finish(last_word.to_owned()).is_err() {
                gone.push(id);
            }
        }
        gone.into_iter().for_each(|id| self.drop_client(id));
    }
}

/// Writes a file under another name first: it is there whole or not at all.
pub(super) fn write_atomically(directory: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let half = directory.join(format!(".{name}.tmp"));
    let mut file: File =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    fs::rename(half, directory.join(name))
}
