//! Maildrops: listing, locking, and the UPDATE state.

use super::{
    accounts,
    database::Transaction,
    deletions,
    failure::Failure,
    messages::{self, Page},
    submit::release,
    values::{Natural, decode},
};
use crate::store::{
    StoreError,
    deletion::{AT_ONCE, sorted},
    plan::moments::later_ms,
    records::{id, key, next_after},
};
use internal_api::{DeletedBy, DeliveredMessage, MaildropEntry, MessageId};
use mail_proto::Mailbox;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Locks a maildrop for a session, which may have it already, and begins to list it.
pub(super) async fn open(
    tx: &mut Transaction<'_>,
    address: &Mailbox,
    session: &str,
    lease: Duration,
    limit: u32,
) -> Result<Page<MaildropEntry>, Failure> {
    accounts::mailbox(tx, address).await?;
    need_not_be_durable(tx).await?;
    let address = address.to_string();
    if !lock(tx, &address, session, lease).await? {
        return Err(StoreError::MaildropInUse.into());
    }
    // Sees what the session before has deleted: its lock went in the same commit.
    entries(tx, &address, MessageId::from_number(0), limit).await
}

/// Does not wait for the disk at the end of this transaction, which changes locks only. A database that has lost its last
/// moments has lost the sessions, too: an update without its lock deletes nothing, and a lock too many runs out.
async fn need_not_be_durable(tx: &Transaction<'_>) -> Result<(), Failure> {
    tx.query_one("SELECT set_config('synchronous_commit', 'off', true)", &[]).await.map(drop)
}

/// Locks a maildrop for a session; returns whether it has it: not while another has.
pub(super) async fn lock(tx: &Transaction<'_>, address: &str, session: &str, lease: Duration) -> Result<bool, Failure> {
    let now_ms = tx.now_ms();
    let lock = "INSERT INTO maildrop_locks (address, session, expires_at_ms) VALUES ($1, $2, $3)
         ON CONFLICT (address) DO UPDATE SET session = EXCLUDED.session, expires_at_ms = EXCLUDED.expires_at_ms
         WHERE maildrop_locks.session = EXCLUDED.session OR maildrop_locks.expires_at_ms <= $4";
    let locked = tx.execute(lock, &[&address, &session, &later_ms(now_ms, lease), &now_ms]).await?;
    Ok(locked == 1)
}

pub(super) async fn renew(
    tx: &mut Transaction<'_>,
    address: &str,
    session: &str,
    lease: Duration,
) -> Result<(), Failure> {
    need_not_be_durable(tx).await?;
    let now_ms = tx.now_ms();
    let update =
        "UPDATE maildrop_locks SET expires_at_ms = $3 WHERE address = $1 AND session = $2 AND expires_at_ms > $4";
    let renewed = tx.execute(update, &[&address, &session, &later_ms(now_ms, lease), &now_ms]).await?;
    if renewed == 1 { Ok(()) } else { Err(StoreError::LeaseLost.into()) }
}

pub(super) async fn update(
    tx: &mut Transaction<'_>,
    mailbox: &Mailbox,
    session: &str,
    delete: &[MessageId],
) -> Result<(), Failure> {
    if delete.is_empty() {
        need_not_be_durable(tx).await?;
    }
    let address = &*mailbox.to_string();
    let unlock = "DELETE FROM maildrop_locks WHERE address = $1 AND session = $2 AND expires_at_ms > $3";
    let held = tx.execute(unlock, &[&address, &session, &tx.now_ms()]).await? > 0;
    let delete = sorted(delete.iter().copied().map(key));
    if !held {
        // An update that is repeated finds its lock and its messages gone.
        return if holds_any(tx, address, &delete).await? { Err(StoreError::LeaseLost.into()) } else { Ok(()) };
    }
    match delete.len() {
        0 => Ok(()),
        1..=AT_ONCE => remove(tx, mailbox, &delete).await,
        _ => deletions::hide(tx, mailbox, &delete).await,
    }
}

/// Whether any of these entries is in a maildrop.
async fn holds_any(tx: &Transaction<'_>, address: &str, entries: &[i64]) -> Result<bool, Failure> {
    if entries.len() > AT_ONCE {
        return Ok(deletions::find(tx, address, entries).await?.messages > 0);
    }
    let select = "SELECT 1 FROM maildrops WHERE address = $1 AND message_id = ANY($2) AND quarantined_at_ms IS NULL
         LIMIT 1";
    Ok(tx.query_one(select, &[&address, &entries]).await?.is_some())
}

/// Removes these entries of a maildrop.
async fn remove(tx: &mut Transaction<'_>, mailbox: &Mailbox, delete: &[i64]) -> Result<(), Failure> {
    let address = &*mailbox.to_string();
    let remove = "DELETE FROM deliveries WHERE address = $1 AND message_id = ANY($2) AND quarantined_at_ms IS NULL
         AND NOT EXISTS (SELECT 1 FROM deletions
             WHERE deletions.address = $1 AND first_id <= message_id AND last_id >= message_id)
         RETURNING message_id, octets";
    let (mut removed, mut octets) = (BTreeSet::new(), 0);
    for row in tx.query(remove, &[&address, &delete]).await? {
        removed.insert(row.try_get::<_, i64>(0)?);
        octets += row.try_get::<_, i64>(1)?;
    }
    if removed.is_empty() {
        return Ok(());
    }
    removed.iter().for_each(|message| tx.events.deleted(*message, mailbox, DeletedBy::Session));
    release(tx, &removed, 1).await?;
    accounts::count_out(tx, &BTreeMap::from([(address, (removed.len() as i64, octets))])).await
}

/// Ends a session that has deleted nothing.
pub(super) async fn close(tx: &mut Transaction<'_>, address: &str, session: &str) -> Result<(), Failure> {
    need_not_be_durable(tx).await?;
    unlock(tx, address, session).await
}

/// Unlocks a maildrop together with what else the transaction changes.
pub(super) async fn unlock(tx: &Transaction<'_>, address: &str, session: &str) -> Result<(), Failure> {
    let delete = "DELETE FROM maildrop_locks WHERE address = $1 AND session = $2";
    tx.execute(delete, &[&address, &session]).await.map(drop)
}

/// The entries of a maildrop after `after`, at most `limit`, in order of arrival, and the id to go on from.
pub(super) async fn entries(
    tx: &Transaction<'_>,
    address: &str,
    after: MessageId,
    limit: u32,
) -> Result<Page<MaildropEntry>, Failure> {
    let select = "SELECT message_id, octets FROM maildrops
         WHERE address = $1 AND message_id > $2 AND quarantined_at_ms IS NULL ORDER BY message_id LIMIT $3";
    let mut entries = Vec::new();
    for row in tx.query(select, &[&address, &key(after), &(i64::from(limit) + 1)]).await? {
        let message = row.try_get(0)?;
        entries.push(decode(&row, message, |row| {
            let Natural(octets) = row.try_get(1)?;
            Ok(MaildropEntry { id: id(message), octets })
        }));
    }
    let next_after = next_after(&mut entries, limit, |entry: &MaildropEntry| entry.id);
    Ok((entries, next_after))
}

/// The messages of a maildrop after `after`, at most `limit`, and the id to go on from.
pub(super) async fn page(
    tx: &mut Transaction<'_>,
    address: &Mailbox,
    after: MessageId,
    limit: u32,
) -> Result<Page<DeliveredMessage>, Failure> {
    accounts::mailbox(tx, address).await?;
    let select = "SELECT message_id, octets FROM maildrops
         WHERE address = $1 AND message_id > $2 AND quarantined_at_ms IS NULL ORDER BY message_id LIMIT $3";
    let rows = tx.query(select, &[&address.to_string(), &key(after), &(i64::from(limit) + 1)]).await?;
    let keys: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let envelopes = messages::envelopes(tx, &keys).await?;
    let delivered = |(row, message): (&tokio_postgres::Row, i64)| {
        let messages::Envelope { reverse_path, received_at, .. } = messages::required(&envelopes, message)?;
        let Natural(octets) = decode(row, message, |row| row.try_get(1))?;
        Ok(DeliveredMessage { id: id(message), octets, reverse_path, received_at })
    };
    let mut delivered: Vec<_> = rows.iter().zip(keys).map(delivered).collect();
    let next_after = next_after(&mut delivered, limit, |message: &DeliveredMessage| message.id);
    Ok((delivered, next_after))
}
