//! The table of events.
//!
//! Several stores commit at the same time, so a sequence does not tell the order of commits. Each record holds the
//! number of its transaction. Records are read in the order of these numbers, and only those whose number is smaller
//! than that of every transaction that is still under way. So no record appears before one that was read.

use super::{database::Transaction, failure::Failure};
use crate::store::{
    events::{self, EventRetention, PRUNED, STORY_RECORDS, StoredRecord},
    records::key,
};
use internal_api::{Event, EventPage, EventPosition, MessageId};
use jiff::Timestamp;
use tokio_postgres::Row;

const INSERT: &str = "INSERT INTO events (xact_id, message_id, last_message_id, at_ms, detail)
     SELECT pg_current_xact_id()::text::bigint, message_id, last_message_id, $4, detail
     FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS new (message_id, last_message_id, detail)";

const PAGE: &str = "SELECT xact_id, seq, message_id, at_ms, detail FROM events
     WHERE (xact_id, seq) >= ($1, $2) AND xact_id < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
     ORDER BY xact_id, seq LIMIT $3";

const LAST: &str =
    "SELECT xact_id, seq FROM events WHERE xact_id < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
     ORDER BY xact_id DESC, seq DESC LIMIT 1";

const STORY: &str = "SELECT xact_id, seq, message_id, at_ms, detail FROM (
         SELECT xact_id, seq, message_id, at_ms, detail FROM events WHERE message_id = $1
         UNION ALL
         SELECT xact_id, seq, message_id, at_ms, detail FROM events WHERE last_message_id >= $1 AND message_id < $1
     ) AS told ORDER BY xact_id, seq LIMIT $2";

const GREATEST: &str = "SELECT seq FROM events ORDER BY xact_id DESC, seq DESC LIMIT 1";

const NEWEST: &str = "SELECT at_ms FROM events ORDER BY xact_id DESC, seq DESC LIMIT 1";

const OLDEST: &str = "SELECT xact_id, seq, at_ms FROM events ORDER BY xact_id, seq LIMIT $1";

const PRUNE: &str = "DELETE FROM events WHERE (xact_id, seq) <= ($1, $2)";

/// The columns of the events of a change, ready to be written.
#[derive(Default)]
pub(super) struct Prepared {
    messages: Vec<i64>,
    last_messages: Vec<Option<i64>>,
    details: Vec<String>,
}

/// Takes the events of a change, and makes sure that writing them is one statement that is sent at once.
pub(super) async fn prepare(tx: &mut Transaction<'_>) -> Result<Prepared, Failure> {
    let mut prepared = Prepared::default();
    for record in std::mem::take(&mut tx.events).into_records()? {
        prepared.messages.push(record.message);
        prepared.last_messages.push(record.last_message);
        prepared.details.push(record.detail);
    }
    if !prepared.is_empty() {
        tx.prepare(INSERT).await?;
    }
    Ok(prepared)
}

impl Prepared {
    /// Whether the change tells of nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Writes the events.
    pub(super) async fn write(&self, tx: &Transaction<'_>) -> Result<(), Failure> {
        if self.is_empty() {
            return Ok(());
        }
        tx.execute(INSERT, &[&self.messages, &self.last_messages, &self.details, &tx.now_ms()]).await.map(drop)
    }
}

/// At most `limit` events after `after`.
pub(super) async fn page(tx: &Transaction<'_>, after: EventPosition, limit: u32) -> Result<EventPage, Failure> {
    let rows = tx.query(PAGE, &[&after.transaction, &after.record, &(i64::from(limit) + 1)]).await?;
    Ok(events::page(&records(&rows)?, after, limit))
}

/// Where the events end.
pub(super) async fn last(tx: &Transaction<'_>) -> Result<EventPosition, Failure> {
    let Some(row) = tx.query_one(LAST, &[]).await? else { return Ok(EventPosition::default()) };
    Ok(EventPosition { transaction: row.try_get(0)?, record: row.try_get(1)?, place: u32::MAX })
}

/// When the newest of them was written.
pub(super) async fn newest_at(tx: &Transaction<'_>) -> Result<Option<Timestamp>, Failure> {
    let Some(row) = tx.query_one(NEWEST, &[]).await? else { return Ok(None) };
    Ok(Timestamp::from_millisecond(row.try_get(0)?).ok())
}

/// The events of one message.
pub(super) async fn story(tx: &Transaction<'_>, message: MessageId) -> Result<Vec<Event>, Failure> {
    let rows = tx.query(STORY, &[&key(message), &STORY_RECORDS]).await?;
    Ok(events::story(&records(&rows)?, message))
}

fn records(rows: &[Row]) -> Result<Vec<StoredRecord>, tokio_postgres::Error> {
    let record = |row: &Row| {
        let (transaction, record) = (row.try_get(0)?, row.try_get(1)?);
        let (message, at_ms, detail) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        Ok(StoredRecord { transaction, record, message, at_ms, detail })
    };
    rows.iter().map(record).collect()
}

/// Removes some of the oldest records that need not be kept; returns whether there may be more.
pub(super) async fn prune(tx: &mut Transaction<'_>, retention: EventRetention) -> Result<bool, Failure> {
    let Some(greatest) = tx.query_one(GREATEST, &[]).await? else { return Ok(false) };
    let rows = tx.query(OLDEST, &[&PRUNED]).await?;
    let ages = rows.iter().map(|row| Ok((row.try_get(2)?, row.try_get(1)?)));
    let oldest: Vec<(i64, i64)> = ages.collect::<Result<_, tokio_postgres::Error>>()?;
    let oldest_kept_ms = retention.oldest_kept_ms(tx.now());
    let count = events::prunable(&oldest, greatest.try_get(0)?, oldest_kept_ms, retention.records);
    if let Some(last) = rows[..count].last() {
        let (transaction, record): (i64, i64) = (last.try_get(0)?, last.try_get(1)?);
        tx.execute(PRUNE, &[&transaction, &record]).await?;
    }
    Ok(count as i64 == PRUNED)
}
