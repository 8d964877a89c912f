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
    let addresses =
        "SELECT address FROM maildrops WHERE message_id = $1 AND quarantined_at_ms IS NULL ORDER BY address";
    let addresses = tx.query(addresses, &[&message]).await?;
    let mut counts = BTreeMap::new();
    for row in &addresses {
        let address: &str = row.try_get(0)?;
        // Whoever deletes many entries counts them under this lock. A lock is for one address, that is one machine.
        tx.query("SELECT 1 FROM accounts WHERE address = $1 FOR UPDATE", &[&address]).await?;
        let update = "UPDATE deliveries SET quarantined_at_ms = $3
             WHERE address = $1 AND message_id = $2 AND quarantined_at_ms IS NULL
             AND NOT EXISTS (SELECT 1 FROM deletions
                 WHERE deletions.address = $1 AND first_id <= $2 AND last_id >= $2)
             RETURNING octets";
        if let Some(delivery) = tx.query_one(update, &[&address, &message, &now_ms]).await? {
            counts.insert(address, (1, delivery.try_get(0)?));
        }
    }
    let queue = "UPDATE queue SET quarantined_at_ms = $2, lease = NULL
         WHERE message_id = $1 AND quarantined_at_ms IS NULL
         AND (lease IS NULL OR next_attempt_at_ms <= $2 OR lease = $3)";
    let entries = tx.execute(queue, &[&message, &now_ms, &new_lease]).await?;
    let deliveries = counts.len() as u64;
    accounts::count_out(tx, &counts).await?;
    tx.effects.queued -= entries as i64;
    count(tx, message, deliveries + entries, reason);
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
