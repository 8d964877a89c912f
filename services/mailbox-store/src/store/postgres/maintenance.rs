//! Housekeeping.

use super::{
    accounts, claims::FIRST_DUE, database::Transaction, deletions, failure::Failure, maildrop, submit::release,
};
use crate::store::{REPEAT_WINDOW, Upcoming, ids, plan::moments::least_key_of_age};
use internal_api::DeletedBy;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How many submissions are forgotten in one change, so that nobody waits long for it.
const FORGOTTEN: i64 = 1000;

/// How many maildrop entries expire in one change.
const EXPIRED: i64 = 500;
/// How long a maildrop is locked for it, should the store die meanwhile. Otherwise it is unlocked in the same commit.
const EXPIRY_LEASE: Duration = Duration::from_secs(60);

/// Writes something, to see whether it can be done.
pub(super) async fn probe(tx: &mut Transaction<'_>) -> Result<(), Failure> {
    let upsert = "INSERT INTO probes (id, probed_at_ms) VALUES (1, $1)
         ON CONFLICT (id) DO UPDATE SET probed_at_ms = EXCLUDED.probed_at_ms";
    tx.execute(upsert, &[&tx.now_ms()]).await.map(drop)
}

/// Forgets some submissions that are not repeated any more, and locks that have run out; returns whether there
/// may be more.
pub(super) async fn forget(tx: &mut Transaction<'_>) -> Result<bool, Failure> {
    tx.execute("DELETE FROM maildrop_locks WHERE expires_at_ms <= $1", &[&tx.now_ms()]).await?;
    let Some(greatest) = greatest_key(tx).await? else { return Ok(false) };
    let before = least_key_of_age(tx.now(), REPEAT_WINDOW).min(greatest);
    let select = "SELECT transaction_id FROM submissions WHERE message_id < $1 ORDER BY message_id LIMIT $2";
    let rows = tx.query(select, &[&before, &FORGOTTEN]).await?;
    let mut transactions: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    transactions.sort();
    tx.execute("DELETE FROM submissions WHERE transaction_id = ANY($1)", &[&transactions]).await?;
    Ok(transactions.len() as i64 == FORGOTTEN)
}

/// The greatest id of all that were given, as far as is remembered.
pub(super) async fn greatest_key(tx: &mut Transaction<'_>) -> Result<Option<i64>, Failure> {
    let row = tx.query_one("SELECT message_id FROM submissions ORDER BY message_id DESC LIMIT 1", &[]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Deletes some of what came longer ago than `age`, except maildrops that are in use; returns whether there may be
/// more.
pub(super) async fn expire(tx: &mut Transaction<'_>, age: Duration) -> Result<bool, Failure> {
    if deletions::are_pending(tx).await? {
        // What is hidden would be looked through again and again.
        return Ok(false);
    }
    let now = tx.now();
    let oldest = least_key_of_age(now, age);
    let select = "SELECT address, message_id FROM deliveries WHERE message_id < $1
         AND NOT EXISTS (SELECT 1 FROM maildrop_locks
             WHERE maildrop_locks.address = deliveries.address AND expires_at_ms > $2)
         ORDER BY message_id LIMIT $3";
    let rows = tx.query(select, &[&oldest, &now.as_millisecond(), &EXPIRED]).await?;
    let mut maildrops: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in &rows {
        maildrops.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
    }
    for (address, messages) in &maildrops {
        // Else a session that is being opened would list what is going.
        let session = uuid::Uuid::new_v4().simple().to_string();
        if maildrop::lock(tx, address, &session, EXPIRY_LEASE).await? {
            expire_in(tx, address, messages).await?;
            maildrop::unlock(tx, address, &session).await?;
        }
    }
    Ok(rows.len() as i64 == EXPIRED)
}

async fn expire_in(tx: &mut Transaction<'_>, address: &str, messages: &[i64]) -> Result<(), Failure> {
    let delete = "DELETE FROM deliveries WHERE address = $1 AND message_id = ANY($2)
         AND NOT EXISTS (SELECT 1 FROM deletions
             WHERE deletions.address = $1 AND first_id <= message_id AND last_id >= message_id)
         RETURNING message_id, octets, quarantined_at_ms IS NULL";
    let (mut expired, mut count) = (BTreeSet::new(), (0, 0));
    for row in tx.query(delete, &[&address, &messages]).await? {
        expired.insert(row.try_get(0)?);
        if row.try_get(2)? {
            count = (count.0 + 1, count.1 + row.try_get::<_, i64>(1)?);
        }
    }
    if let Ok(mailbox) = address.parse() {
        expired.iter().for_each(|message| tx.events.deleted(*message, &mailbox, DeletedBy::Retention));
    }
    release(tx, &expired, 1).await?;
    tx.effects.expired += expired.len() as u64;
    accounts::count_out(tx, &BTreeMap::from([(address, count)])).await
}

/// What is ahead.
pub(super) async fn upcoming(tx: &mut Transaction<'_>) -> Result<Upcoming, Failure> {
    let first = tx.query_one(FIRST_DUE, &[&i64::MIN]).await?;
    let due_at_ms: Option<i64> = first.map(|row| row.try_get(1)).transpose()?;
    let oldest = tx.query_one("SELECT message_id FROM deliveries ORDER BY message_id LIMIT 1", &[]).await?;
    let oldest: Option<i64> = oldest.map(|row| row.try_get(0)).transpose()?;
    Ok(Upcoming {
        queue: due_at_ms.and_then(|due_at_ms| Timestamp::from_millisecond(due_at_ms).ok()),
        oldest_delivered: oldest.map(ids::moment),
    })
}
