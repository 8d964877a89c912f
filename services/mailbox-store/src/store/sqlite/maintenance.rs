//! Housekeeping.

use super::{
    accounts, maildrop,
    submit::release,
    values::{RawText, collect},
    writer::WriteTransaction,
};
use crate::store::{REPEAT_WINDOW, Result, StoreError, Upcoming, ids, plan::moments::least_key_of_age};
use internal_api::DeletedBy;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;

/// How many maildrop entries expire in one change.
const EXPIRED: i64 = 500;
/// How many submissions are forgotten in one change, so that nobody waits long for it.
const FORGOTTEN: i64 = 1000;

/// Writes something, to see whether it can be done.
pub(super) fn probe(tx: &mut WriteTransaction<'_>) -> Result<()> {
    tx.connection
        .prepare_cached("INSERT OR REPLACE INTO probe (id, probed_at_ms) VALUES (1, ?1)")?
        .execute([tx.now().as_millisecond()])?;
    Ok(())
}

/// Forgets some submissions that are not repeated any more; returns whether there may be more.
pub(super) fn forget(tx: &mut WriteTransaction<'_>) -> Result<bool> {
    let now = tx.now();
    let forgotten = tx
        .connection
        .prepare_cached(
            "DELETE FROM submissions WHERE message_id IN (
                 SELECT message_id FROM submissions
                 WHERE message_id < ?1 AND message_id < (SELECT MAX(message_id) FROM submissions)
                 ORDER BY message_id LIMIT ?2
             )",
        )?
        .execute([least_key_of_age(now, REPEAT_WINDOW), FORGOTTEN])?;
    Ok(forgotten as i64 == FORGOTTEN)
}

/// Deletes some maildrop entries that are older than `age`; returns whether there may be more. The maildrops in `open`
/// wait: their sessions count on what they were told is there.
pub(super) fn expire(tx: &mut WriteTransaction<'_>, age: Duration, open: &[String]) -> Result<bool> {
    if maildrop::has_deletions(tx.connection)? {
        // What is hidden would be looked through again and again.
        return Ok(false);
    }
    let oldest = least_key_of_age(tx.now(), age);
    let open = serde_json::to_string(open).map_err(|error| StoreError::Internal(error.to_string()))?;
    let mut statement = tx.connection.prepare_cached(
        "DELETE FROM deliveries WHERE (address, message_id) IN (
             SELECT address, message_id FROM deliveries
             WHERE message_id < ?1
             AND address NOT IN (SELECT value FROM json_each(?2))
             ORDER BY message_id LIMIT ?3
         ) RETURNING address, message_id, octets, quarantined_at_ms IS NULL",
    )?;
    let expired: Vec<(RawText, i64, i64, bool)> =
        collect(statement.query_map(params![oldest, open, EXPIRED], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?)?;
    for (address, message, octets, is_counted) in &expired {
        if let Some(mailbox) = address.parse() {
            tx.events.deleted(*message, &mailbox, DeletedBy::Retention);
        }
        if *is_counted {
            accounts::count_out(tx.connection, address, 1, *octets)?;
        }
        release(tx, *message)?;
    }
    tx.effects.expired += expired.len() as u64;
    Ok(expired.len() as i64 == EXPIRED)
}

/// What is ahead.
pub(super) fn upcoming(connection: &Connection) -> Result<Upcoming> {
    let first_due = "SELECT next_attempt_at_ms FROM queue
         WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL ORDER BY next_attempt_at_ms LIMIT 1";
    let due_at_ms: Option<i64> = connection.prepare_cached(first_due)?.query_row([], |row| row.get(0)).optional()?;
    let oldest = "SELECT MIN(message_id) FROM deliveries";
    let oldest: Option<i64> = connection.prepare_cached(oldest)?.query_row([], |row| row.get(0))?;
    Ok(Upcoming {
        queue: due_at_ms.and_then(|due_at_ms| Timestamp::from_millisecond(due_at_ms).ok()),
        oldest_delivered: oldest.map(ids::moment),
    })
}
