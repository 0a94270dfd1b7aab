//! Images and their references: what is named, how a name is understood, and what goes when one is removed.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::clock::now;
use crate::columns::{exists, json, to_json};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::events::append;
use crate::layers::forget_unused;
use crate::rows::{Attributes, Image};

const COLUMNS: &str = "id, manifest_digest, config, diff_ids, size, created_at, platform, parent_id, tagged_at, \
     (SELECT json_group_array(name ORDER BY name) FROM image_references WHERE image_id = images.id)";

impl Database {
    /// Records an image and points its references at it, taking them from whichever image had them; `action` is
    /// `pull`, `load`, `import` or `commit`. `LAYER_NOT_FOUND` where a layer went away meanwhile: unpack it again.
    pub fn insert_image(&mut self, image: &Image, action: &str) -> Result<()> {
        self.write(|transaction| {
            for diff_id in &image.diff_ids {
                if !exists(transaction, "SELECT 1 FROM layers WHERE diff_id = ?1", diff_id)? {
                    return Err(Error::new("LAYER_NOT_FOUND", format!("layer {diff_id} is not here any more")));
                }
            }
            transaction
                .prepare_cached(
                    "INSERT INTO images (id, manifest_digest, config, diff_ids, size, created_at, platform, parent_id)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                     ON CONFLICT (id) DO UPDATE SET manifest_digest = ?2, size = ?5",
                )?
                .execute(params![
                    image.id,
                    image.manifest_digest,
                    image.config.get(),
                    to_json(&image.diff_ids),
                    image.size,
                    image.created_at,
                    image.platform,
                    image.parent_id,
                ])?;
            for reference in &image.references {
                point(transaction, reference, &image.id)?;
            }
            let name = image.references.first().unwrap_or(&image.id);
            tell(transaction, action, &image.id, name)
        })
    }

    /// The image of a full id (with or without `sha256:`), a reference, or an unambiguous prefix of an id: Docker's
    /// precedence. `IMAGE_NOT_FOUND`, `IMAGE_AMBIGUOUS`.
    pub fn image(&self, reference: &str) -> Result<Image> {
        self.read(|connection| {
            let hex = reference.strip_prefix("sha256:").unwrap_or(reference);
            let hexadecimal =
                !hex.is_empty() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if hexadecimal
                && hex.len() == 64
                && let Some(found) = one(connection, "id = 'sha256:' || ?1", hex)?
            {
                return Ok(found);
            }
            let named = "id = (SELECT image_id FROM image_references WHERE name = ?1)";
            if let Some(found) = one(connection, named, reference)? {
                return Ok(found);
            }
            if hexadecimal { by_prefix(connection, hex, reference) } else { Err(not_found(reference)) }
        })
    }

    /// The id of the image that has this very reference.
    pub fn image_id(&self, reference: &str) -> Result<Option<String>> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT image_id FROM image_references WHERE name = ?1")?;
            Ok(statement.query_row([reference], |row| row.get(0)).optional()?)
        })
    }

    /// Newest first.
    pub fn images(&self) -> Result<Vec<Image>> {
        self.read(|connection| {
            let query = format!("SELECT {COLUMNS} FROM images ORDER BY created_at DESC, id");
            let mut statement = connection.prepare_cached(&query)?;
            let rows = statement.query_map([], image)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Points a reference at an image, and `tag`. `IMAGE_NOT_FOUND`.
    pub fn tag(&mut self, reference: &str, id: &str) -> Result<()> {
        self.write(|transaction| {
            by_id(transaction, id)?;
            point(transaction, reference, id)?;
            tell(transaction, "tag", id, reference)
        })
    }

    /// Removes a reference, not the image, and `untag`. `IMAGE_NOT_FOUND`.
    pub fn untag(&mut self, reference: &str) -> Result<()> {
        self.write_removal(|transaction| {
            let id: Option<String> = transaction
                .prepare_cached("DELETE FROM image_references WHERE name = ?1 RETURNING image_id")?
                .query_row([reference], |row| row.get(0))
                .optional()?;
            tell(transaction, "untag", &id.ok_or_else(|| not_found(reference))?, reference)
        })
    }

    /// Forgets an image and its references: an `untag` for each, and `delete`. Returns the layers nobody uses any
    /// more, forgotten too. `IMAGE_IN_USE` where a living container uses it, or, without `force`, any.
    pub fn remove_image(&mut self, id: &str, force: bool) -> Result<Vec<String>> {
        self.write_removal(|transaction| {
            let image = by_id(transaction, id)?;
            not_in_use(transaction, &image, force)?;
            for reference in &image.references {
                tell(transaction, "untag", id, reference)?;
            }
            transaction
                .prepare_cached("UPDATE containers SET layers = ?2 WHERE image_id = ?1 AND layers = '[]'")?
                .execute((id, to_json(&image.diff_ids)))?;
            transaction.prepare_cached("DELETE FROM image_references WHERE image_id = ?1")?.execute([id])?;
            transaction.prepare_cached("DELETE FROM images WHERE id = ?1")?.execute([id])?;
            tell(transaction, "delete", id, image.references.first().unwrap_or(&image.id))?;
            forget_unused(transaction, &to_json(&image.diff_ids))
        })
    }
}

fn not_in_use(transaction: &Transaction<'_>, image: &Image, force: bool) -> Result<()> {
    let user: Option<(String, String, bool)> = transaction
        .prepare_cached(
            "SELECT id, name, status IN ('starting', 'running', 'paused') AS living FROM containers
             WHERE image_id = ?1 ORDER BY living DESC LIMIT 1",
        )?
        .query_row([&image.id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((id, name, living)) = user.filter(|(_, _, living)| *living || !force) else {
        return Ok(());
    };
    let named = image.references.first().unwrap_or(&image.id);
    let (kind, hint) = if living {
        ("running", "stop and remove that container first")
    } else {
        ("stopped", "remove that container first, or force the removal with -f")
    };
    let short = id.get(..12).unwrap_or(&id);
    Err(Error::new("IMAGE_IN_USE", format!("image {named} is in use by {kind} container {name} ({short})"))
        .hint(hint))
}

fn by_id(connection: &Connection, id: &str) -> Result<Image> {
    one(connection, "id = ?1", id)?.ok_or_else(|| not_found(id))
}

fn one(connection: &Connection, condition: &str, key: &str) -> Result<Option<Image>> {
    let query = format!("SELECT {COLUMNS} FROM images WHERE {condition}");
    Ok(connection.prepare_cached(&query)?.query_row([key], image).optional()?)
}

fn by_prefix(connection: &Connection, hex: &str, reference: &str) -> Result<Image> {
    // 'g' follows every hexadecimal digit: a range of the primary key.
    let range = "id >= 'sha256:' || ?1 AND id < 'sha256:' || ?1 || 'g'";
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM images WHERE {range} LIMIT 2"))?;
    let mut found = statement.query_map([hex], image)?.collect::<rusqlite::Result<Vec<_>>>()?;
    match found.len() {
        2 => Err(Error::new(
            "IMAGE_AMBIGUOUS",
            format!("more than one image has an id that begins with {reference}"),
        )
        .hint("give more of the id")),
        _ => found.pop().ok_or_else(|| not_found(reference)),
    }
}

fn not_found(reference: &str) -> Error {
    Error::new("IMAGE_NOT_FOUND", format!("No such image: {reference}"))
}

fn point(transaction: &Transaction<'_>, reference: &str, id: &str) -> Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO image_references (name, image_id) VALUES (?1, ?2)")?
        .execute((reference, id))?;
    transaction.prepare_cached("UPDATE images SET tagged_at = ?2 WHERE id = ?1")?.execute((id, now()))?;
    Ok(())
}

fn tell(transaction: &Transaction<'_>, action: &str, id: &str, name: &str) -> Result<()> {
    append(transaction, "image", action, id, &Attributes::from([("name".into(), name.into())]), &now())
}

fn image(row: &Row<'_>) -> rusqlite::Result<Image> {
    Ok(Image {
        id: row.get(0)?,
        manifest_digest: row.get(1)?,
        config: json(row, 2)?,
        diff_ids: list(row, 3)?,
        size: row.get(4)?,
        created_at: row.get(5)?,
        platform: row.get(6)?,
        parent_id: row.get(7)?,
        tagged_at: row.get(8)?,
        references: list(row, 9)?,
    })
}

fn list(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<String>> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}
