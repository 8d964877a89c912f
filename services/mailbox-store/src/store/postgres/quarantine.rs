//! Quarantines what cannot be decoded.

use super::{accounts, database::Transaction, failure::Failure};
use crate::store::records::Quarantined;
use std::collections::BTreeMap;

/// Quarantines a message in every maildrop and in the queue. Entries under a lease are their worker's to settle: it
/// finds out, too, and has the sender told. Unless it is the lease that is being created.
pub(super) async fn message(
    tx: &mut Transaction<'_>,
    message: i64,
    new_lease: Option<&str>,
    reason: &str,
) -> Result<(), Failure> {
    let now_ms = tx.now_ms();
    // Whoever deletes many entries counts them under this lock.
    let accounts = "SELECT 1 FROM accounts WHERE address IN (SELECT address FROM maildrops WHERE message_id = $1)
         ORDER BY address FOR UPDATE";
    tx.query(accounts, &[&message]).await?;
    let deliveries = "UPDATE deliveries SET quarantined_at_ms = $2
         WHERE message_id = $1 AND quarantined_at_ms IS NULL
         AND address IN (SELECT address FROM maildrops WHERE message_id = $1) RETURNING address, octets";
    let deliveries = tx.query(deliveries, &[&message, &now_ms]).await?;
    let queue = "UPDATE queue SET quarantined_at_ms = $2, lease = NULL
         WHERE message_id = $1 AND quarantined_at_ms IS NULL
         AND (lease IS NULL OR next_attempt_at_ms <= $2 OR lease = $3)";
    let entries = tx.execute(queue, &[&message, &now_ms, &new_lease]).await?;
    let mut counts = BTreeMap::new();
    for row in &deliveries {
        counts.insert(row.try_get(0)?, (1, row.try_get(1)?));
    }
    accounts::count_out(tx, &counts).await?;
    tx.effects.queued -= entries as i64;
    count(tx, message, deliveries.len() as u64 + entries, reason);
    Ok(())
}

/// Quarantines one recipient of a queued message.
pub(super) async fn queue_entry(
    tx: &mut Transaction<'_>,
    domain: &str,
    message: i64,
    recipient: &str,
) -> Result<(), Failure> {
    let update = "UPDATE queue SET quarantined_at_ms = $4, lease = NULL
         WHERE domain = $1 AND message_id = $2 AND recipient = $3 AND quarantined_at_ms IS NULL";
    let entries = tx.execute(update, &[&domain, &message, &recipient, &tx.now_ms()]).await?;
    tx.effects.queued -= entries as i64;
    count(tx, message, entries, "a recipient that cannot be decoded");
    Ok(())
}

fn count(tx: &mut Transaction<'_>, message: i64, records: u64, reason: &str) {
    if records > 0 {
        tx.effects.quarantined.push(Quarantined { message, records, reason: reason.to_owned() });
    }
}
