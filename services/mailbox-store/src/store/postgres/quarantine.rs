//! Setting aside what cannot be decoded.

use super::{accounts, database::Unit, failure::Failure};
use crate::store::records::SetAside;
use std::collections::BTreeMap;

/// Sets a message aside in every maildrop and in the queue. Entries under a lease are their worker's to settle: it
/// finds out, too, and has the sender told. Unless it is the lease that is being made out.
pub(super) async fn message(
    unit: &mut Unit<'_>,
    message: i64,
    new_lease: Option<&str>,
    reason: &str,
) -> Result<(), Failure> {
    let now_ms = unit.now_ms();
    // Whoever deletes many entries counts them under this lock.
    let accounts = "SELECT 1 FROM accounts WHERE address IN (SELECT address FROM maildrops WHERE message_id = $1)
         ORDER BY address FOR UPDATE";
    unit.query(accounts, &[&message]).await?;
    let deliveries = "UPDATE deliveries SET quarantined_at_ms = $2
         WHERE message_id = $1 AND quarantined_at_ms IS NULL
         AND address IN (SELECT address FROM maildrops WHERE message_id = $1) RETURNING address, octets";
    let deliveries = unit.query(deliveries, &[&message, &now_ms]).await?;
    let queue = "UPDATE queue SET quarantined_at_ms = $2, lease = NULL
         WHERE message_id = $1 AND quarantined_at_ms IS NULL
         AND (lease IS NULL OR next_attempt_at_ms <= $2 OR lease = $3)";
    let entries = unit.execute(queue, &[&message, &now_ms, &new_lease]).await?;
    let mut counts = BTreeMap::new();
    for row in &deliveries {
        counts.insert(row.try_get(0)?, (1, row.try_get(1)?));
    }
    accounts::count_out(unit, &counts).await?;
    unit.effects.queued -= entries as i64;
    count(unit, message, deliveries.len() as u64 + entries, reason);
    Ok(())
}

/// Sets aside one recipient of a queued message.
pub(super) async fn queue_entry(
    unit: &mut Unit<'_>,
    domain: &str,
    message: i64,
    recipient: &str,
) -> Result<(), Failure> {
    let update = "UPDATE queue SET quarantined_at_ms = $4, lease = NULL
         WHERE domain = $1 AND message_id = $2 AND recipient = $3 AND quarantined_at_ms IS NULL";
    let entries = unit.execute(update, &[&domain, &message, &recipient, &unit.now_ms()]).await?;
    unit.effects.queued -= entries as i64;
    count(unit, message, entries, "a recipient that cannot be decoded");
    Ok(())
}

fn count(unit: &mut Unit<'_>, message: i64, records: u64, reason: &str) {
    if records > 0 {
        unit.effects.set_aside.push(SetAside { message, records, reason: reason.to_owned() });
    }
}
