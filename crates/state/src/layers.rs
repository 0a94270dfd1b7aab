//! Layers: which trees are in place, and who still needs them.

use rusqlite::{OptionalExtension, Row, Transaction};

use crate::database::Database;
use crate::error::Result;
use crate::rows::Layer;

impl Database {
    /// Records a layer whose tree is in place; replaces the row of the same diffID.
    pub fn insert_layer(&mut self, layer: &Layer) -> Result<()> {
        self.write(|transaction| {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO layers (diff_id, size, unpacked_size) VALUES (?1, ?2, ?3)",
                )?
                .execute((&layer.diff_id, layer.size, layer.unpacked_size))?;
            Ok(())
        })
    }

    /// The layer of that diffID, if it is here.
    pub fn layer(&self, diff_id: &str) -> Result<Option<Layer>> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT diff_id, size, unpacked_size FROM layers WHERE diff_id = ?1")?;
            Ok(statement.query_row([diff_id], layer).optional()?)
        })
    }

    /// By diffID.
    pub fn layers(&self) -> Result<Vec<Layer>> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT diff_id, size, unpacked_size FROM layers")?;
            let rows = statement.query_map([], layer)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

fn layer(row: &Row<'_>) -> rusqlite::Result<Layer> {
    Ok(Layer { diff_id: row.get(0)?, size: row.get(1)?, unpacked_size: row.get(2)? })
}

/// Forgets those of `candidates` (a JSON array of diffIDs) that no image and no container uses, and returns them.
pub(crate) fn forget_unused(transaction: &Transaction<'_>, candidates: &str) -> Result<Vec<String>> {
    let mut statement = transaction.prepare_cached(
        "DELETE FROM layers WHERE diff_id IN (SELECT value FROM json_each(?1))
         AND diff_id NOT IN (SELECT value FROM images, json_each(images.diff_ids))
         AND diff_id NOT IN (SELECT value FROM containers, json_each(containers.layers)) RETURNING diff_id",
    )?;
    let rows = statement.query_map([candidates], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
