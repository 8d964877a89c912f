//! Events: what a change tells of itself, written in the same transaction as the change.
//!
//! A change collects its events in an [`EventLog`]. The backend writes the log's records as the last thing before the
//! commit. Readers turn records into events again with [`page`] and [`story`].

use super::{Result, StoreError, plan::placement::Placement, records::id};
use internal_api::{ClaimedRecipient, DeletedBy, Event, EventKind, EventPage, EventPosition, MessageId};
use jiff::Timestamp;
use mail_proto::{Mailbox, ReversePath};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many messages a record of many names at most.
const MESSAGES_TOGETHER: usize = 500;
/// How many records of one message are read at most.
pub(super) const STORY_RECORDS: i64 = 10_000;
/// How many records are looked at in one change of pruning, so that nobody waits long for it.
pub(super) const PRUNED: i64 = 1000;

/// How long events are kept, and how many records of them at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRetention {
    /// Older ones are removed.
    pub age: Duration,
    /// Beyond this number the oldest are removed.
    pub records: u64,
}

/// The events of one change.
#[derive(Debug, Default)]
pub(super) struct EventLog(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    message: i64,
    last_message: Option<i64>,
    detail: Entered,
}

/// What an entry holds beside its columns.
#[derive(Debug)]
enum Entered {
    /// It is encoded with the record.
    Detail(Detail),
    /// It is encoded already, which saves copies: this is what every message has.
    Taking(serde_json::Result<String>),
}

/// The events of taking a message, encoded as those of [`EventKind`] are.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Taking<'a> {
    Accepted { reverse_path: &'a ReversePath, octets: u64 },
    Delivered { recipients: &'a [&'a Mailbox] },
    Queued { recipients: Vec<&'a Mailbox> },
}

/// What a record holds beside its columns.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Detail {
    /// What happened to the message, in order.
    One(Vec<EventKind>),
    /// Which messages a maildrop lost: the differences between their keys, from that of the column `message_id` on.
    Many { deleted_from: Mailbox, by: DeletedBy, steps: Vec<i64> },
}

/// A record to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NewRecord {
    pub(super) message: i64,
    pub(super) last_message: Option<i64>,
    pub(super) detail: String,
}

/// A record that was read.
#[derive(Debug)]
pub(super) struct StoredRecord {
    /// The number of its transaction where several commit at the same time, else 0.
    pub(super) transaction: i64,
    pub(super) record: i64,
    pub(super) message: i64,
    pub(super) at_ms: i64,
    pub(super) detail: String,
}

impl EventLog {
    /// Adds an event of one message.
    pub(super) fn push(&mut self, message: i64, kind: EventKind) {
        if let Some(Entry { message: last, detail: Entered::Detail(Detail::One(kinds)), .. }) = self.0.last_mut()
            && *last == message
        {
            return kinds.push(kind);
        }
        let detail = Entered::Detail(Detail::One(vec![kind]));
        self.0.push(Entry { message, last_message: None, detail });
    }

    /// A message was taken and placed.
    pub(super) fn accepted(
        &mut self,
        message: i64,
        reverse_path: &ReversePath,
        octets: u64,
        placement: &Placement<'_>,
    ) {
        let Placement { here, queued, .. } = placement;
        let accepted = Taking::Accepted { reverse_path, octets };
        let delivered = (!here.is_empty()).then_some(Taking::Delivered { recipients: here });
        let queued = (!queued.is_empty()).then(|| {
            let recipients = queued.iter().map(|(expanded, _)| &expanded.recipient.mailbox).collect();
            Taking::Queued { recipients }
        });
        let taking: Vec<_> = [Some(accepted), delivered, queued].into_iter().flatten().collect();
        let detail = Entered::Taking(serde_json::to_string(&taking));
        self.0.push(Entry { message, last_message: None, detail });
    }

    /// Recipients of a message were settled.
    pub(super) fn settled(&mut self, message: i64, settled: Settled) {
        for (kind, recipients) in settled.0 {
            self.push(message, with_recipients(kind, recipients));
        }
    }

    /// A maildrop lost one message.
    pub(super) fn deleted(&mut self, message: i64, mailbox: &Mailbox, by: DeletedBy) {
        self.push(message, EventKind::Deleted { recipients: vec![mailbox.clone()], by });
    }

    /// A maildrop lost many messages, whose keys come in order. Takes few records, however many messages they are.
    pub(super) fn deleted_many(&mut self, messages: &[i64], mailbox: &Mailbox, by: DeletedBy) {
        for together in messages.chunks(MESSAGES_TOGETHER) {
            let (Some(&first), Some(&last)) = (together.first(), together.last()) else { continue };
            let steps = together.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let detail = Entered::Detail(Detail::Many { deleted_from: mailbox.clone(), by, steps });
            self.0.push(Entry { message: first, last_message: Some(last), detail });
        }
    }

    /// The records to be written.
    ///
    /// # Errors
    /// [`StoreError::Internal`] when an event cannot be encoded, which is a bug.
    pub(super) fn into_records(self) -> Result<Vec<NewRecord>> {
        let record = |Entry { message, last_message, detail }| {
            let encoded = match detail {
                Entered::Detail(detail) => serde_json::to_string(&detail),
                Entered::Taking(encoded) => encoded,
            };
            match encoded {
                Ok(detail) => Ok(NewRecord { message, last_message, detail }),
                Err(error) => Err(StoreError::Internal(format!("an event cannot be encoded: {error}"))),
            }
        };
        self.0.into_iter().map(record).collect()
    }
}

/// What became of the recipients of one settlement. Those with the same outcome share an event.
#[derive(Debug, Default)]
pub(super) struct Settled(Vec<(EventKind, Vec<Mailbox>)>);

impl Settled {
    /// Adds a recipient; `kind` names none.
    pub(super) fn add(&mut self, recipient: &Mailbox, kind: EventKind) {
        match self.0.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, recipients)) => recipients.push(recipient.clone()),
            None => self.0.push((kind, vec![recipient.clone()])),
        }
    }
}

fn with_recipients(mut kind: EventKind, of: Vec<Mailbox>) -> EventKind {
    match &mut kind {
        EventKind::Delivered { recipients }
        | EventKind::Queued { recipients }
        | EventKind::Deferred { recipients, .. }
        | EventKind::Relayed { recipients, .. }
        | EventKind::Failed { recipients, .. }
        | EventKind::Expired { recipients, .. }
        | EventKind::Finished { recipients }
        | EventKind::Held { recipients }
        | EventKind::Released { recipients }
        | EventKind::Deleted { recipients, .. } => *recipients = of,
        EventKind::Accepted { .. }
        | EventKind::Claimed { .. }
        | EventKind::Bounced { .. }
        | EventKind::Reported { .. }
        | EventKind::Restored { .. } => {}
    }
    kind
}

impl EventRetention {
    /// Events of before this moment, in milliseconds, are removed.
    pub(super) fn oldest_kept_ms(&self, now: Timestamp) -> i64 {
        now.saturating_sub(self.age).map_or(i64::MIN, Timestamp::as_millisecond)
    }
}

/// A claim of some recipients of a message.
pub(super) fn claimed(recipients: &[ClaimedRecipient], ends_at_ms: i64) -> EventKind {
    let until = Timestamp::from_millisecond(ends_at_ms).unwrap_or(Timestamp::MAX);
    EventKind::Claimed { recipients: recipients.to_vec(), until }
}

/// The detail of the record that tells of a restore. It is about no message.
pub(super) fn restored(snapshot: &str) -> Result<String> {
    let mut log = EventLog::default();
    log.push(0, EventKind::Restored { snapshot: snapshot.to_owned() });
    Ok(log.into_records()?.into_iter().map(|record| record.detail).collect())
}

impl StoredRecord {
    /// Its events, in order. One that cannot be decoded is logged and has none: it never stops the others.
    fn events(&self) -> Vec<Event> {
        let detail = match serde_json::from_str(&self.detail) {
            Ok(detail) => detail,
            Err(error) => {
                tracing::warn!(record = self.record, %error, "an event record cannot be decoded; it is skipped");
                return Vec::new();
            }
        };
        let kinds: Vec<(i64, EventKind)> = match detail {
            Detail::One(kinds) => kinds.into_iter().map(|kind| (self.message, kind)).collect(),
            Detail::Many { deleted_from, by, steps } => {
                let keys = steps.iter().scan(self.message, |key, step| {
                    *key = key.saturating_add(*step);
                    Some(*key)
                });
                let deleted = || EventKind::Deleted { recipients: vec![deleted_from.clone()], by };
                std::iter::once(self.message).chain(keys).map(|key| (key, deleted())).collect()
            }
        };
        let at = Timestamp::from_millisecond(self.at_ms).unwrap_or(Timestamp::MIN);
        let event = |(place, (message, kind))| {
            let position = self.position(place);
            Event { cursor: position.to_string(), at, message: id(message), kind }
        };
        (1..).zip(kinds).map(event).collect()
    }

    fn position(&self, place: u32) -> EventPosition {
        EventPosition { transaction: self.transaction, record: self.record, place }
    }
}

/// At most `limit` events after `after`, from records that begin with the one in which `after` is, if it is still there.
pub(super) fn page(records: &[StoredRecord], after: EventPosition, limit: u32) -> EventPage {
    let (mut events, mut last) = (Vec::new(), after);
    for record in records {
        for (place, event) in (1..).zip(record.events()) {
            let position = record.position(place);
            if position <= after {
                continue;
            }
            if events.len() >= limit as usize {
                return EventPage { events, next_after: last.to_string() };
            }
            events.push(event);
            last = position;
        }
        // Nothing of this record is left, whether or not it could be decoded.
        last = last.max(record.position(u32::MAX));
    }
    EventPage { events, next_after: last.to_string() }
}

/// The events of one message, from the records that may tell of it.
pub(super) fn story(records: &[StoredRecord], message: MessageId) -> Vec<Event> {
    records.iter().flat_map(StoredRecord::events).filter(|event| event.message == message).collect()
}

/// How many of the oldest records are to be removed: of each the time and the number come in order, `greatest` is the
/// number of the latest record.
pub(super) fn prunable(oldest: &[(i64, i64)], greatest: i64, oldest_kept_ms: i64, records: u64) -> usize {
    let first_kept = greatest.saturating_sub(i64::try_from(records).unwrap_or(i64::MAX));
    let goes = |(at_ms, number): &(i64, i64)| *number < greatest && (*at_ms < oldest_kept_ms || *number <= first_kept);
    oldest.iter().take_while(|record| goes(record)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::plan::expansion::Expanded;

    fn mailbox(address: &str) -> Mailbox {
        address.parse().unwrap()
    }

    fn stored(record: i64, new: &NewRecord) -> StoredRecord {
        StoredRecord { transaction: 0, record, message: new.message, at_ms: 0, detail: new.detail.clone() }
    }

    fn queued() -> EventKind {
        EventKind::Queued { recipients: vec![mailbox("x@far.test")] }
    }

    #[test]
    fn events_of_one_message_share_a_record() {
        let mut log = EventLog::default();
        log.push(1, queued());
        log.push(1, EventKind::Bounced { as_message: id(2) });
        log.deleted(2, &mailbox("a@local.test"), DeletedBy::Session);
        let records = log.into_records().unwrap();
        assert_eq!(records.iter().map(|record| record.message).collect::<Vec<_>>(), [1, 2]);
        let records: Vec<_> = (1..).zip(&records).map(|(number, record)| stored(number, record)).collect();
        let page = page(&records, EventPosition::default(), 10);
        let told: Vec<_> = page.events.iter().map(|event| (event.message.number(), event.kind.name())).collect();
        assert_eq!(told, [(1, "queued"), (1, "bounced"), (2, "deleted")]);
        assert_eq!(story(&records, id(2)).len(), 1);
    }

    #[test]
    fn what_a_message_begins_with_is_told_in_order() {
        let here = mailbox("a@local.test");
        let there = Expanded { recipient: mailbox("x@far.test").into(), via: None, decided: None };
        let mut log = EventLog::default();
        let placement = Placement { here: vec![&here], queued: vec![(&there, "")], reported: Vec::new() };
        log.accepted(1, &ReversePath::Null, 7, &placement);
        log.accepted(2, &ReversePath::Null, 8, &Placement::default());
        let records: Vec<_> = (1..).zip(log.into_records().unwrap()).map(|(n, record)| stored(n, &record)).collect();
        let told: Vec<_> = page(&records, EventPosition::default(), 10).events.into_iter().map(|it| it.kind).collect();
        let accepted = |octets| EventKind::Accepted { reverse_path: ReversePath::Null, octets };
        let delivered = EventKind::Delivered { recipients: vec![here.clone()] };
        assert_eq!(told, [accepted(7), delivered, queued(), accepted(8)]);
    }

    #[test]
    fn many_deletions_take_few_records() {
        let keys: Vec<i64> = (0..1200).map(|number| number * 7 + 3).collect();
        let mut log = EventLog::default();
        log.deleted_many(&keys, &mailbox("a@local.test"), DeletedBy::Session);
        let records = log.into_records().unwrap();
        let ends: Vec<_> = records.iter().map(|record| (record.message, record.last_message.unwrap())).collect();
        assert_eq!(ends, [(keys[0], keys[499]), (keys[500], keys[999]), (keys[1000], keys[1199])]);
        let records: Vec<_> = (1..).zip(&records).map(|(number, record)| stored(number, record)).collect();
        assert_eq!(story(&records, id(keys[777])).len(), 1);
        assert_eq!(story(&records, id(keys[777] + 1)), []);
        // A page may end within a record.
        let (mut after, mut seen) = (EventPosition::default(), Vec::new());
        loop {
            let page = page(&records, after, 7);
            if page.events.is_empty() {
                break;
            }
            assert!(page.events.len() <= 7);
            seen.extend(page.events.iter().map(|event| event.message.number() as i64));
            after = page.next_after.parse().unwrap();
        }
        assert_eq!(seen, keys);
    }

    #[test]
    fn what_cannot_be_decoded_is_passed() {
        let mut good = EventLog::default();
        good.push(1, queued());
        let good = good.into_records().unwrap();
        let bad = NewRecord { message: 1, last_message: None, detail: "[{\"kind\":\"unheard of\"}]".to_owned() };
        let records = [stored(1, &bad), stored(2, &good[0]), stored(3, &bad)];
        let first = page(&records, EventPosition::default(), 10);
        assert_eq!(first.events.len(), 1);
        assert_eq!(page(&records[2..], first.next_after.parse().unwrap(), 10).events, []);
        let only_bad = page(&records[..1], EventPosition::default(), 10);
        assert!(only_bad.next_after.parse::<EventPosition>().unwrap() > EventPosition::default(), "it goes on");
    }

    #[test]
    fn the_oldest_go_by_age_and_by_number() {
        let records = [(10, 1), (20, 2), (5, 3), (40, 4), (50, 5)];
        for (oldest_kept_ms, most, expected) in
            [(0, 100, 0), (20, 100, 1), (30, 100, 3), (i64::MAX, 100, 4), (0, 2, 3), (0, 0, 4), (15, 4, 1)]
        {
            assert_eq!(prunable(&records, 5, oldest_kept_ms, most), expected, "{oldest_kept_ms} {most}");
        }
        assert_eq!(prunable(&[], 0, i64::MAX, 0), 0);
    }
}
