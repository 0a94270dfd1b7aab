//! Columns: JSON into and out of them, and the question whether a row exists.

use rusqlite::{Connection, Row};
use serde_json::value::RawValue;

use crate::error::Result;
use crate::rows::Json;

/// A column of JSON.
pub(crate) fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<Json> {
    RawValue::from_string(row.get(column)?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// Maps of text and lists of text always have a JSON form.
pub(crate) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Whether a query with one parameter finds anything.
pub(crate) fn exists(connection: &Connection, query: &str, key: &str) -> Result<bool> {
    Ok(connection.prepare_cached(query)?.exists([key])?)
}

/// Who has an id that begins so.
pub(crate) enum ByPrefix<T> {
    Nobody,
    One(T),
    Several,
}

/// Looks an id up by its beginning, hexadecimal digits. `select`: up to the condition; `read` reads a row of it.
pub(crate) fn by_prefix<T>(
    connection: &Connection,
    select: &str,
    prefix: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<ByPrefix<T>> {
    if prefix.is_empty() || !prefix.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(ByPrefix::Nobody);
    }
    // 'g' follows every hexadecimal digit: a range of the primary key.
    let query = format!("{select} WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2");
    let mut statement = connection.prepare_cached(&query)?;
    let mut found = statement.query_map([prefix], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(match found.len() {
        2 => ByPrefix::Several,
        _ => found.pop().map_or(ByPrefix::Nobody, ByPrefix::One),
    })
}
