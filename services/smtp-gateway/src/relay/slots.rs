//! The slots that a gateway has for transactions, and who gives way when all are taken.
//!
//! While slots are free, everybody gets one, within the limit for a destination. When all are taken, an exchange that keeps us
//! waiting makes room for a destination that has no slot. Three kinds give way, in this order:
//!
//! 1. An exchange whose destination has more slots.
//! 2. An exchange that is silent after the final dot. Its transaction goes on aside.
//! 3. The exchange that is silent for the longest time before its dot.

use super::{concurrency::Windows, route::Destination};
use mail_net::IoClock;
use service_kit::shutdown::CancellationToken;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use town_config::Relay;

/// An exchange that says nothing for so long gives way to others.
const SILENCE: Duration = Duration::from_millis(500);

/// Why this server gives a transaction up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Interruption {
    /// The server stops.
    #[error("this server stops")]
    Shutdown,
    /// Mail to other destinations needs the slot.
    #[error("no answer yet, and other mail needs the connection")]
    OthersWait,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is decided yet: giving up delays the message.
    BeforeDot,
    /// The message may have been taken: giving up may double it.
    AfterDot,
}

/// All slots of a gateway.
#[derive(Debug)]
pub(super) struct DomainSlots {
    io: IoClock,
    taken: Mutex<Taken>,
    /// Told when one of them ends.
    pub(super) ended: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    entries: BTreeMap<u64, Entry>,
    /// Numbers them.
    begun: u64,
    windows: Windows,
}

#[derive(Debug)]
struct Entry {
    destination: Destination,
    /// What is waited for, and since when.
    waits: Option<(Stage, Instant)>,
    /// It goes on without a slot.
    is_aside: bool,
    gives_way: CancellationToken,
}

impl DomainSlots {
    pub(super) fn new(io: IoClock) -> Self {
        Self { io, taken: Mutex::default(), ended: Notify::new() }
    }

    /// A slot for this destination. Another makes room for it when all are taken.
    pub(super) fn begin(
        self: &Arc<Self>,
        destination: &Destination,
        limits: &Relay,
        shutdown: &CancellationToken,
    ) -> DomainSlot {
        let mut taken = self.lock();
        if taken.total() >= limits.connections {
            taken.make_room(limits.connections, self.io.instant());
        }
        taken.begun += 1;
        let number = taken.begun;
        let gives_way = CancellationToken::new();
        let entry =
            Entry { destination: destination.clone(), waits: None, is_aside: false, gives_way: gives_way.clone() };
        taken.entries.insert(number, entry);
        let (destination, shutdown) = (destination.clone(), shutdown.clone());
        DomainSlot { number, destination, gives_way, shutdown, slots: Arc::clone(self) }
    }

    /// The destinations that get no slot now. `None` when nobody does.
    pub(super) fn closed_to(&self, limits: &Relay) -> Option<Vec<Destination>> {
        let taken = self.lock();
        let now = self.io.instant();
        let free = limits.connections.saturating_sub(taken.total());
        if free == 0 && !taken.entries.values().any(|entry| entry.is_silent(now)) {
            return None;
        }
        let mut counts: HashMap<&Destination, (usize, bool)> = HashMap::new();
        for entry in taken.entries.values() {
            let (count, is_silent) = counts.entry(&entry.destination).or_default();
            *count += 1;
            *is_silent |= entry.is_silent(now);
        }
        // The last slots are not for a destination that hangs.
        let is_closed = |destination: &Destination, count: usize, is_silent: bool| {
            let most = taken.windows.connections(destination, limits.connections_per_domain);
            free == 0 || count >= most || (is_silent && free < limits.connections / 4)
        };
        let closed =
            counts.into_iter().filter(|(destination, (count, is_silent))| is_closed(destination, *count, *is_silent));
        Some(closed.map(|(destination, _)| destination.clone()).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn total(&self) -> usize {
        self.entries.values().filter(|entry| entry.has_slot()).count()
    }

    /// How many slots a destination has.
    fn of(&self, destination: &Destination) -> usize {
        self.entries.values().filter(|entry| entry.destination == *destination && entry.has_slot()).count()
    }

    /// Takes a slot from one that is silent, if there is one.
    fn make_room(&mut self, limit: usize, now: Instant) {
        let mut counts: HashMap<Destination, usize> = HashMap::new();
        for entry in self.entries.values().filter(|entry| entry.has_slot()) {
            *counts.entry(entry.destination.clone()).or_default() += 1;
        }
        let aside = self.entries.values().filter(|entry| entry.is_aside).count();
        let rank = |entry: &Entry| {
            let (stage, since) = entry.waits?;
            let rank = match stage {
                Stage::BeforeDot if counts[&entry.destination] > 1 => 0,
                Stage::AfterDot if aside < limit => 1,
                Stage::BeforeDot => 2,
                Stage::AfterDot => 3,
            };
            Some((rank, since))
        };
        let silent = self.entries.values_mut().filter(|entry| entry.has_slot() && entry.is_silent(now));
        if let Some(entry) = silent.min_by_key(|entry| rank(entry)) {
            match entry.waits {
                Some((Stage::AfterDot, _)) if aside < limit => entry.is_aside = true,
                _ => entry.gives_way.cancel(),
            }
        }
    }
}

impl Entry {
    fn has_slot(&self) -> bool {
        !self.is_aside && !self.gives_way.is_cancelled()
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.has_slot() && self.waits.is_some_and(|(_, since)| now.duration_since(since) >= SILENCE)
    }
}

/// A claim's slot, given back when dropped.
#[derive(Debug)]
pub(super) struct DomainSlot {
    number: u64,
    destination: Destination,
    gives_way: CancellationToken,
    shutdown: CancellationToken,
    slots: Arc<DomainSlots>,
}

impl DomainSlot {
    /// Waits for the exchange, unless this server has to give up.
    ///
    /// # Errors
    /// [`Interruption`]. At shutdown only before the final dot.
    pub(super) async fn wait<T>(&self, stage: Stage, exchange: impl Future<Output = T>) -> Result<T, Interruption> {
        if self.shutdown.is_cancelled() && stage == Stage::BeforeDot {
            return Err(Interruption::Shutdown);
        }
        if !self.set(Some((stage, self.slots.io.instant()))) {
            return Err(Interruption::OthersWait);
        }
        let outcome = tokio::select! {
            biased;
            outcome = exchange => Ok(outcome),
            () = self.gives_way.cancelled() => Err(Interruption::OthersWait),
            () = self.shutdown.cancelled(), if stage == Stage::BeforeDot => Err(Interruption::Shutdown),
        };
        self.set(None);
        outcome
    }

    /// Does this unless the server stops first.
    pub(super) async fn until_shutdown<T>(&self, work: impl Future<Output = T>) -> Result<T, Interruption> {
        self.shutdown.run_until_cancelled(work).await.ok_or(Interruption::Shutdown)
    }

    /// What its connections lead to.
    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// How many slots are taken, this one included.
    pub(super) fn total(&self) -> usize {
        self.slots.lock().total()
    }

    /// Notes that an exchange has given a verdict on a message: the destination may have more connections soon.
    pub(super) fn succeeded(&self, limits: &Relay) {
        self.learn(|windows, destination, in_use| {
            windows.succeeded(destination, in_use, limits.connections_per_domain)
        });
    }

    /// Notes that no exchange of the destination could be talked to: the destination gets fewer connections.
    pub(super) fn failed(&self, limits: &Relay) {
        self.learn(|windows, destination, _| windows.failed(destination, limits.connections_per_domain));
    }

    /// Changes what is known of the slot's destination, which has this number of connections.
    fn learn(&self, change: impl FnOnce(&mut Windows, &Destination, usize)) {
        let mut taken = self.slots.lock();
        let Some(destination) = taken.entries.get(&self.number).map(|entry| entry.destination.clone()) else { return };
        let in_use = taken.of(&destination);
        let Taken { entries, windows, .. } = &mut *taken;
        change(windows, &destination, in_use);
        windows.forget_unless(|destination| entries.values().any(|entry| entry.destination == *destination));
    }

    /// Whether the server stops.
    pub(super) fn is_stopping(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// Notes what is waited for; false when the slot was taken away before.
    fn set(&self, waits: Option<(Stage, Instant)>) -> bool {
        let mut taken = self.slots.lock();
        let Some(entry) = taken.entries.get_mut(&self.number) else { return false };
        entry.waits = waits;
        !entry.gives_way.is_cancelled()
    }
}

impl Drop for DomainSlot {
    fn drop(&mut self) {
        self.slots.lock().entries.remove(&self.number);
        self.slots.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_net::Clock;

    /// A slot whose exchange says nothing any more.
    fn silent(slot: DomainSlot, stage: Stage) -> tokio::task::JoinHandle<Result<(), Interruption>> {
        tokio::spawn(async move { slot.wait(stage, std::future::pending()).await })
    }

    async fn waiting(slots: &DomainSlots, count: usize) {
        while slots.lock().entries.values().filter(|entry| entry.waits.is_some()).count() < count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_is_silent_gives_way_in_order() {
        let (slots, limits, shutdown) =
            (Arc::new(DomainSlots::new(Clock::system().io)), Relay::default(), CancellationToken::new());
        let mut waits = Vec::new();
        for (destination, stage) in [
            ("single.test", Stage::BeforeDot),
            ("sent.test", Stage::AfterDot),
            ("double.test", Stage::BeforeDot),
            ("double.test", Stage::BeforeDot),
        ] {
            waits.push(silent(slots.begin(&destination.parse().unwrap(), &limits, &shutdown), stage));
            waiting(&slots, waits.len()).await;
        }
        slots.lock().make_room(4, slots.io.instant());
        assert_eq!(slots.lock().total(), 4, "nobody is silent for long enough");

        // The first is of the destination with two slots, the second goes on aside, the third is silent the longest.
        let later = slots.io.instant() + SILENCE;
        for left in (1..4).rev() {
            slots.lock().make_room(4, later);
            assert_eq!(slots.lock().total(), left);
        }
        for (given_up, wait) in [(2, waits.remove(2)), (0, waits.remove(0))] {
            assert_eq!(wait.await.unwrap(), Err(Interruption::OthersWait), "{given_up}");
        }
        assert!(waits.iter().all(|wait| !wait.is_finished()));
        waits.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn a_domain_that_fails_gets_fewer_slots() {
        let (slots, limits, shutdown) =
            (Arc::new(DomainSlots::new(Clock::system().io)), Relay::default(), CancellationToken::new());
        let destination: Destination = "a.test".parse().unwrap();
        let slot = slots.begin(&destination, &limits, &shutdown);
        assert_eq!(slots.closed_to(&limits), Some(vec![]));
        for _ in 0..4 {
            slot.failed(&limits);
        }
        assert_eq!(slots.closed_to(&limits), Some(vec![destination.clone()]));
        slot.succeeded(&limits);
        assert_eq!(slots.closed_to(&limits), Some(vec![]));
    }

    #[tokio::test]
    async fn a_stop_gives_up_only_before_the_dot() {
        let (slots, limits, shutdown) =
            (Arc::new(DomainSlots::new(Clock::system().io)), Relay::default(), CancellationToken::new());
        let begin = || slots.begin(&"a.test".parse().unwrap(), &limits, &shutdown);
        let (before, after) = (silent(begin(), Stage::BeforeDot), silent(begin(), Stage::AfterDot));
        waiting(&slots, 2).await;
        shutdown.cancel();
        assert_eq!(before.await.unwrap(), Err(Interruption::Shutdown));
        assert!(!after.is_finished());
        assert_eq!(begin().wait(Stage::BeforeDot, async {}).await, Err(Interruption::Shutdown));
        after.abort();
    }
}
