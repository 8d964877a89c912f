//! Maildrops: listing, locking, and the UPDATE state.

use super::{
    accounts,
    submit::release,
    values::{Decoded, Moment, Natural, Parsed, collect, decode, id, key},
    writer::Unit,
};
use crate::store::{
    Result, StoreError,
    records::{later_ms, next_after},
};
use mail_api::{DeliveredMessage, MaildropEntry, MessageId};
use mail_proto::Mailbox;
use rusqlite::{Connection, OptionalExtension, params};
use std::time::Duration;

/// Locks a maildrop; answers the session.
pub(super) fn lock(unit: &mut Unit<'_>, address: &Mailbox, lease: Duration) -> Result<String> {
    accounts::mailbox(unit.connection, address.clone())?;
    let now_ms = unit.now().as_millisecond();
    let session = uuid::Uuid::new_v4().simple().to_string();
    let locked = unit
        .connection
        .prepare_cached(
            "INSERT INTO maildrop_locks (address, session, expires_at_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (address) DO UPDATE SET session = ?2, expires_at_ms = ?3 WHERE expires_at_ms <= ?4",
        )?
        .execute(params![address.to_string(), session, later_ms(now_ms, lease), now_ms])?;
    if locked == 1 { Ok(session) } else { Err(StoreError::MaildropInUse) }
}

pub(super) fn renew(unit: &mut Unit<'_>, address: &str, session: &str, lease: Duration) -> Result<()> {
    let now_ms = unit.now().as_millisecond();
    let renewed = unit
        .connection
        .prepare_cached(
            "UPDATE maildrop_locks SET expires_at_ms = ?3 WHERE address = ?1 AND session = ?2 AND expires_at_ms > ?4",
        )?
        .execute(params![address, session, later_ms(now_ms, lease), now_ms])?;
    if renewed == 1 { Ok(()) } else { Err(StoreError::LeaseLost) }
}

pub(super) fn update(unit: &mut Unit<'_>, address: &str, session: &str, delete: &[MessageId]) -> Result<()> {
    let held = unit
        .connection
        .prepare_cached("DELETE FROM maildrop_locks WHERE address = ?1 AND session = ?2 AND expires_at_ms > ?3")?
        .execute(params![address, session, unit.now().as_millisecond()])?;
    if held == 0 {
        return Err(StoreError::LeaseLost);
    }
    let (mut messages, mut octets) = (0, 0);
    for &message in delete {
        let mut statement = unit.connection.prepare_cached(
            "DELETE FROM deliveries WHERE address = ?1 AND message_id = ?2 AND quarantined_at_ms IS NULL
             RETURNING octets",
        )?;
        let deleted = statement.query_row(params![address, key(message)], |row| row.get::<_, i64>(0)).optional()?;
        if let Some(deleted) = deleted {
            messages += 1;
            octets += deleted;
            release(unit, key(message))?;
        }
    }
    accounts::count_out(unit.connection, &address.into(), messages, octets)
}

pub(super) fn unlock(unit: &mut Unit<'_>, address: &str, session: &str) -> Result<()> {
    unit.connection
        .prepare_cached("DELETE FROM maildrop_locks WHERE address = ?1 AND session = ?2")?
        .execute([address, session])?;
    Ok(())
}

/// Everything in a maildrop, in order of arrival.
pub(super) fn entries(connection: &Connection, address: &str) -> Result<Vec<Decoded<MaildropEntry>>> {
    let mut statement = connection.prepare_cached(
        "SELECT message_id, octets FROM deliveries WHERE address = ?1 AND quarantined_at_ms IS NULL
         ORDER BY message_id",
    )?;
    let rows = statement.query_map([address], |row| {
        decode(row, |row| {
            let Natural(octets) = row.get(1)?;
            Ok(MaildropEntry { id: id(row.get(0)?), octets })
        })
    })?;
    collect(rows)
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
        "SELECT message_id, deliveries.octets, reverse_path, received_at_ms
         FROM deliveries LEFT JOIN messages ON id = message_id
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
