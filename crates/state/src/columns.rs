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
