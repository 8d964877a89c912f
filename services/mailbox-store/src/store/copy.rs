//! Copying a store as a whole: backup, restore and move-backend are each a snapshot and a destination.

use super::{
    records,
    snapshot::{
        AccountRecord, AliasRecord, Counts, DeliveryRecord, MessageRecord, QueueRecord, Result, Snapshot,
        SubmissionRecord, VerifiedBody, each_batch,
    },
};
use indicatif::ProgressBar;
use jiff::Timestamp;
use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};
use xxhash_rust::xxh3::Xxh3;

/// Where a copy goes. Until it is finished no store takes it for one; when it is dropped before, nothing is left of
/// it, or else it is refused and can be begun anew. All calls block.
pub(crate) trait Destination {
    /// Takes a message, and reads its body to the end.
    fn message(&mut self, message: &MessageRecord, body: &mut VerifiedBody<'_>) -> Result<()>;

    fn submissions(&mut self, submissions: &[SubmissionRecord]) -> Result<()>;

    fn deliveries(&mut self, deliveries: &[DeliveryRecord]) -> Result<()>;

    fn queue(&mut self, entries: &[QueueRecord]) -> Result<()>;

    fn accounts(&mut self, accounts: &[AccountRecord]) -> Result<()>;

    fn aliases(&mut self, aliases: &[AliasRecord]) -> Result<()>;

    /// Makes a store of it, durably.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Copies everything but the locks of maildrops, whose sessions end with their store. A message whose body is damaged
/// is quarantined in the copy, in every maildrop and in the queue; returns why, for each that was not quarantined before.
/// Mailboxes are counted anew. `now` is when damage was found.
pub(crate) fn copy(
    source: &mut dyn Snapshot,
    destination: &mut dyn Destination,
    progress: &ProgressBar,
    now: Timestamp,
) -> Result<Vec<String>> {
    let counts = source.counts()?;
    let Counts { accounts, messages, submissions, deliveries, queue, aliases } = counts;
    progress.set_length(accounts + messages + submissions + deliveries + queue + aliases);
    let mut copy = Copy { source, destination, progress, gone: HashSet::new(), damage: Damage::of(now) };
    copy.messages()?;
    copy.submissions()?;
    let sums = copy.deliveries()?;
    copy.queue()?;
    copy.accounts(&sums)?;
    copy.aliases()?;
    Ok(copy.damage.reported)
}

struct Copy<'a> {
    source: &'a mut dyn Snapshot,
    destination: &'a mut dyn Destination,
    progress: &'a ProgressBar,
    /// Messages that the store has let go of meanwhile.
    gone: HashSet<i64>,
    damage: Damage,
}

/// How many messages and octets a maildrop holds.
type Sums = HashMap<String, (i64, i64)>;

impl Copy<'_> {
    fn messages(&mut self) -> Result<()> {
        let mut last = None;
        loop {
            let keys = self.source.message_keys(last.as_ref())?;
            last = keys.last().copied();
            if last.is_none() {
                return Ok(());
            }
            for message in self.source.messages(&keys)? {
                self.progress.inc(1);
                let Some(mut body) = VerifiedBody::new(self.source.body(message.key)?) else {
                    self.gone.insert(message.key);
                    continue;
                };
                self.destination.message(&message, &mut body)?;
                if let Some(fault) = body.fault(&message) {
                    self.damage.faults.insert(message.key, fault);
                }
            }
        }
    }

    fn submissions(&mut self) -> Result<()> {
        let Self { source, destination, progress, .. } = self;
        each_batch(
            |after| source.submissions(after),
            |mut batch| {
                destination.submissions(&batch)?;
                progress.inc(batch.len() as u64);
                Ok(batch.pop())
            },
        )
    }

    fn deliveries(&mut self) -> Result<Sums> {
        let Self { source, destination, progress, gone, damage } = self;
        let mut sums = Sums::new();
        each_batch(
            |after| source.deliveries(after),
            |mut batch| {
                progress.inc(batch.len() as u64);
                let last = batch.last().cloned();
                batch.retain(|delivery| !gone.contains(&delivery.message));
                for delivery in &mut batch {
                    damage.quarantine_record(delivery.message, &mut delivery.quarantined_at_ms);
                    if delivery.quarantined_at_ms.is_none() {
                        let (messages, octets) = sums.entry(delivery.address.clone()).or_default();
                        *messages += 1;
                        *octets += delivery.octets;
                    }
                }
                destination.deliveries(&batch)?;
                Ok(last)
            },
        )?;
        Ok(sums)
    }

    fn queue(&mut self) -> Result<()> {
        let Self { source, destination, progress, gone, damage } = self;
        each_batch(
            |after| source.queue(after),
            |mut batch| {
                progress.inc(batch.len() as u64);
                let last = batch.last().cloned();
                batch.retain(|entry| !gone.contains(&entry.message));
                for entry in &mut batch {
                    if damage.quarantine_record(entry.message, &mut entry.quarantined_at_ms) {
                        entry.lease = None;
                    }
                }
                destination.queue(&batch)?;
                Ok(last)
            },
        )
    }

    fn aliases(&mut self) -> Result<()> {
        let Self { source, destination, progress, .. } = self;
        each_batch(
            |after| source.aliases(after),
            |mut batch| {
                progress.inc(batch.len() as u64);
                destination.aliases(&batch)?;
                Ok(batch.pop())
            },
        )
    }

    fn accounts(&mut self, sums: &Sums) -> Result<()> {
        let Self { source, destination, progress, .. } = self;
        each_batch(
            |after| source.accounts(after),
            |mut batch| {
                progress.inc(batch.len() as u64);
                for account in &mut batch {
                    (account.messages, account.octets) = sums.get(&account.address).copied().unwrap_or_default();
                }
                destination.accounts(&batch)?;
                Ok(batch.pop())
            },
        )
    }
}

/// Bodies that are not what they should be.
struct Damage {
    found_at: Timestamp,
    faults: HashMap<i64, String>,
    told: HashSet<i64>,
    reported: Vec<String>,
}

impl Damage {
    fn of(found_at: Timestamp) -> Self {
        Self { found_at, faults: HashMap::new(), told: HashSet::new(), reported: Vec::new() }
    }

    /// Sets a record of this message aside if need be; returns whether it did.
    fn quarantine_record(&mut self, message: i64, quarantined_at_ms: &mut Option<i64>) -> bool {
        let Some(fault) = self.faults.get(&message).filter(|_| quarantined_at_ms.is_none()) else { return false };
        *quarantined_at_ms = Some(self.found_at.as_millisecond());
        if self.told.insert(message) {
            self.reported.push(format!("{}: {fault}", records::id(message)));
        }
        true
    }
}

/// Tells two states of a store apart. Bodies are not read: they never change.
pub(crate) fn fingerprint(snapshot: &mut dyn Snapshot) -> Result<u128> {
    let mut hasher = Xxh3::new();
    // One after the other, because the snapshot is one.
    each_batch(|after| snapshot.message_keys(after), |batch| hash(batch, &mut hasher))?;
    each_batch(|after| snapshot.accounts(after), |batch| hash(batch, &mut hasher))?;
    each_batch(|after| snapshot.aliases(after), |batch| hash(batch, &mut hasher))?;
    each_batch(|after| snapshot.submissions(after), |batch| hash(batch, &mut hasher))?;
    each_batch(|after| snapshot.deliveries(after), |batch| hash(batch, &mut hasher))?;
    each_batch(|after| snapshot.queue(after), |batch| hash(batch, &mut hasher))?;
    Ok(hasher.digest128())
}

#[expect(clippy::unnecessary_wraps, reason = "what each_batch calls may fail")]
fn hash<T: Hash>(mut batch: Vec<T>, hasher: &mut Xxh3) -> Result<Option<T>> {
    batch.hash(hasher);
    Ok(batch.pop())
}
