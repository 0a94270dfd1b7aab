//! Events: what happened, in order. Whoever changes a row appends its event in the same transaction.

use rusqlite::{Row, Transaction};

use crate::clock::now;
use crate::columns::{json, to_json};
use crate::database::Database;
use crate::error::Result;
use crate::rows::{Attributes, Event, EventFilter, NewEvent};

/// How many events are kept at least; up to [`SWEEP`] more are.
const KEPT: i64 = 16_384;
const SWEEP: i64 = 1024;

impl Database {
    /// Records an event that comes with no change of state (`kill`, `exec_start`, `attach`, …).
    pub fn append_event(&mut self, event: &NewEvent) -> Result<()> {
        self.write(|transaction| {
            append(transaction, &event.kind, &event.action, &event.id, &event.attributes, &now())
        })
    }

    /// Oldest first.
    pub fn events(&self, filter: &EventFilter) -> Result<Vec<Event>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT seq, time, kind, action, id, attributes FROM events
                 WHERE seq > ?1 AND time >= coalesce(?2, '') AND time <= coalesce(?3, 'A') ORDER BY seq LIMIT ?4",
            )?;
            let parameters = (filter.after, &filter.since, &filter.until, filter.limit.unwrap_or(-1));
            let rows = statement.query_map(parameters, event)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        seq: row.get(0)?,
        time: row.get(1)?,
        kind: row.get(2)?,
        action: row.get(3)?,
        id: row.get(4)?,
        attributes: json(row, 5)?,
    })
}

/// Appends an event at `time`, and now and then forgets the oldest.
pub(crate) fn append(
    transaction: &Transaction<'_>,
    kind: &str,
    action: &str,
    id: &str,
    attributes: &Attributes,
    time: &str,
) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO events (time, kind, action, id, attributes) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((time, kind, action, id, to_json(attributes)))?;
    let seq = transaction.last_insert_rowid();
    if seq % SWEEP == 0 {
        transaction.execute("DELETE FROM events WHERE seq <= ?1", [seq - KEPT])?;
    }
    Ok(())
}
