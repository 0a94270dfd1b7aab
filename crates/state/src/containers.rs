//! Containers: their rows, how one is named, and the steps of a life, each with the event Docker gives it.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::clock::now;
use crate::columns::{ByPrefix, by_prefix, exists, json, to_json};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::events::append;
use crate::layers::forget_unused;
use crate::leases::release;
use crate::networks::{forget_container, insert_endpoint};
use crate::rows::{Attributes, Container, Exit, Json, NewContainer, NewEndpoint, Status};

/// The columns of [`container`], in its order.
pub(crate) const COLUMNS: &str = "id, name, status, image_id, image, \
     CASE layers WHEN '[]' THEN coalesce((SELECT diff_ids FROM images WHERE images.id = image_id), layers) \
     ELSE layers END, labels, auto_remove, created_at, started_at, finished_at, pid, exit_code, oom_killed, error, document";

impl Database {
    /// Inserts a container and its `create`. `NAME_IN_USE` says who has the name; `IMAGE_NOT_FOUND` where the image
    /// went away meanwhile.
    pub fn insert_container(&mut self, new: &NewContainer) -> Result<()> {
        self.write(|transaction| {
            name_is_free(transaction, &new.name)?;
            if !exists(transaction, "SELECT 1 FROM images WHERE id = ?1", &new.image_id)? {
                return Err(Error::new("IMAGE_NOT_FOUND", format!("No such image: {}", new.image)));
            }
            let time = now();
            transaction
                .prepare_cached(
                    "INSERT INTO containers (id, name, status, image_id, image, layers, labels, auto_remove,
                     created_at, document) VALUES (?1, ?2, ?3, ?4, ?5, '[]', ?6, ?7, ?8, ?9)",
                )?
                .execute(params![
                    new.id,
                    new.name,
                    new.status.as_str(),
                    new.image_id,
                    new.image,
                    to_json(&new.labels),
                    new.auto_remove,
                    time,
                    new.document.get(),
                ])?;
            let attributes = attributes(new.labels.clone(), &new.name, &new.image);
            append(transaction, "container", "create", &new.id, &attributes, &time)?;
            for (network_id, document) in &new.networks {
                let (network_id, container_id) = (network_id.clone(), new.id.clone());
                let endpoint = NewEndpoint { network_id, container_id, document: document.clone() };
                insert_endpoint(transaction, &endpoint)?;
            }
            Ok(())
        })
    }

    /// The container of a full id, a name (with or without a leading slash), or an unambiguous prefix of an id:
    /// Docker's precedence. `CONTAINER_NOT_FOUND`, `CONTAINER_AMBIGUOUS`.
    pub fn container(&self, reference: &str) -> Result<Container> {
        self.read(|connection| {
            let name = reference.strip_prefix('/').unwrap_or(reference);
            if let Some(found) = one(connection, "id = ?1", reference)? {
                return Ok(found);
            }
            if let Some(found) = one(connection, "name = ?1", name)? {
                return Ok(found);
            }
            by_beginning(connection, reference)
        })
    }

    /// Newest first; those of the given statuses, all where none is given.
    pub fn containers(&self, statuses: &[Status]) -> Result<Vec<Container>> {
        self.read(|connection| {
            let wanted: Vec<_> = statuses.iter().map(|status| format!("'{}'", status.as_str())).collect();
            let filter =
                if wanted.is_empty() { "1".into() } else { format!("status IN ({})", wanted.join(", ")) };
            select(connection, &format!("{filter} ORDER BY created_at DESC"))
        })
    }

    /// `created` or `exited` → `starting`. The caller holds the lock. `CONTAINER_CONFLICT` in any other status.
    pub fn starting(&mut self, id: &str) -> Result<()> {
        self.write(|transaction| {
            let row = by_id(transaction, id)?;
            if row.status.is_living() {
                return Err(conflict(&row, "is already running"));
            }
            transaction
                .prepare_cached(
                    "UPDATE containers SET status = 'starting', pid = NULL, started_at = NULL, finished_at = NULL,
                     exit_code = NULL, oom_killed = 0, error = NULL WHERE id = ?1",
                )?
                .execute([id])?;
            release(transaction, id)
        })
    }

    /// `starting` → `running`, and `start`. False in any other status: somebody saw it end before this came.
    pub fn started(&mut self, id: &str, pid: i64, at: &str) -> Result<bool> {
        self.write(|transaction| {
            let changed = transaction
                .prepare_cached(
                    "UPDATE containers SET status = 'running', pid = ?2, started_at = ?3
                     WHERE id = ?1 AND status = 'starting'",
                )?
                .execute((id, pid, at))?;
            if changed == 1 {
                tell(transaction, &by_id(transaction, id)?, "start", &[], at)?;
            }
            Ok(changed == 1)
        })
    }

    /// `running` → `paused`, and `pause`. `CONTAINER_CONFLICT` in any other status.
    pub fn paused(&mut self, id: &str) -> Result<()> {
        self.freeze(id, Status::Running, Status::Paused, "pause", "is not running")
    }

    /// `paused` → `running`, and `unpause`. `CONTAINER_CONFLICT` in any other status.
    pub fn unpaused(&mut self, id: &str) -> Result<()> {
        self.freeze(id, Status::Paused, Status::Running, "unpause", "is not paused")
    }

    fn freeze(&mut self, id: &str, from: Status, to: Status, action: &str, complaint: &str) -> Result<()> {
        self.write(|transaction| {
            let row = by_id(transaction, id)?;
            if row.status != from {
                return Err(conflict(&row, complaint));
            }
            transaction
                .prepare_cached("UPDATE containers SET status = ?2 WHERE id = ?1")?
                .execute((id, to.as_str()))?;
            tell(transaction, &row, action, &[], &now())
        })
    }

    /// Any living status → `exited`, and `die` (after `oom` where that was why). False where it is recorded already.
    pub fn exited(&mut self, id: &str, exit: &Exit) -> Result<bool> {
        self.write_removal(|transaction| {
            let row = by_id(transaction, id)?;
            record_exit(transaction, &row, exit)
        })
    }

    /// Gives a container another name, and `rename`. `NAME_IN_USE`.
    pub fn rename(&mut self, id: &str, name: &str) -> Result<()> {
        self.write(|transaction| {
            let row = by_id(transaction, id)?;
            name_is_free(transaction, name)?;
            transaction
                .prepare_cached("UPDATE containers SET name = ?2 WHERE id = ?1")?
                .execute((id, name))?;
            let renamed = by_id(transaction, id)?;
            tell(transaction, &renamed, "rename", &[("oldName", &row.name)], &now())
        })
    }

    /// Replaces the engine's document, and `update`.
    pub fn update_document(&mut self, id: &str, document: &Json) -> Result<()> {
        self.write(|transaction| {
            let row = by_id(transaction, id)?;
            transaction
                .prepare_cached("UPDATE containers SET document = ?2 WHERE id = ?1")?
                .execute((id, document.get()))?;
            tell(transaction, &row, "update", &[], &now())
        })
    }

    /// Forgets a container that is not alive, and `destroy`. Returns the layers nobody uses any more, forgotten too.
    pub fn remove_container(&mut self, id: &str) -> Result<Vec<String>> {
        self.write_removal(|transaction| {
            let row = by_id(transaction, id)?;
            if row.status.is_living() {
                return Err(conflict(&row, "is running").hint("stop it first, or force its removal with -f"));
            }
            transaction.prepare_cached("DELETE FROM containers WHERE id = ?1")?.execute([id])?;
            forget_container(transaction, id)?;
            tell(transaction, &row, "destroy", &[], &now())?;
            // While the image is there, so are all its layers' reasons to be.
            if exists(transaction, "SELECT 1 FROM images WHERE id = ?1", &row.image_id)? {
                return Ok(Vec::new());
            }
            forget_unused(transaction, row.layers.get())
        })
    }
}

/// Records the end of a life where it is not recorded yet, and says whether it did.
pub(crate) fn record_exit(transaction: &Transaction<'_>, row: &Container, exit: &Exit) -> Result<bool> {
    if !row.status.is_living() {
        return Ok(false);
    }
    let finished = exit.finished_at.clone().unwrap_or_else(now);
    transaction
        .prepare_cached(
            "UPDATE containers SET status = 'exited', pid = NULL, started_at = coalesce(started_at, ?2),
             finished_at = ?3, exit_code = ?4, oom_killed = ?5, error = ?6 WHERE id = ?1",
        )?
        .execute(params![row.id, exit.started_at, finished, exit.exit_code, exit.oom_killed, exit.error])?;
    release(transaction, &row.id)?;
    if exit.oom_killed {
        tell(transaction, row, "oom", &[], &finished)?;
    }
    let (code, signal) = (exit.exit_code.to_string(), exit.signal.unwrap_or(0).to_string());
    let mut more = vec![("exitCode", code.as_str())];
    if exit.signal.is_some() {
        more.push(("signal", &signal));
    }
    tell(transaction, row, "die", &more, &finished)?;
    Ok(true)
}

pub(crate) fn by_id(connection: &Connection, id: &str) -> Result<Container> {
    one(connection, "id = ?1", id)?.ok_or_else(|| not_found(id))
}

/// All that match a condition without parameters.
fn select(connection: &Connection, condition: &str) -> Result<Vec<Container>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM containers WHERE {condition}"))?;
    let rows = statement.query_map([], container)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn one(connection: &Connection, condition: &str, key: &str) -> Result<Option<Container>> {
    let query = format!("SELECT {COLUMNS} FROM containers WHERE {condition}");
    Ok(connection.prepare_cached(&query)?.query_row([key], container).optional()?)
}

fn by_beginning(connection: &Connection, prefix: &str) -> Result<Container> {
    let select = format!("SELECT {COLUMNS} FROM containers");
    match by_prefix(connection, &select, prefix, container)? {
        ByPrefix::One(found) => Ok(found),
        ByPrefix::Nobody => Err(not_found(prefix)),
        ByPrefix::Several => {
            let text = format!("Multiple IDs found with provided prefix: {prefix}");
            Err(Error::new("CONTAINER_AMBIGUOUS", text).hint("give more of the id"))
        }
    }
}

fn not_found(reference: &str) -> Error {
    Error::new("CONTAINER_NOT_FOUND", format!("No such container: {reference}"))
}

fn conflict(row: &Container, complaint: &str) -> Error {
    Error::new(
        "CONTAINER_CONFLICT",
        format!("container {} {complaint} (it is {})", row.name, row.status.as_str()),
    )
}

fn name_is_free(connection: &Connection, name: &str) -> Result<()> {
    let holder = one(connection, "name = ?1", name)?;
    holder.map_or(Ok(()), |holder| {
        let short = holder.id.get(..12).unwrap_or(&holder.id);
        Err(Error::new("NAME_IN_USE", format!("the name {name:?} is in use by container {short}"))
            .hint("remove or rename that container to use the name again"))
    })
}

fn container(row: &Row<'_>) -> rusqlite::Result<Container> {
    Ok(Container {
        id: row.get(0)?,
        name: row.get(1)?,
        status: status(row)?,
        image_id: row.get(3)?,
        image: row.get(4)?,
        layers: json(row, 5)?,
        labels: json(row, 6)?,
        auto_remove: row.get(7)?,
        created_at: row.get(8)?,
        started_at: row.get(9)?,
        finished_at: row.get(10)?,
        pid: row.get(11)?,
        exit_code: row.get(12)?,
        oom_killed: row.get(13)?,
        error: row.get(14)?,
        document: json(row, 15)?,
    })
}

fn status(row: &Row<'_>) -> rusqlite::Result<Status> {
    Ok(match row.get_ref(2)?.as_str()? {
        "created" => Status::Created,
        "starting" => Status::Starting,
        "running" => Status::Running,
        "paused" => Status::Paused,
        // The table's CHECK leaves nothing else.
        _ => Status::Exited,
    })
}

fn attributes(mut labels: Attributes, name: &str, image: &str) -> Attributes {
    labels.insert("name".into(), name.into());
    labels.insert("image".into(), image.into());
    labels
}

fn tell(
    transaction: &Transaction<'_>,
    row: &Container,
    action: &str,
    more: &[(&str, &str)],
    time: &str,
) -> Result<()> {
    let labels = serde_json::from_str(row.labels.get()).unwrap_or_default();
    let mut attributes = attributes(labels, &row.name, &row.image);
    attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    append(transaction, "container", action, &row.id, &attributes, time)
}
