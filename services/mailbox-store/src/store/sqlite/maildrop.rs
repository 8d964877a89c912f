//! Maildrops: listing, locking, and the UPDATE state.

use super::{
    accounts,
    submit::release,
    values::{Decoded, Moment, Natural, Parsed, RawText, collect, decode, id, key},
    writer::WriteTransaction,
};
use crate::store::{
    Result, StoreError,
    deletion::{AT_ONCE, Deletion, REMOVED, sorted},
    records::next_after,
};
use internal_api::{DeletedBy, DeliveredMessage, MaildropEntry, MessageId};
use mail_proto::Mailbox;
use rusqlite::{Connection, OptionalExtension, params};

/// Deletes these entries of a maildrop.
pub(super) fn delete(tx: &mut WriteTransaction<'_>, mailbox: &Mailbox, delete: &[MessageId]) -> Result<()> {
    let delete = sorted(delete.iter().copied().map(key));
    let (messages, octets) = match delete.len() {
        0..=AT_ONCE => remove(tx, mailbox, &delete)?,
        _ => hide(tx, mailbox, &delete)?,
    };
    accounts::count_out(tx.connection, &mailbox.to_string().as_str().into(), messages, octets)
}

/// What an update comes to that has no lock. One that is repeated finds its lock and its messages gone.
pub(super) fn without_lock(connection: &Connection, address: &str, delete: &[MessageId]) -> Result<()> {
    let delete = sorted(delete.iter().copied().map(key));
    if holds_any(connection, address, &delete)? { Err(StoreError::LeaseLost) } else { Ok(()) }
}

/// Whether any of these entries is in a maildrop.
fn holds_any(connection: &Connection, address: &str, entries: &[i64]) -> Result<bool> {
    if entries.len() > AT_ONCE {
        return Ok(find(connection, address, entries)?.messages > 0);
    }
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM maildrops WHERE address = ?1 AND message_id = ?2 AND quarantined_at_ms IS NULL)",
    )?;
    for message in entries {
        if statement.query_row(params![address, message], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Finds these entries in a maildrop, all of which it looks through.
fn find<'a>(connection: &Connection, address: &str, entries: &'a [i64]) -> Result<Deletion<'a>> {
    let mut deletion = Deletion::of(entries);
    let mut statement = connection.prepare_cached(
        "SELECT message_id, octets, quarantined_at_ms IS NOT NULL FROM maildrops WHERE address = ?1
         ORDER BY message_id",
    )?;
    let mut rows = statement.query([address])?;
    while let Some(row) = rows.next()? {
        deletion.entry(row.get(0)?, row.get(1)?, row.get(2)?);
    }
    Ok(deletion)
}

/// Removes these entries of a maildrop; returns how many there were, and their octets.
fn remove(tx: &mut WriteTransaction<'_>, mailbox: &Mailbox, delete: &[i64]) -> Result<(u64, i64)> {
    let (mut messages, mut octets) = (0, 0);
    let address = mailbox.to_string();
    for message in delete {
        let mut statement = tx.connection.prepare_cached(
            "DELETE FROM deliveries WHERE address = ?1 AND message_id = ?2 AND quarantined_at_ms IS NULL
             AND EXISTS (SELECT 1 FROM maildrops WHERE address = ?1 AND message_id = ?2)
             RETURNING octets",
        )?;
        let deleted = statement.query_row(params![address, message], |row| row.get::<_, i64>(0)).optional()?;
        if let Some(deleted) = deleted {
            messages += 1;
            octets += deleted;
            tx.events.deleted(*message, mailbox, DeletedBy::Session);
            release(tx, *message)?;
        }
    }
    Ok((messages, octets))
}

/// Hides these entries of a maildrop, until [`sweep`] removes them; returns how many there were, and their octets.
fn hide(tx: &mut WriteTransaction<'_>, mailbox: &Mailbox, delete: &[i64]) -> Result<(u64, i64)> {
    let address = &*mailbox.to_string();
    let Deletion { ranges, deleted, messages, octets, .. } = find(tx.connection, address, delete)?;
    tx.events.deleted_many(&deleted, mailbox, DeletedBy::Session);
    // A range that was deleted before may lie within a new one; none reaches over its ends.
    let mut forget =
        tx.connection.prepare_cached("DELETE FROM deletions WHERE address = ?1 AND last_id BETWEEN ?2 AND ?3")?;
    let mut insert =
        tx.connection.prepare_cached("INSERT INTO deletions (address, first_id, last_id) VALUES (?1, ?2, ?3)")?;
    for range in &ranges {
        forget.execute(params![address, range.start(), range.end()])?;
        insert.execute(params![address, range.start(), range.end()])?;
    }
    tx.effects.deleted |= !ranges.is_empty();
    Ok((messages.unsigned_abs(), octets))
}

/// Removes some of what is hidden; returns whether there may be more.
pub(super) fn sweep(tx: &mut WriteTransaction<'_>) -> Result<bool> {
    let mut left = REMOVED;
    while left > 0 {
        let mut statement = tx.connection.prepare_cached("SELECT address, first_id, last_id FROM deletions LIMIT 1")?;
        let range = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
        let Some((address, first, last)) = range else { return Ok(false) };
        left -= sweep_range(tx, &address, first, last, left)?.max(1);
    }
    Ok(true)
}

/// Removes at most `limit` entries of a range; returns how many.
fn sweep_range(tx: &mut WriteTransaction<'_>, address: &RawText, first: i64, last: i64, limit: i64) -> Result<i64> {
    let mut statement = tx.connection.prepare_cached(
        "DELETE FROM deliveries WHERE address = ?1 AND message_id IN (
             SELECT message_id FROM deliveries WHERE address = ?1 AND message_id BETWEEN ?2 AND ?3
             ORDER BY message_id LIMIT ?4
         ) RETURNING message_id",
    )?;
    let removed: Vec<i64> = collect(statement.query_map(params![address, first, last, limit], |row| row.get(0))?)?;
    for message in &removed {
        release(tx, *message)?;
    }
    tx.effects.swept += removed.len() as u64;
    if (removed.len() as i64) < limit {
        tx.connection
            .prepare_cached("DELETE FROM deletions WHERE address = ?1 AND last_id = ?2")?
            .execute(params![address, last])?;
    }
    Ok(removed.len() as i64)
}

/// Whether anything is hidden.
pub(super) fn has_deletions(connection: &Connection) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM deletions)")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Whether this entry would be hidden: it comes late, into a range that is not swept yet.
pub(super) fn is_hidden(connection: &Connection, address: &str, message: i64) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM deletions WHERE address = ?1 AND first_id <= ?2 AND last_id >= ?2)",
    )?;
    Ok(statement.query_row(params![address, message], |row| row.get(0))?)
}

/// Whether this message is in the maildrop.
pub(super) fn has(connection: &Connection, address: &str, message: i64) -> Result<bool> {
    let select = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE address = ?1 AND message_id = ?2)";
    Ok(connection.prepare_cached(select)?.query_row(params![address, message], |row| row.get(0))?)
}

/// The entries of a maildrop after `after`, at most `limit`, in order of arrival, and the id to go on from.
pub(super) fn entries(
    connection: &Connection,
    address: &str,
    after: MessageId,
    limit: u32,
) -> Result<(Vec<Decoded<MaildropEntry>>, Option<MessageId>)> {
    let mut statement = connection.prepare_cached(
        "SELECT message_id, octets FROM maildrops WHERE address = ?1 AND message_id > ?2 AND quarantined_at_ms IS NULL
         ORDER BY message_id LIMIT ?3",
    )?;
    let rows = statement.query_map(params![address, key(after), i64::from(limit) + 1], |row| {
        decode(row, |row| {
            let Natural(octets) = row.get(1)?;
            Ok(MaildropEntry { id: id(row.get(0)?), octets })
        })
    })?;
    let mut rows = collect(rows)?;
    let next_after = next_after(&mut rows, limit, |entry| entry.id);
    Ok((rows, next_after))
}

/// The messages of a maildrop after `after`, at most `limit`, and the id to go on from.
pub(super) fn page(
    connection: &Connection,
    address: &Mailbox,
    after: MessageId,
    limit: u32,
) -> Result<(Vec<Decoded<DeliveredMessage>>, Option<MessageId>)> {
    accounts::mailbox(connection, address.clone())?;
    // A delivery without its message shows as undecodable: there is no reverse-path.
    let mut statement = connection.prepare_cached(
        "SELECT message_id, maildrops.octets, reverse_path, received_at_ms
         FROM maildrops LEFT JOIN messages ON id = message_id
         WHERE address = ?1 AND message_id > ?2 AND quarantined_at_ms IS NULL ORDER BY message_id LIMIT ?3",
    )?;
    let rows = statement.query_map(params![address.to_string(), key(after), i64::from(limit) + 1], |row| {
        decode(row, |row| {
            let (Natural(octets), Parsed(reverse_path), Moment(received_at)) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(DeliveredMessage { id: id(row.get(0)?), octets, reverse_path, received_at })
        })
    })?;
    let mut rows = collect(rows)?;
    let next_after = next_after(&mut rows, limit, |message| message.id);
    Ok((rows, next_after))
}
