//! Messages as such, wherever they stand.

use super::{
    bodies::{self, PIECE_OCTETS},
    database::Transaction,
    deletions,
    failure::Failure,
    pool::Parameters,
    values::{Digest, Moment, Natural, Parsed, decode, parameters},
};
use crate::store::{
    INLINE_OCTETS, StoreError,
    checksum::{Checksum, Expected, OTHER_LENGTH},
    records::{Decoded, Undecodable, id, key, next_after, return_path},
};
use bytes::Bytes;
use futures_util::try_join;
use internal_api::{Message, MessageId};
use jiff::Timestamp;
use mail_proto::{Mailbox, ReversePath, smtp::MailParameters};
use std::{
    collections::{BTreeMap, HashMap},
    str::FromStr,
};
use tokio_postgres::Row;

/// What is known of a message apart from its body.
#[derive(Clone)]
pub(super) struct Envelope {
    pub(super) reverse_path: ReversePath,
    pub(super) octets: u64,
    pub(super) received_at: Timestamp,
    pub(super) has_body: bool,
    pub(super) identity: Option<Mailbox>,
    pub(super) parameters: MailParameters,
}

/// Where a message's octets are.
pub(super) struct Location {
    pub(super) message: i64,
    /// Of the octets as received.
    pub(super) expected: Expected,
    /// What goes before them.
    pub(super) prefix: String,
    pub(super) first_piece: Bytes,
}

/// The envelopes of those of these messages that there are.
pub(super) async fn envelopes(
    tx: &Transaction<'_>,
    messages: &[i64],
) -> Result<HashMap<i64, Decoded<Envelope>>, Failure> {
    let select = "SELECT id, reverse_path, octets, received_at_ms,
             EXISTS (SELECT 1 FROM bodies WHERE message_id = id AND piece = 0),
             identity, body_type, smtputf8, ret, envid, requiretls, submitter
         FROM messages WHERE id = ANY($1)";
    let rows = tx.query(select, &[&messages]).await?;
    let mut envelopes = HashMap::with_capacity(rows.len());
    for row in rows {
        let message = row.try_get(0)?;
        envelopes.insert(message, decode(&row, message, envelope));
    }
    Ok(envelopes)
}

fn envelope(row: &Row) -> Result<Envelope, tokio_postgres::Error> {
    let (Parsed(reverse_path), Natural(octets), Moment(received_at)) =
        (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let (identity, parameters) = parameters(row, 5)?;
    Ok(Envelope { reverse_path, octets, received_at, has_body: row.try_get(4)?, identity, parameters })
}

/// The envelope of a message that is referred to.
pub(super) fn required(envelopes: &HashMap<i64, Decoded<Envelope>>, message: i64) -> Decoded<Envelope> {
    let lost = || Undecodable { message, reason: "referred to, but not among the messages".to_owned() };
    envelopes.get(&message).cloned().unwrap_or_else(|| Err(lost()))
}

pub(super) async fn message(tx: &mut Transaction<'_>, id: MessageId) -> Result<Decoded<Message>, Failure> {
    let held = deletions::held(tx, vec![key(id)]).await?;
    let mut found = with_whereabouts(tx, &held).await?;
    found.pop().ok_or(Failure::Store(StoreError::MessageUnknown))
}

/// A page of records, and where to go on.
pub(super) type Page<T> = (Vec<Decoded<T>>, Option<MessageId>);

/// The messages after `after`, at most `limit`, and the id to go on from.
pub(super) async fn page(tx: &mut Transaction<'_>, after: MessageId, limit: u32) -> Result<Page<Message>, Failure> {
    let select = "SELECT id FROM messages WHERE id > $1 ORDER BY id LIMIT $2";
    let wanted = limit as usize + 1;
    let (mut held, mut last, mut rows_at_once) = (Vec::new(), key(after), wanted as i64);
    loop {
        let rows = tx.query(select, &[&last, &rows_at_once]).await?;
        let keys: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let is_end = (keys.len() as i64) < rows_at_once;
        last = keys.last().copied().unwrap_or(last);
        held.extend(deletions::held(tx, keys).await?);
        if is_end || held.len() >= wanted {
            break;
        }
        // Many in a row are hidden.
        rows_at_once = deletions::ENTRIES;
    }
    held.truncate(wanted);
    let mut messages = with_whereabouts(tx, &held).await?;
    let next_after = next_after(&mut messages, limit, |message| message.id);
    Ok((messages, next_after))
}

/// Those of these messages that there are, by id.
async fn with_whereabouts(tx: &Transaction<'_>, messages: &[i64]) -> Result<Vec<Decoded<Message>>, Failure> {
    let deliveries = "SELECT message_id, address FROM maildrops
         WHERE message_id = ANY($1) AND quarantined_at_ms IS NULL ORDER BY address";
    let queue = "SELECT message_id, recipient FROM queue
         WHERE message_id = ANY($1) AND quarantined_at_ms IS NULL ORDER BY recipient";
    let (envelopes, mut mailboxes, mut queued_for) =
        try_join!(envelopes(tx, messages), addresses(tx, deliveries, messages), addresses(tx, queue, messages))?;
    let envelopes: BTreeMap<i64, Decoded<Envelope>> = envelopes.into_iter().collect();
    let message = |(message, envelope): (i64, Decoded<Envelope>)| {
        let Envelope { reverse_path, octets, received_at, has_body: _, identity, parameters } = envelope?;
        let mailboxes = mailboxes.remove(&message).unwrap_or_default();
        let queued_for = queued_for.remove(&message).unwrap_or_default();
        let id = id(message);
        Ok(Message { id, octets, reverse_path, received_at, mailboxes, queued_for, identity, parameters })
    };
    Ok(envelopes.into_iter().map(message).collect())
}

/// What cannot be decoded is left out here; those who come to claim or read it quarantine it.
async fn addresses(
    tx: &Transaction<'_>,
    select: &'static str,
    messages: &[i64],
) -> Result<HashMap<i64, Vec<Mailbox>>, Failure> {
    let mut addresses: HashMap<i64, Vec<Mailbox>> = HashMap::new();
    for row in tx.query(select, &[&messages]).await? {
        if let Ok(address) = Mailbox::from_str(row.try_get(1)?) {
            addresses.entry(row.try_get(0)?).or_default().push(address);
        }
    }
    Ok(addresses)
}

/// Where a message is, as it was received. Its body is complete.
pub(super) async fn location(tx: &Transaction<'_>, message: MessageId) -> Result<Decoded<Location>, Failure> {
    let (held, location) = try_join!(deletions::held(tx, vec![key(message)]), stored_location(tx, key(message)))?;
    if held.is_empty() { Err(StoreError::MessageUnknown.into()) } else { Ok(location) }
}

/// As [`location`], also of a message that is hidden everywhere.
async fn stored_location(tx: &Transaction<'_>, message: i64) -> Result<Decoded<Location>, Failure> {
    // The lengths are known without reading the pieces.
    let select = "SELECT octets, reverse_path, adds_return_path,
             (SELECT COALESCE(SUM(octet_length(bodies.octets)), 0)::bigint FROM bodies WHERE message_id = id),
             (SELECT COUNT(*) FROM bodies WHERE message_id = id), checksum
         FROM messages WHERE id = $1";
    let parameters: Parameters<'_> = &[&message];
    let (row, first_piece) = try_join!(tx.query_one(select, parameters), bodies::piece(tx, message, 0))?;
    let row = row.ok_or(StoreError::MessageUnknown)?;
    let located = decode(&row, message, |row| {
        let (Natural::<u64>(octets), Parsed::<ReversePath>(reverse_path)) = (row.try_get(0)?, row.try_get(1)?);
        let (Natural::<u64>(found), Natural::<u64>(pieces)) = (row.try_get(3)?, row.try_get(4)?);
        let prefix = if row.try_get(2)? { return_path(&reverse_path) } else { String::new() };
        let checksum = Checksum::from_bytes(row.try_get::<_, Digest>(5)?.0);
        let complete = found == octets && pieces == octets.div_ceil(PIECE_OCTETS as u64).max(1);
        Ok((Expected { octets, checksum: Some(checksum) }, prefix, complete))
    });
    let damaged = |reason: &str| Ok(Err(Undecodable { message, reason: reason.to_owned() }));
    match (located, first_piece) {
        (Err(undecodable), _) => Ok(Err(undecodable)),
        (Ok(_), None) => damaged("it has no body"),
        (Ok((_, _, false)), Some(_)) => damaged(OTHER_LENGTH),
        (Ok((expected, prefix, true)), Some(first_piece)) => {
            Ok(Ok(Location { message, expected, prefix, first_piece }))
        }
    }
}

/// The octets of those of the messages that are in one piece and good. The others are left to [`location`].
pub(super) async fn inline_bodies(
    tx: &Transaction<'_>,
    messages: &[MessageId],
) -> Result<HashMap<MessageId, Bytes>, Failure> {
    let select = "SELECT id, messages.octets, checksum, bodies.octets
         FROM messages JOIN bodies ON message_id = id AND piece = 0 WHERE id = ANY($1)";
    let keys: Vec<i64> = messages.iter().map(|message| key(*message)).collect();
    let mut found = HashMap::with_capacity(keys.len());
    for row in tx.query(select, &[&keys]).await? {
        let (message, body): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(3)?);
        let expected = decode(&row, message, |row| {
            let (Natural(octets), Digest(checksum)) = (row.try_get(1)?, row.try_get(2)?);
            Ok(Expected { octets, checksum: Some(Checksum::from_bytes(checksum)) })
        });
        if expected.is_ok_and(|expected| expected.find_fault(&body).is_none()) {
            found.insert(id(message), Bytes::from(body));
        }
    }
    Ok(found)
}

/// These messages as the reader of a maildrop gets them, as far as they are small and good, up to the first that is not.
/// The others are left to [`delivered_location`].
pub(super) async fn delivered_inline(
    tx: &Transaction<'_>,
    address: &str,
    ids: &[MessageId],
) -> Result<Vec<(MessageId, Bytes)>, Failure> {
    let keys: Vec<i64> = ids.iter().map(|id| key(*id)).collect();
    let in_maildrop = "SELECT message_id FROM maildrops
         WHERE address = $1 AND message_id = ANY($2) AND quarantined_at_ms IS NULL";
    let rows = tx.query(in_maildrop, &[&address, &keys]).await?;
    let present: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let select = "SELECT id, messages.octets, checksum, bodies.octets, adds_return_path, reverse_path
         FROM messages JOIN bodies ON message_id = id AND piece = 0
         WHERE id = ANY($1) AND messages.octets <= $2";
    let mut found = HashMap::with_capacity(present.len());
    for row in tx.query(select, &[&present, &(INLINE_OCTETS as i64)]).await? {
        let (message, body): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(3)?);
        let decoded = decode(&row, message, |row| {
            let (Natural(octets), Digest(checksum)) = (row.try_get(1)?, row.try_get(2)?);
            let Parsed::<ReversePath>(reverse_path) = row.try_get(5)?;
            let prefix = if row.try_get(4)? { return_path(&reverse_path) } else { String::new() };
            Ok((Expected { octets, checksum: Some(Checksum::from_bytes(checksum)) }, prefix))
        });
        if let Ok((expected, prefix)) = decoded
            && expected.find_fault(&body).is_none()
        {
            found.insert(id(message), Bytes::from([prefix.as_bytes(), &body].concat()));
        }
    }
    Ok(ids.iter().map_while(|id| Some((*id, found.remove(id)?))).collect())
}

/// How long a message is in a maildrop; `None` when it cannot be told.
pub(super) async fn delivered_octets(tx: &Transaction<'_>, message: i64) -> Result<Option<i64>, Failure> {
    let select = "SELECT octets, adds_return_path, reverse_path FROM messages WHERE id = $1";
    let row = tx.query_one(select, &[&message]).await?;
    Ok(row.and_then(|row| {
        let octets: i64 = row.try_get(0).ok()?;
        let Parsed::<ReversePath>(reverse_path) = row.try_get(2).ok()?;
        Some(octets + if row.try_get(1).ok()? { return_path(&reverse_path).len() as i64 } else { 0 })
    }))
}

/// Where a message in a maildrop is.
pub(super) async fn delivered_location(
    tx: &Transaction<'_>,
    address: &str,
    id: MessageId,
) -> Result<Decoded<Location>, Failure> {
    let select = "SELECT quarantined_at_ms IS NOT NULL FROM maildrops WHERE address = $1 AND message_id = $2";
    let row = tx.query_one(select, &[&address, &key(id)]).await?;
    match row.map(|row| row.try_get(0)).transpose()? {
        None => Err(StoreError::MessageUnknown.into()),
        Some(true) => Err(StoreError::Damaged(id).into()),
        Some(false) => match stored_location(tx, key(id)).await {
            // The maildrop still has it, so it should be there.
            Err(Failure::Store(StoreError::MessageUnknown)) => {
                let reason = "in a maildrop, but not among the messages".to_owned();
                Ok(Err(Undecodable { message: key(id), reason }))
            }
            found => found,
        },
    }
}
