//! Reconciliation: what the database believes against what the locks say. There is no daemon to notice a death, so
//! the next command does. It records and reports; killing what is left and removing trees is its caller's.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::containers::{one, record_exit};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::lock::{TESTERS, is_free, lock_exclusive, remove_run_directory};
use crate::rows::{Container, Exit, Reconciled, Status};

/// A program whose monitor was killed was killed with it: 128 + SIGKILL.
const KILLED: i64 = 137;

/// Word for word the condition of the index `containers_watched`.
const WATCHED: &str =
    "status IN ('starting', 'running', 'paused') OR (status = 'exited' AND auto_remove = 1)";

impl Database {
    /// Finds the containers whose monitor is gone and records their end, with what their exit record says or 137.
    /// Where nobody is dead it only reads: one indexed query, the locks of the living, and the listing of the run directory.
    pub fn reconcile(&mut self, run_root: &Path) -> Result<Reconciled> {
        let containers = run_root.join("containers");
        // An `exited` one whose lock is held: the monitor is still removing its trees.
        let (held, free) = partition(&containers, self.watched()?)?;
        let (mut dead, mut found) = (Vec::new(), Reconciled::default());
        for id in free {
            match self.row(&id)? {
                Some(row) if row.status.is_living() => dead.push(row),
                Some(row) if row.status == Status::Exited && row.auto_remove => found.remove.push(row),
                // It has been removed, or is another's business, by now.
                _ => {}
            }
        }
        if !dead.is_empty() {
            let buried = self.bury(&containers, &dead)?;
            found.remove.extend(buried.into_iter().filter(|row| row.auto_remove));
        }
        for (id, directory) in run_directories(&containers, &held)? {
            self.examine(id, &directory, &mut found)?;
        }
        Ok(found)
    }

    /// Whoever makes a row living holds its lock before and after: under the write lock of the database, a living
    /// row with a free lock is a dead container, whatever happened since it was first seen.
    fn bury(&mut self, containers: &Path, dead: &[Container]) -> Result<Vec<Container>> {
        self.write_removal(|transaction| {
            let mut buried = Vec::new();
            for Container { id, .. } in dead {
                let directory = containers.join(id);
                let Some(row) = one(transaction, "id = ?1", id)?.filter(|row| row.status.is_living()) else {
                    continue;
                };
                if is_free(&directory.join("lock"))? {
                    record_exit(transaction, &row, &exit_record(&directory))?;
                    buried.extend(one(transaction, "id = ?1", id)?);
                }
            }
            Ok(buried)
        })
    }

    /// A run directory nobody alive was seen to hold: what a death left, what a maker left, or one just being made.
    fn examine(&self, id: String, directory: &Path, found: &mut Reconciled) -> Result<()> {
        let lock = directory.join("lock");
        if !is_free(&lock)? {
            return Ok(());
        }
        if let Some(row) = self.row(&id)? {
            if row.status == Status::Exited {
                found.died.push(row);
            }
            return Ok(());
        }
        // Whoever makes a container inserts its row under this lock: with it held and no row, nobody is making one.
        let _lock = match lock_exclusive(&lock, TESTERS) {
            Err(error) if error.code == "LOCK_IN_USE" => return Ok(()),
            other => other?,
        };
        if self.row(&id)?.is_none() {
            remove_run_directory(directory)?;
            found.strays.push(id);
        }
        Ok(())
    }

    /// Ids alone: there may be hundreds, and hardly one of them is dead.
    fn watched(&self) -> Result<Vec<String>> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT id FROM containers WHERE {WATCHED}"))?;
            let ids = statement.query_map([], |row| row.get(0))?;
            Ok(ids.collect::<rusqlite::Result<_>>()?)
        })
    }

    fn row(&self, id: &str) -> Result<Option<Container>> {
        self.read(|connection| one(connection, "id = ?1", id))
    }
}

/// Those whose lock is held, and those whose lock is free.
fn partition(containers: &Path, ids: Vec<String>) -> Result<(HashSet<String>, Vec<String>)> {
    let (mut held, mut free) = (HashSet::new(), Vec::new());
    for id in ids {
        if is_free(&containers.join(&id).join("lock"))? {
            free.push(id);
        } else {
            held.insert(id);
        }
    }
    Ok((held, free))
}

/// The run directories of all but those. What begins with a dot was being removed: that is finished here.
fn run_directories(containers: &Path, held: &HashSet<String>) -> Result<Vec<(String, PathBuf)>> {
    let failed = |error: &std::io::Error| Error::system(&format!("list {}", containers.display()), error);
    let entries = match fs::read_dir(containers) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| failed(&error))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(&error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            // Its remover may be doing the same: whoever comes second finds nothing.
            let _ = fs::remove_dir_all(entry.path());
        } else if !held.contains(&name) {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

/// What the monitor wrote last. A file that is not there, or not whole, means it had no time to.
fn exit_record(directory: &Path) -> Exit {
    fs::read(directory.join("exit.json"))
        .ok()
        .and_then(|content| serde_json::from_slice(&content).ok())
        .unwrap_or_else(|| Exit { exit_code: KILLED, ..Exit::default() })
}
