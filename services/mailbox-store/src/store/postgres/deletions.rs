//! Deleting many entries of a maildrop: one small change hides them, many small ones remove them.

use super::{accounts, database::Transaction, failure::Failure, submit::release};
use crate::store::deletion::{Deletion, REMOVED};
use internal_api::DeletedBy;
use mail_proto::Mailbox;
use std::collections::{BTreeMap, BTreeSet};

/// How many entries are looked at in one statement.
pub(super) const ENTRIES: i64 = 10_000;

/// Those of some messages that are queued.
pub(super) const QUEUED_OF: &str = "SELECT DISTINCT message_id FROM queue WHERE message_id = ANY($1)";
/// Those of some messages that are in a maildrop and not hidden there.
pub(super) const DELIVERED_OF: &str = "SELECT DISTINCT message_id FROM maildrops WHERE message_id = ANY($1)";

/// Hides these entries of a maildrop, until [`sweep`] removes them. They are in order.
pub(super) async fn hide(tx: &mut Transaction<'_>, mailbox: &Mailbox, delete: &[i64]) -> Result<(), Failure> {
    let address = &*mailbox.to_string();
    // Whoever delivers has locked the account, too: nothing comes between looking and hiding.
    tx.query("SELECT 1 FROM accounts WHERE address = $1 FOR UPDATE", &[&address]).await?;
    let Deletion { ranges, deleted, messages, octets, .. } = find(tx, address, delete).await?;
    tx.events.deleted_many(&deleted, mailbox, DeletedBy::Session);
    let firsts: Vec<i64> = ranges.iter().map(|range| *range.start()).collect();
    let lasts: Vec<i64> = ranges.iter().map(|range| *range.end()).collect();
    // A range that was deleted before may lie within a new one; none reaches over its ends.
    let forget = "DELETE FROM deletions USING unnest($2::bigint[], $3::bigint[]) AS new (first_id, last_id)
         WHERE deletions.address = $1 AND deletions.last_id BETWEEN new.first_id AND new.last_id";
    tx.execute(forget, &[&address, &firsts, &lasts]).await?;
    let insert = "INSERT INTO deletions (address, first_id, last_id)
         SELECT $1::text, new.* FROM unnest($2::bigint[], $3::bigint[]) AS new";
    tx.execute(insert, &[&address, &firsts, &lasts]).await?;
    tx.effects.deleted |= !ranges.is_empty();
    accounts::count_out(tx, &BTreeMap::from([(address, (messages, octets))])).await
}

/// Finds these entries in a maildrop, all of which it looks through. They are in order.
pub(super) async fn find<'a>(tx: &Transaction<'_>, address: &str, entries: &'a [i64]) -> Result<Deletion<'a>, Failure> {
    let select = "SELECT message_id, octets, quarantined_at_ms IS NOT NULL FROM maildrops
         WHERE address = $1 AND message_id > $2 ORDER BY message_id LIMIT $3";
    let (mut deletion, mut last) = (Deletion::of(entries), i64::MIN);
    loop {
        let rows = tx.query(select, &[&address, &last, &ENTRIES]).await?;
        for row in &rows {
            last = row.try_get(0)?;
            deletion.entry(last, row.try_get(1)?, row.try_get(2)?);
        }
        if (rows.len() as i64) < ENTRIES {
            return Ok(deletion);
        }
    }
}

/// Removes some of what is hidden; returns whether there may be more.
pub(super) async fn sweep(tx: &mut Transaction<'_>) -> Result<bool, Failure> {
    let mut left = REMOVED;
    while left > 0 {
        // What another store is sweeping is left to it.
        let select = "SELECT address, first_id, last_id FROM deletions LIMIT 1 FOR UPDATE SKIP LOCKED";
        let Some(range) = tx.query_one(select, &[]).await? else { return Ok(false) };
        let (address, first, last): (String, i64, i64) = (range.try_get(0)?, range.try_get(1)?, range.try_get(2)?);
        left -= sweep_range(tx, &address, first, last, left).await?.max(1);
    }
    Ok(true)
}

/// Removes at most `limit` entries of a range; returns how many.
async fn sweep_range(
    tx: &mut Transaction<'_>,
    address: &str,
    first: i64,
    last: i64,
    limit: i64,
) -> Result<i64, Failure> {
    let remove = "DELETE FROM deliveries WHERE address = $1 AND message_id = ANY (ARRAY(
             SELECT message_id FROM deliveries WHERE address = $1 AND message_id BETWEEN $2 AND $3
             ORDER BY message_id LIMIT $4
         )) RETURNING message_id";
    let rows = tx.query(remove, &[&address, &first, &last, &limit]).await?;
    let removed: BTreeSet<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    release(tx, &removed, 1).await?;
    tx.effects.swept += removed.len() as u64;
    match removed.last() {
        Some(swept) if removed.len() as i64 == limit && *swept < last => {
            // What is gone is not walked again.
            let update = "UPDATE deletions SET first_id = $3 WHERE address = $1 AND last_id = $2";
            tx.execute(update, &[&address, &last, &(swept + 1)]).await?;
        }
        _ => {
            tx.execute("DELETE FROM deletions WHERE address = $1 AND last_id = $2", &[&address, &last]).await?;
        }
    }
    Ok(removed.len() as i64)
}

/// Whether anything is hidden.
pub(super) async fn are_pending(tx: &Transaction<'_>) -> Result<bool, Failure> {
    Ok(tx.query_one("SELECT 1 FROM deletions LIMIT 1", &[]).await?.is_some())
}

/// Those of these messages that are queued or in a maildrop, in the same order. The others are hidden everywhere, until
/// [`sweep`] removes them.
///
/// Messages, maildrops and the queue may be on different machines, so each is read by a statement of its own.
pub(super) async fn held(tx: &Transaction<'_>, mut messages: Vec<i64>) -> Result<Vec<i64>, Failure> {
    if !messages.is_empty() && are_pending(tx).await? {
        let mut held = BTreeSet::new();
        // The queue is read first, because a message may go from there to a maildrop between the two statements.
        for select in [QUEUED_OF, DELIVERED_OF] {
            for row in tx.query(select, &[&messages]).await? {
                held.insert(row.try_get::<_, i64>(0)?);
            }
        }
        messages.retain(|message| held.contains(message));
    }
    Ok(messages)
}

/// Whether any of these entries would be hidden: it comes late, into a range that is not swept yet.
pub(super) async fn hide_any(tx: &Transaction<'_>, addresses: &[&str], messages: &[i64]) -> Result<bool, Failure> {
    let select = "SELECT 1 FROM deletions JOIN unnest($1::text[], $2::bigint[]) AS new (address, message_id)
         ON deletions.address = new.address AND first_id <= message_id AND last_id >= message_id LIMIT 1";
    Ok(tx.query_one(select, &[&addresses, &messages]).await?.is_some())
}
