//! Setting aside what cannot be decoded.

use super::{
    accounts,
    values::{RawText, collect},
    writer::Unit,
};
use crate::store::{Result, records::SetAside};
use rusqlite::params;

/// Sets a message aside in every maildrop and in the queue. Entries under a lease are their worker's to settle: it
/// finds out, too, and has the sender told.
pub(super) fn message(unit: &mut Unit<'_>, message: i64, reason: &str) -> Result<()> {
    let now_ms = unit.now().as_millisecond();
    let mut statement = unit.connection.prepare_cached(
        "UPDATE deliveries SET quarantined_at_ms = ?2 WHERE message_id = ?1 AND quarantined_at_ms IS NULL
         AND address IN (SELECT address FROM maildrops WHERE message_id = ?1)
         RETURNING address, octets",
    )?;
    let deliveries: Vec<(RawText, i64)> =
        collect(statement.query_map(params![message, now_ms], |row| Ok((row.get(0)?, row.get(1)?)))?)?;
    for (address, octets) in &deliveries {
        accounts::count_out(unit.connection, address, 1, *octets)?;
    }
    let entries = unit
        .connection
        .prepare_cached(
            "UPDATE queue SET quarantined_at_ms = ?2, lease = NULL
             WHERE message_id = ?1 AND quarantined_at_ms IS NULL AND (lease IS NULL OR next_attempt_at_ms <= ?2)",
        )?
        .execute(params![message, now_ms])?;
    unit.effects.queued -= entries as i64;
    count(unit, message, deliveries.len() + entries, reason);
    Ok(())
}

/// Sets aside one recipient of a queued message.
pub(super) fn queue_entry(unit: &mut Unit<'_>, message: i64, recipient: &RawText, reason: &str) -> Result<()> {
    let entries = unit
        .connection
        .prepare_cached(
            "UPDATE queue SET quarantined_at_ms = ?3, lease = NULL
             WHERE message_id = ?1 AND recipient = ?2 AND quarantined_at_ms IS NULL",
        )?
        .execute(params![message, recipient, unit.now().as_millisecond()])?;
    unit.effects.queued -= entries as i64;
    count(unit, message, entries, reason);
    Ok(())
}

fn count(unit: &mut Unit<'_>, message: i64, records: usize, reason: &str) {
    if records > 0 {
        let (records, reason) = (records as u64, reason.to_owned());
        unit.effects.set_aside.push(SetAside { message, records, reason });
    }
}
