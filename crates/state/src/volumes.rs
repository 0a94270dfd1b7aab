//! Volumes: names and labels; their trees are the engine's.

use rusqlite::{OptionalExtension, Row};

use crate::clock::now;
use crate::columns::{json, to_json};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::events::append;
use crate::rows::{Attributes, NewVolume, Volume};

impl Database {
    /// Records a volume, and `create`. False where there is one of that name already.
    pub fn insert_volume(&mut self, new: &NewVolume) -> Result<bool> {
        self.write(|transaction| {
            let time = now();
            let inserted = transaction
                .prepare_cached(
                    "INSERT OR IGNORE INTO volumes (name, labels, created_at) VALUES (?1, ?2, ?3)",
                )?
                .execute((&new.name, to_json(&new.labels), &time))?;
            if inserted == 1 {
                append(transaction, "volume", "create", &new.name, &Attributes::new(), &time)?;
            }
            Ok(inserted == 1)
        })
    }

    /// `VOLUME_NOT_FOUND`.
    pub fn volume(&self, name: &str) -> Result<Volume> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT name, labels, created_at FROM volumes WHERE name = ?1")?;
            statement.query_row([name], volume).optional()?.ok_or_else(|| not_found(name))
        })
    }

    /// By name.
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT name, labels, created_at FROM volumes")?;
            let rows = statement.query_map([], volume)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Forgets a volume, and `destroy`. `VOLUME_NOT_FOUND`.
    pub fn remove_volume(&mut self, name: &str) -> Result<()> {
        self.write_removal(|transaction| {
            if transaction.prepare_cached("DELETE FROM volumes WHERE name = ?1")?.execute([name])? == 0 {
                return Err(not_found(name));
            }
            append(transaction, "volume", "destroy", name, &Attributes::new(), &now())
        })
    }
}

fn volume(row: &Row<'_>) -> rusqlite::Result<Volume> {
    Ok(Volume { name: row.get(0)?, labels: json(row, 1)?, created_at: row.get(2)? })
}

fn not_found(name: &str) -> Error {
    Error::new("VOLUME_NOT_FOUND", format!("No such volume: {name}"))
}
