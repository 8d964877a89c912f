//! Quarantines what cannot be decoded.

use super::{
    accounts,
    values::{RawText, collect},
    writer::WriteTransaction,
};
use crate::store::{Result, records::Quarantined};
use rusqlite::params;

/// Quarantines a message in every maildrop and in the queue. Entries under a lease are their worker's to settle: it
/// finds out, too, and has the sender told.
pub(super) fn message(tx: &mut WriteTransaction<'_>, message: i64, reason: &str) -> Result<()> {
    let now_ms = tx.now().as_millisecond();
    let mut statement = tx.connection.prepare_cached(
        "UPDATE deliveries SET quarantined_at_ms = ?2 WHERE message_id = ?1 AND quarantined_at_ms IS NULL
         AND address IN (SELECT address FROM maildrops WHERE message_id = ?1)
         RETURNING address, octets",
    )?;
    let deliveries: Vec<(RawText, i64)> =
        collect(statement.query_map(params![message, now_ms], |row| Ok((row.get(0)?, row.get(1)?)))?)?;
    for (address, octets) in &deliveries {
        accounts::count_out(tx.connection, address, 1, *octets)?;
    }
    let entries = tx
        .connection
        .prepare_cached(
            "UPDATE queue SET quarantined_at_ms = ?2, lease = NULL
             WHERE message_id = ?1 AND quarantined_at_ms IS NULL AND (lease IS NULL OR next_attempt_at_ms <= ?2)",
        )?
        .execute(params![message, now_ms])?;
    tx.effects.queued -= entries as i64;
    count(tx, message, deliveries.len() + entries, reason);
    Ok(())
}

/// Quarantines one recipient of a queued message.
pub(super) fn queue_entry(
    tx: &mut WriteTransaction<'_>,
    message: i64,
    recipient: &RawText,
    reason: &str,
) -> Result<()> {
    let entries = tx
        .connection
        .prepare_cached(
            "UPDATE queue SET quarantined_at_ms = ?3, lease = NULL
             WHERE message_id = ?1 AND recipient = ?2 AND quarantined_at_ms IS NULL",
        )?
        .execute(params![message, recipient, tx.now().as_millisecond()])?;
    tx.effects.queued -= entries as i64;
    count(tx, message, entries, reason);
    Ok(())
}

fn count(tx: &mut WriteTransaction<'_>, message: i64, records: usize, reason: &str) {
    if records > 0 {
        let (records, reason) = (records as u64, reason.to_owned());
        tx.effects.quarantined.push(Quarantined { message, records, reason });
    }
}
