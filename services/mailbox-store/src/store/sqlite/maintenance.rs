//! Housekeeping.

use super::writer::Unit;
use crate::store::{REPEAT_WINDOW, Result, ids::least_key};

/// How many submissions are forgotten in one change, so that nobody waits long for it.
const FORGOTTEN: i64 = 1000;

/// Writes something, to see whether it can be done.
pub(super) fn probe(unit: &mut Unit<'_>) -> Result<()> {
    unit.connection
        .prepare_cached("INSERT OR REPLACE INTO probe (id, probed_at_ms) VALUES (1, ?1)")?
        .execute([unit.now().as_millisecond()])?;
    Ok(())
}

/// Forgets some submissions that are not repeated any more, and locks that have run out; answers whether there
/// may be more.
pub(super) fn forget(unit: &mut Unit<'_>) -> Result<bool> {
    let now = unit.now();
    unit.connection
        .prepare_cached("DELETE FROM maildrop_locks WHERE expires_at_ms <= ?1")?
        .execute([now.as_millisecond()])?;
    let forgotten = unit
        .connection
        .prepare_cached(
            "DELETE FROM submissions WHERE message_id IN (
                 SELECT message_id FROM submissions
                 WHERE message_id < ?1 AND message_id < (SELECT MAX(message_id) FROM submissions)
                 ORDER BY message_id LIMIT ?2
             )",
        )?
        .execute([least_key(now - REPEAT_WINDOW), FORGOTTEN])?;
    Ok(forgotten as i64 == FORGOTTEN)
}
