//! The table of events.

use super::{
    values::{collect, key},
    writer::WriteTransaction,
};
use crate::store::{
    Result,
    events::{self, EventLog, EventRetention, NewRecord, PRUNED, STORY_RECORDS, StoredRecord},
};
use internal_api::{Event, EventPage, EventPosition, MessageId};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Writes the events of a change; returns whether there were any.
pub(super) fn write(connection: &Connection, log: EventLog, now: Timestamp) -> Result<bool> {
    let records = log.into_records()?;
    if records.is_empty() {
        return Ok(false);
    }
    let mut insert = connection
        .prepare_cached("INSERT INTO events (message_id, last_message_id, at_ms, detail) VALUES (?1, ?2, ?3, ?4)")?;
    for NewRecord { message, last_message, detail } in records {
        insert.execute(params![message, last_message, now.as_millisecond(), detail])?;
    }
    Ok(true)
}

/// At most `limit` events after `after`.
pub(super) fn page(connection: &Connection, after: EventPosition, limit: u32) -> Result<EventPage> {
    let mut statement = connection
        .prepare_cached("SELECT seq, message_id, at_ms, detail FROM events WHERE seq >= ?1 ORDER BY seq LIMIT ?2")?;
    let records = collect(statement.query_map(params![after.record, i64::from(limit) + 1], record)?)?;
    Ok(events::page(&records, after, limit))
}

/// Where the events end.
pub(super) fn last(connection: &Connection) -> Result<EventPosition> {
    let greatest: Option<i64> = connection.query_row("SELECT MAX(seq) FROM events", [], |row| row.get(0))?;
    Ok(greatest.map_or(EventPosition::default(), |record| EventPosition { transaction: 0, record, place: u32::MAX }))
}

/// When the newest of them was written.
pub(super) fn newest_at(connection: &Connection) -> Result<Option<Timestamp>> {
    let select = "SELECT at_ms FROM events ORDER BY seq DESC LIMIT 1";
    let at_ms: Option<i64> = connection.query_row(select, [], |row| row.get(0)).optional()?;
    Ok(at_ms.and_then(|at_ms| Timestamp::from_millisecond(at_ms).ok()))
}

/// The events of one message.
pub(super) fn story(connection: &Connection, message: MessageId) -> Result<Vec<Event>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, message_id, at_ms, detail FROM (
             SELECT seq, message_id, at_ms, detail FROM events WHERE message_id = ?1
             UNION
             SELECT seq, message_id, at_ms, detail FROM events WHERE last_message_id >= ?1 AND message_id < ?1
         ) ORDER BY seq LIMIT ?2",
    )?;
    let records = collect(statement.query_map(params![key(message), STORY_RECORDS], record)?)?;
    Ok(events::story(&records, message))
}

fn record(row: &Row<'_>) -> rusqlite::Result<StoredRecord> {
    let (record, message, at_ms, detail) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
    Ok(StoredRecord { transaction: 0, record, message, at_ms, detail })
}

/// Removes some of the oldest records that need not be kept; returns whether there may be more.
pub(super) fn prune(tx: &mut WriteTransaction<'_>, retention: EventRetention) -> Result<bool> {
    let greatest: Option<i64> = tx.connection.query_row("SELECT MAX(seq) FROM events", [], |row| row.get(0))?;
    let Some(greatest) = greatest else { return Ok(false) };
    let mut select = tx.connection.prepare_cached("SELECT at_ms, seq FROM events ORDER BY seq LIMIT ?1")?;
    let oldest: Vec<(i64, i64)> = collect(select.query_map([PRUNED], |row| Ok((row.get(0)?, row.get(1)?)))?)?;
    let oldest_kept_ms = retention.oldest_kept_ms(tx.now());
    let count = events::prunable(&oldest, greatest, oldest_kept_ms, retention.records);
    if let Some((_, last)) = oldest[..count].last() {
        tx.connection.prepare_cached("DELETE FROM events WHERE seq <= ?1")?.execute([last])?;
    }
    Ok(count as i64 == PRUNED)
}
