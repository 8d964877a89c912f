//! The outbound queue as those who look see it, and what changes it as a whole.

use super::{
    claims::FIRST_DUE,
    database::Transaction,
    failure::Failure,
    messages::{self, Envelope},
    values::{Moment, Natural, Parsed, decode, parsed},
};
use crate::store::{
    Backlog, LocalMail, QueuePosition,
    plan::moments::is_leased,
    records::{Decoded, FLUSHED, id, key},
};
use internal_api::{MessageId, QueueEntry};
use jiff::Timestamp;
use mail_proto::{Domain, Mailbox};
use tokio_postgres::Row;

/// A page of the queue: its entries, and where to go on.
pub(super) struct Page {
    pub(super) entries: Vec<Decoded<QueueEntry>>,
    pub(super) next_after: Option<QueuePosition>,
}

/// Up to `limit` entries after `after` and not after those of the message `last`.
pub(super) async fn page(
    tx: &mut Transaction<'_>,
    after: Option<&QueuePosition>,
    last: Option<MessageId>,
    limit: u32,
) -> Result<Page, Failure> {
    let last = last.map_or(i64::MAX, key);
    let (message, recipient) = after.map_or((-1, ""), |after| (key(after.message), after.recipient.as_str()));
    let select = "SELECT message_id, recipient, attempts, next_attempt_at_ms, lease IS NOT NULL, last_reply,
             original_recipient, notify, via, held_at_ms IS NOT NULL
         FROM queue WHERE (message_id, recipient) > ($1, $2) AND message_id <= $4 AND quarantined_at_ms IS NULL
         ORDER BY message_id, recipient LIMIT $3";
    let mut rows = tx.query(select, &[&message, &recipient, &(i64::from(limit) + 1), &last]).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let keys: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let envelopes = messages::envelopes(tx, &keys).await?;
    let next_after = match rows.last().filter(|_| more) {
        Some(last) => Some(QueuePosition { message: id(last.try_get(0)?), recipient: last.try_get(1)? }),
        None => None,
    };
    let now = tx.now();
    let entry = |(row, message): (&Row, i64)| {
        let envelope = messages::required(&envelopes, message)?;
        decode(row, message, |row| entry(row, message, envelope, now))
    };
    Ok(Page { entries: rows.iter().zip(keys).map(entry).collect(), next_after })
}

/// Those of the domains in `$1` for which something is due. Where tables are distributed, each machine answers for its rows.
pub(super) const DUE_DOMAINS: &str = "SELECT DISTINCT domain FROM queue
     WHERE domain = ANY($1) AND next_attempt_at_ms <= $2 AND quarantined_at_ms IS NULL AND held_at_ms IS NULL";
/// All domains for which something is due.
const ALL_DUE_DOMAINS: &str = "SELECT DISTINCT domain FROM queue
     WHERE next_attempt_at_ms <= $1 AND quarantined_at_ms IS NULL AND held_at_ms IS NULL";

/// The local domains for which something is due.
pub(super) async fn due_domains(tx: &mut Transaction<'_>, local: &LocalMail) -> Result<Vec<Domain>, Failure> {
    let rows = if local.takes_every_domain() {
        tx.query(ALL_DUE_DOMAINS, &[&tx.now_ms()]).await?
    } else {
        let named: Vec<_> = local.domains.iter().map(Domain::as_str).collect();
        tx.query(DUE_DOMAINS, &[&named, &tx.now_ms()]).await?
    };
    let domains: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let domains = domains.iter().filter_map(|domain| domain.parse().ok());
    Ok(domains.filter(|domain| local.is_local(domain)).collect())
}

fn entry(row: &Row, message: i64, envelope: Envelope, now: Timestamp) -> Result<QueueEntry, tokio_postgres::Error> {
    let Envelope { reverse_path, octets, received_at, .. } = envelope;
    let (Parsed(recipient), Natural(attempts), Moment(next_attempt_at)) =
        (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let leased = is_leased(row.try_get::<_, bool>(4)?, next_attempt_at, now);
    let last_reply = row.try_get(5)?;
    Ok(QueueEntry {
        message: id(message),
        reverse_path,
        recipient,
        octets,
        queued_at: received_at,
        attempts,
        next_attempt_at,
        leased,
        last_reply,
        original: parsed(row, 6)?,
        notify: parsed(row, 7)?,
        via: parsed(row, 8)?,
        held: row.try_get(9)?,
        expires_at: None,
    })
}

/// The oldest message that waits.
pub(super) const OLDEST: &str = "SELECT message_id FROM queue WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL
     ORDER BY message_id LIMIT 1";
/// How many entries are on hold.
pub(super) const HELD: &str = "SELECT COUNT(*) FROM queue WHERE held_at_ms IS NOT NULL AND quarantined_at_ms IS NULL";

pub(super) async fn backlog(tx: &mut Transaction<'_>) -> Result<Backlog, Failure> {
    let oldest: Option<i64> = tx.query_one(OLDEST, &[]).await?.map(|row| row.try_get(0)).transpose()?;
    let envelopes = messages::envelopes(tx, oldest.as_slice()).await?;
    let envelope = oldest.and_then(|message| messages::required(&envelopes, message).ok());
    let held = tx.query_one(HELD, &[]).await?.map(|row| row.try_get(0)).transpose()?;
    let Natural(held) = held.unwrap_or(Natural(0));
    Ok(Backlog { oldest: envelope.map(|envelope| envelope.received_at), held })
}

/// A recipient of a message.
type Key = (i64, String);

/// Makes some entries due that are neither leased nor on hold and that come after this one; returns how many, and the last of them if
/// there may be more.
pub(super) async fn flush(tx: &mut Transaction<'_>, after: Option<&Key>) -> Result<(u64, Option<Key>), Failure> {
    let (message, recipient) = after.map_or((i64::MIN, ""), |(message, recipient)| (*message, recipient.as_str()));
    let select = "SELECT message_id, recipient FROM queue
         WHERE (message_id, recipient) > ($1, $2) AND next_attempt_at_ms > $3 AND lease IS NULL
         AND quarantined_at_ms IS NULL AND held_at_ms IS NULL ORDER BY message_id, recipient LIMIT $4";
    let rows = tx.query(select, &[&message, &recipient, &tx.now_ms(), &(FLUSHED as i64)]).await?;
    let keys = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let keys: Vec<Key> = keys.collect::<Result<_, tokio_postgres::Error>>()?;
    let (messages, recipients): (Vec<i64>, Vec<&str>) =
        keys.iter().map(|(message, of)| (*message, of.as_str())).unzip();
    // Who was faster with an entry has it.
    let update =
        "UPDATE queue SET next_attempt_at_ms = $3 FROM unnest($1::bigint[], $2::text[]) AS late (message, name)
         WHERE message_id = message AND recipient = name AND next_attempt_at_ms > $3 AND lease IS NULL
         AND quarantined_at_ms IS NULL AND held_at_ms IS NULL";
    let entries = tx.execute(update, &[&messages, &recipients, &tx.now_ms()]).await?;
    tx.effects.queue_changed |= entries > 0;
    Ok((entries, keys.into_iter().nth(FLUSHED - 1)))
}

/// What was said of a recipient last.
pub(super) async fn last_reply(tx: &Transaction<'_>, message: i64, recipient: &Mailbox) -> Result<String, Failure> {
    let select = "SELECT last_reply FROM queue WHERE domain = $1 AND message_id = $2 AND recipient = $3";
    let row = tx.query_one(select, &[&recipient.domain().as_str(), &message, &recipient.to_string()]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

/// How many entries wait.
pub(super) async fn length(tx: &mut Transaction<'_>) -> Result<i64, Failure> {
    let row = tx.query_one("SELECT COUNT(*) FROM queue WHERE quarantined_at_ms IS NULL", &[]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
}

/// When something is due next, in milliseconds.
pub(super) async fn next_due_ms(tx: &mut Transaction<'_>) -> Result<Option<i64>, Failure> {
    let row = tx.query_one(FIRST_DUE, &[&tx.due_floor_ms()]).await?;
    let due_at_ms = row.map(|row| row.try_get(1)).transpose()?;
    tx.raise_due_floor(due_at_ms);
    Ok(due_at_ms)
}
