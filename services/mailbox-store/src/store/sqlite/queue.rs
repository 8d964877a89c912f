//! The outbound queue as those who look see it, and what changes it as a whole.

use super::{
    values::{Decoded, Moment, Natural, Parsed, RawText, collect, decode, id, key, parsed},
    writer::WriteTransaction,
};
use crate::store::{Backlog, QueuePosition, Result, plan::moments::is_leased, records::FLUSHED};
use internal_api::{MessageId, QueueEntry};
use jiff::Timestamp;
use mail_proto::{Domain, Mailbox};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// A page of the queue: its entries, and where to go on.
pub(super) struct Page {
    pub(super) entries: Vec<Decoded<QueueEntry>>,
    pub(super) next_after: Option<QueuePosition>,
}

/// Up to `limit` entries after `after` and not after those of the message `last`.
pub(super) fn page(
    connection: &Connection,
    after: Option<&QueuePosition>,
    last: Option<MessageId>,
    limit: u32,
    now: Timestamp,
) -> Result<Page> {
    let last = last.map_or(i64::MAX, key);
    let (message, recipient) = after.map_or((-1, ""), |after| (key(after.message), after.recipient.as_str()));
    let mut statement = connection.prepare_cached(
        "SELECT message_id, recipient, attempts, next_attempt_at_ms, lease IS NOT NULL, last_reply,
             reverse_path, octets, received_at_ms, original_recipient, notify, via,
             held_at_ms IS NOT NULL
         FROM queue LEFT JOIN messages ON id = message_id
         WHERE (message_id, recipient) > (?1, ?2) AND message_id <= ?4 AND quarantined_at_ms IS NULL
         ORDER BY message_id, recipient LIMIT ?3",
    )?;
    let rows = statement.query_map(params![message, recipient, i64::from(limit) + 1, last], |row| {
        let recipient: RawText = row.get(1)?;
        let position = QueuePosition { message: id(row.get(0)?), recipient: recipient.to_string() };
        Ok((position, decode(row, |row| entry(row, now))?))
    })?;
    let mut rows = collect(rows)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_after = rows.last().filter(|_| more).map(|(position, _)| position.clone());
    Ok(Page { entries: rows.into_iter().map(|(_, entry)| entry).collect(), next_after })
}

/// The domains of what waits and is not on hold, one step in the index each.
pub(super) fn domains(connection: &Connection) -> Result<Vec<Domain>> {
    let select = "WITH RECURSIVE domains (domain) AS (
             SELECT MIN(domain) FROM queue WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL
             UNION ALL
             SELECT (
                 SELECT MIN(domain) FROM queue
                 WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL AND domain > domains.domain
             )
             FROM domains WHERE domain IS NOT NULL
         )
         SELECT domain FROM domains WHERE domain IS NOT NULL";
    let domains: Vec<RawText> = collect(connection.prepare_cached(select)?.query_map([], |row| row.get(0))?)?;
    Ok(domains.iter().filter_map(RawText::parse).collect())
}

fn entry(row: &Row<'_>, now: Timestamp) -> rusqlite::Result<QueueEntry> {
    let message: MessageId = id(row.get(0)?);
    let (Parsed(recipient), Natural(attempts), Moment(next_attempt_at)) = (row.get(1)?, row.get(2)?, row.get(3)?);
    let (Parsed(reverse_path), Natural(octets), Moment(queued_at)) = (row.get(6)?, row.get(7)?, row.get(8)?);
    let leased = is_leased(row.get::<_, bool>(4)?, next_attempt_at, now);
    let last_reply = row.get(5)?;
    Ok(QueueEntry {
        message,
        reverse_path,
        recipient,
        octets,
        queued_at,
        attempts,
        next_attempt_at,
        leased,
        last_reply,
        original: parsed(row, 9)?,
        notify: parsed(row, 10)?,
        via: parsed(row, 11)?,
        held: row.get(12)?,
        expires_at: None,
    })
}

/// A recipient of a message.
type Key = (i64, RawText);

/// Makes some entries due that are neither leased nor on hold and that come after this one; returns how many, and the last of them if
/// there may be more.
pub(super) fn flush(tx: &mut WriteTransaction<'_>, after: Option<&Key>) -> Result<(u64, Option<Key>)> {
    let now_ms = tx.now().as_millisecond();
    let start = (i64::MIN, RawText::from(""));
    let (message, recipient) = after.unwrap_or(&start);
    let mut statement = tx.connection.prepare_cached(
        "SELECT message_id, recipient FROM queue
         WHERE (message_id, recipient) > (?1, ?2) AND next_attempt_at_ms > ?3 AND lease IS NULL
         AND quarantined_at_ms IS NULL AND held_at_ms IS NULL ORDER BY message_id, recipient LIMIT ?4",
    )?;
    let rows = statement
        .query_map(params![message, recipient, now_ms, FLUSHED as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let entries: Vec<Key> = collect(rows)?;
    let mut hurry = tx
        .connection
        .prepare_cached("UPDATE queue SET next_attempt_at_ms = ?3 WHERE message_id = ?1 AND recipient = ?2")?;
    for (message, recipient) in &entries {
        hurry.execute(params![message, recipient, now_ms])?;
    }
    tx.effects.queue_changed |= !entries.is_empty();
    Ok((entries.len() as u64, entries.into_iter().nth(FLUSHED - 1)))
}

/// What was said of a recipient last.
pub(super) fn last_reply(connection: &Connection, message: i64, recipient: &Mailbox) -> Result<String> {
    let select = "SELECT last_reply FROM queue WHERE message_id = ?1 AND recipient = ?2";
    let mut statement = connection.prepare_cached(select)?;
    let found: Option<RawText> =
        statement.query_row(params![message, recipient.to_string()], |row| row.get(0)).optional()?;
    Ok(found.map(|reply| reply.to_string()).unwrap_or_default())
}

/// When the oldest message came that waits. It walks past older ones that are on hold.
const OLDEST: &str = "SELECT received_at_ms FROM queue JOIN messages ON id = message_id
     WHERE quarantined_at_ms IS NULL AND held_at_ms IS NULL ORDER BY message_id LIMIT 1";
/// How many entries are on hold.
const HELD: &str = "SELECT COUNT(*) FROM queue WHERE held_at_ms IS NOT NULL AND quarantined_at_ms IS NULL";

pub(super) fn backlog(connection: &Connection) -> Result<Backlog> {
    let oldest = connection.prepare_cached(OLDEST)?.query_row([], |row| row.get(0)).optional()?;
    let Natural(held) = connection.prepare_cached(HELD)?.query_row([], |row| row.get(0))?;
    Ok(Backlog { oldest: oldest.map(|Moment(oldest)| oldest), held })
}

/// How many entries wait.
pub(super) fn length(connection: &Connection) -> Result<i64> {
    Ok(connection.query_row("SELECT COUNT(*) FROM queue WHERE quarantined_at_ms IS NULL", [], |row| row.get(0))?)
}

/// How many entries relay workers are trying: those of leases that last, and those of which `is_under_way` says so although the
/// clock was moved beyond them.
pub(super) fn claimed(connection: &Connection, now: Timestamp, is_under_way: impl Fn(&str) -> bool) -> Result<u64> {
    let select =
        "SELECT lease, COUNT(*), TOTAL(next_attempt_at_ms > ?1) > 0 FROM queue WHERE lease IS NOT NULL GROUP BY lease";
    let mut select = connection.prepare_cached(select)?;
    let leases = select.query_map([now.as_millisecond()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let leases: Vec<(RawText, i64, bool)> = collect(leases)?;
    let tried = leases.iter().filter(|(lease, _, lasts)| *lasts || is_under_way(&lease.to_string()));
    Ok(tried.map(|(_, entries, _)| entries.unsigned_abs()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_found_without_a_look_at_the_rest_of_the_queue() {
        let directory = tempfile::tempdir().unwrap();
        let connection = super::super::database::open(&directory.path().join("store.db")).unwrap();
        for (select, expected) in [(OLDEST, "SCAN queue"), (HELD, "SCAN queue USING INDEX queue_held")] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {select}")).unwrap();
            let steps = statement.query_map([], |row| row.get::<_, String>("detail")).unwrap();
            let plan: Vec<_> = steps.collect::<Result<_, _>>().unwrap();
            assert!(plan[0].starts_with(expected) && !plan.iter().any(|step| step.contains("B-TREE")), "{plan:?}");
        }
    }
}
