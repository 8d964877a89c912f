//! Messages as such, wherever they stand.

use super::values::{Decoded, Moment, Natural, Parsed, RawText, collect, decode, id, key, parameters};
use crate::store::{
    INLINE_OCTETS, Result, StoreError,
    checksum::{Checksum, Expected},
    records::{next_after, return_path},
};
use bytes::Bytes;
use internal_api::{Message, MessageId};
use mail_proto::{Mailbox, ReversePath};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashMap;

/// Where a message's octets are.
pub(super) struct Location {
    pub(super) message: i64,
    /// Of the octets as received.
    pub(super) expected: Expected,
    /// What goes before them.
    pub(super) prefix: String,
    pub(super) content: Content,
}

pub(super) enum Content {
    Database(Vec<u8>),
    File(String),
    /// Neither, which cannot be.
    Nowhere,
}

pub(super) fn message(connection: &Connection, id: MessageId) -> Result<Decoded<Message>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, reverse_path, octets, received_at_ms, identity, body_type, smtputf8, ret, envid, requiretls, submitter
         FROM held_messages WHERE id = ?1",
    )?;
    let found = statement.query_row([key(id)], |row| decode(row, envelope)).optional()?;
    match found.ok_or(StoreError::MessageUnknown)? {
        Ok(message) => with_whereabouts(connection, message).map(Ok),
        Err(undecodable) => Ok(Err(undecodable)),
    }
}

/// The messages after `after`, at most `limit`, and the key to go on from.
pub(super) fn page(
    connection: &Connection,
    after: MessageId,
    limit: u32,
) -> Result<(Vec<Decoded<Message>>, Option<MessageId>)> {
    let mut statement = connection.prepare_cached(
        "SELECT id, reverse_path, octets, received_at_ms, identity, body_type, smtputf8, ret, envid, requiretls, submitter
         FROM held_messages WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let mut rows =
        collect(statement.query_map(params![key(after), i64::from(limit) + 1], |row| decode(row, envelope))?)?;
    let next_after = next_after(&mut rows, limit, |message| message.id);
    let messages = rows.into_iter().map(|row| match row {
        Ok(message) => with_whereabouts(connection, message).map(Ok),
        Err(undecodable) => Ok(Err(undecodable)),
    });
    Ok((messages.collect::<Result<_>>()?, next_after))
}

fn envelope(row: &Row<'_>) -> rusqlite::Result<Message> {
    let (Parsed(reverse_path), Natural(octets), Moment(received_at)) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let (mailboxes, queued_for) = (Vec::new(), Vec::new());
    let (identity, parameters) = parameters(row, 4)?;
    let id = id(row.get(0)?);
    Ok(Message { id, octets, reverse_path, received_at, mailboxes, queued_for, identity, parameters })
}

fn with_whereabouts(connection: &Connection, mut message: Message) -> Result<Message> {
    message.mailboxes = addresses(
        connection,
        "SELECT address FROM maildrops WHERE message_id = ?1 AND quarantined_at_ms IS NULL ORDER BY address",
        message.id,
    )?;
    message.queued_for = addresses(
        connection,
        "SELECT recipient FROM queue WHERE message_id = ?1 AND quarantined_at_ms IS NULL ORDER BY recipient",
        message.id,
    )?;
    Ok(message)
}

/// What cannot be decoded is left out here; those who come to claim or read it quarantine it.
fn addresses(connection: &Connection, sql: &str, id: MessageId) -> Result<Vec<Mailbox>> {
    let mut statement = connection.prepare_cached(sql)?;
    let texts: Vec<RawText> = collect(statement.query_map([key(id)], |row| row.get(0))?)?;
    Ok(texts.iter().filter_map(RawText::parse).collect())
}

/// Where a message is, as it was received.
pub(super) fn location(connection: &Connection, message: MessageId) -> Result<Decoded<Location>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, octets, body_file, body, reverse_path, adds_return_path, checksum FROM held_messages WHERE id = ?1",
    )?;
    let found = statement.query_row([key(message)], |row| decode(row, located));
    found.optional()?.ok_or(StoreError::MessageUnknown)
}

fn located(row: &Row<'_>) -> rusqlite::Result<Location> {
    let Natural(octets) = row.get(1)?;
    let content = match (row.get(2)?, row.get(3)?) {
        (Some(file), _) => Content::File(file),
        (None, Some(body)) => Content::Database(body),
        (None, None) => Content::Nowhere,
    };
    let Parsed::<ReversePath>(reverse_path) = row.get(4)?;
    let prefix = if row.get(5)? { return_path(&reverse_path) } else { String::new() };
    let checksum: Option<[u8; 16]> = row.get(6)?;
    let expected = Expected { octets, checksum: checksum.map(Checksum::from_bytes) };
    Ok(Location { message: row.get(0)?, expected, prefix, content })
}

/// The octets of those of the messages that are in the database and good. The others are left to [`location`].
pub(super) fn inline_bodies(connection: &Connection, messages: &[MessageId]) -> Result<HashMap<MessageId, Bytes>> {
    let mut found = HashMap::with_capacity(messages.len());
    for &message in messages {
        match location(connection, message) {
            Ok(Ok(Location { expected, content: Content::Database(body), .. }))
                if expected.find_fault(&body).is_none() =>
            {
                found.insert(message, Bytes::from(body));
            }
            Ok(_) | Err(StoreError::MessageUnknown) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// These messages as the reader of a maildrop gets them, as far as they are in the database and good, up to the first
/// that is not. The others are left to [`delivered_location`].
pub(super) fn delivered_inline(
    connection: &Connection,
    address: &str,
    ids: &[MessageId],
) -> Result<Vec<(MessageId, Bytes)>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, messages.octets, body_file, body, reverse_path, adds_return_path, checksum
         FROM maildrops JOIN messages ON id = message_id
         WHERE address = ?1 AND message_id = ?2 AND quarantined_at_ms IS NULL",
    )?;
    let mut found = Vec::with_capacity(ids.len());
    for &id in ids {
        let location = statement.query_row(params![address, key(id)], |row| decode(row, located)).optional()?;
        match location {
            Some(Ok(Location { expected, prefix, content: Content::Database(body), .. }))
                if expected.octets <= INLINE_OCTETS && expected.find_fault(&body).is_none() =>
            {
                let octets = if prefix.is_empty() { body } else { [prefix.as_bytes(), &body].concat() };
                found.push((id, Bytes::from(octets)));
            }
            _ => break,
        }
    }
    Ok(found)
}

/// How long a message is in a maildrop; `None` when it cannot be told.
pub(super) fn delivered_octets(connection: &Connection, message: MessageId) -> Result<Option<u64>> {
    let mut statement =
        connection.prepare_cached("SELECT id, octets, adds_return_path, reverse_path FROM messages WHERE id = ?1")?;
    let found = statement.query_row([key(message)], |row| {
        decode(row, |row| {
            let (Natural(octets), adds_return_path, Parsed::<ReversePath>(reverse_path)) =
                (row.get::<_, Natural<u64>>(1)?, row.get(2)?, row.get(3)?);
            Ok(octets + if adds_return_path { return_path(&reverse_path).len() as u64 } else { 0 })
        })
    });
    Ok(found.optional()?.and_then(Decoded::ok))
}

/// Where a message in a maildrop is.
pub(super) fn delivered_location(connection: &Connection, address: &str, id: MessageId) -> Result<Decoded<Location>> {
    let mut statement = connection
        .prepare_cached("SELECT quarantined_at_ms IS NOT NULL FROM maildrops WHERE address = ?1 AND message_id = ?2")?;
    let quarantined = statement.query_row(params![address, key(id)], |row| row.get(0)).optional()?;
    match quarantined {
        None => Err(StoreError::MessageUnknown),
        Some(true) => Err(StoreError::Damaged(id)),
        Some(false) => match location(connection, id) {
            // The maildrop still has it, so it should be there.
            Err(StoreError::MessageUnknown) => Ok(Err(super::values::Undecodable {
                message: key(id),
                reason: "in a maildrop, but not among the messages".to_owned(),
            })),
            found => found,
        },
    }
}
