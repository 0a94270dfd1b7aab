//! Reconciliation: what the database believes against what the locks say. There is no daemon to notice a death, so
//! the next command does. It records and reports; killing what is left and removing trees is its caller's.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::containers::{by_id, one, record_exit, select};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::lock::{TESTERS, is_free, lock_exclusive, remove_run_directory};
use crate::rows::{Container, Exit, Reconciled, Status};

/// A program whose monitor was killed was killed with it: 128 + SIGKILL.
const KILLED: i64 = 137;

impl Database {
    /// Finds the containers whose monitor is gone and records their end, with what their exit record says or 137.
    /// Where nobody is dead it only reads: two indexed queries and the listing of the run directory.
    pub fn reconcile(&mut self, run_root: &Path) -> Result<Reconciled> {
        let containers = run_root.join("containers");
        let living =
            self.read(|connection| select(connection, "status IN ('starting', 'running', 'paused')"))?;
        let mut dead = Vec::new();
        for row in &living {
            if is_free(&containers.join(&row.id).join("lock"))? {
                dead.push(row.id.as_str());
            }
        }
        if !dead.is_empty() {
            self.bury(&containers, &dead)?;
        }
        let mut found = Reconciled::default();
        for (id, directory) in run_directories(&containers, &living, &dead)? {
            self.examine(id, &directory, &mut found)?;
        }
        found.remove = self.read(|connection| select(connection, "auto_remove = 1 AND status = 'exited'"))?;
        let mut held = HashMap::new();
        for row in &found.remove {
            // The monitor that recorded the end may still be removing the trees.
            held.insert(row.id.clone(), !is_free(&containers.join(&row.id).join("lock"))?);
        }
        found.remove.retain(|row| !held[&row.id]);
        Ok(found)
    }

    /// Whoever makes a row living holds its lock before and after: under the write lock of the database, a living
    /// row with a free lock is a dead container, whatever happened since it was first seen.
    fn bury(&mut self, containers: &Path, ids: &[&str]) -> Result<()> {
        self.write(|transaction| {
            for id in ids {
                let directory = containers.join(id);
                let Some(row) = one(transaction, "id = ?1", id)?.filter(|row| row.status.is_living()) else {
                    continue;
                };
                if is_free(&directory.join("lock"))? {
                    record_exit(transaction, &row, &exit_record(&directory))?;
                }
            }
            Ok(())
        })
    }

    /// A run directory that belongs to no living row: what a death left, what a maker left, or one just being made.
    fn examine(&self, id: String, directory: &Path, found: &mut Reconciled) -> Result<()> {
        if !is_free(&directory.join("lock"))? {
            return Ok(());
        }
        if let Some(row) = self.read(|connection| one(connection, "id = ?1", &id))? {
            if row.status == Status::Exited {
                found.died.push(row);
            }
            return Ok(());
        }
        // Whoever makes a container inserts its row under this lock: with it held and no row, nobody is making one.
        let _lock = match lock_exclusive(&directory.join("lock"), TESTERS) {
            Err(error) if error.code == "LOCK_IN_USE" => return Ok(()),
            other => other?,
        };
        match self.read(|connection| by_id(connection, &id)) {
            Err(error) if error.code == "CONTAINER_NOT_FOUND" => {
                remove_run_directory(directory)?;
                found.strays.push(id);
                Ok(())
            }
            other => other.map(drop),
        }
    }
}

/// The run directories of all but the living. What begins with a dot was being removed: that is finished here.
fn run_directories(containers: &Path, living: &[Container], dead: &[&str]) -> Result<Vec<(String, PathBuf)>> {
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
        } else if dead.contains(&name.as_str()) || !living.iter().any(|row| row.id == name) {
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
