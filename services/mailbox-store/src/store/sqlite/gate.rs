//! What a hold keeps back: claims, or every change. A hold of a console ends with its lease, so that a console that has died
//! keeps no store from its work. One of the store itself ends with its work.

use super::reader_pool::closed;
use crate::store::{Result, StoreError};
use internal_api::HoldStage;
use mail_net::IoClock;
use prometheus_client::metrics::gauge::Gauge;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// Lets changes pass, unless the store is held.
pub(super) struct Gate {
    state: Mutex<State>,
    /// Changes when a hold begins, ends or is renewed, and when the store stops.
    changes: watch::Sender<()>,
    /// How many changes may wait.
    most: usize,
    /// How many do, with those that wait for the writer.
    waiting: Gauge,
    io: IoClock,
}

#[derive(Default)]
struct State {
    hold: Option<Hold>,
    /// How many snapshots and restores of the store itself keep changes back.
    own: usize,
    waiting: usize,
    is_stopping: bool,
}

struct Hold {
    holder: String,
    stage: HoldStage,
    ends_at: Instant,
}

/// Until when changes are kept back: until this moment, or for an unknown time.
enum Kept {
    Until(Instant),
    UntilTold,
}

impl Gate {
    /// Lets at most `most` changes wait.
    pub(super) fn new(io: IoClock, most: usize, waiting: Gauge) -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(()), most, waiting, io }
    }

    /// Begins a hold, or renews it; its stage becomes this one.
    ///
    /// # Errors
    /// [`StoreError::Held`] while another one holds the store.
    pub(super) fn hold(&self, holder: &str, stage: HoldStage, lease: Duration) -> Result<()> {
        let mut state = self.current();
        if state.is_stopping {
            return Err(closed());
        }
        if state.hold.as_ref().is_some_and(|hold| hold.holder != holder) {
            return Err(StoreError::Held);
        }
        state.hold = Some(Hold { holder: holder.to_owned(), stage, ends_at: self.io.instant() + lease });
        drop(state);
        self.changes.send_replace(());
        Ok(())
    }

    /// Ends the hold of this name.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when it has ended before.
    pub(super) fn release(&self, holder: &str) -> Result<()> {
        let mut state = self.current();
        if state.hold.as_ref().is_none_or(|hold| hold.holder != holder) {
            return Err(StoreError::LeaseLost);
        }
        state.hold = None;
        drop(state);
        self.changes.send_replace(());
        Ok(())
    }

    /// Keeps changes back until [`Gate::end_own`] is called as often as this.
    pub(super) fn begin_own(&self) {
        self.current().own += 1;
        self.changes.send_replace(());
    }

    /// See [`Gate::begin_own`].
    pub(super) fn end_own(&self) {
        self.current().own -= 1;
        self.changes.send_replace(());
    }

    /// From now on nothing waits: changes that are kept back fail.
    pub(super) fn stop(&self) {
        self.current().is_stopping = true;
        self.changes.send_replace(());
    }

    /// Whether claims are kept back.
    pub(super) fn keeps_claims(&self) -> bool {
        self.current().hold.is_some()
    }

    /// Whether changes are kept back.
    pub(super) fn keeps_changes(&self) -> bool {
        self.current().kept().is_some()
    }

    /// Returns once changes may pass.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] when too many wait; [`StoreError::Unavailable`] when the store stops.
    pub(super) async fn open(&self) -> Result<()> {
        let _place = self.take_place()?;
        let mut changes = self.changes.subscribe();
        loop {
            let kept = {
                let state = self.current();
                match state.kept() {
                    Some(_) if state.is_stopping => return Err(closed()),
                    Some(kept) => kept,
                    None => return Ok(()),
                }
            };
            // Either way it is looked again; the sender lives as long as this.
            match kept {
                Kept::Until(ends_at) => drop(self.io.timeout_at(ends_at, changes.changed()).await),
                Kept::UntilTold => drop(changes.changed().await),
            }
        }
    }

    fn take_place(&self) -> Result<Place<'_>> {
        let mut state = self.current();
        if state.waiting >= self.most {
            return Err(StoreError::Overloaded("to be written"));
        }
        state.waiting += 1;
        self.waiting.inc();
        Ok(Place(self))
    }

    /// The state, with no hold that has run out.
    fn current(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.hold.as_ref().is_some_and(|hold| hold.ends_at <= self.io.instant()) {
            state.hold = None;
        }
        state
    }
}

impl State {
    fn kept(&self) -> Option<Kept> {
        if self.own > 0 {
            return Some(Kept::UntilTold);
        }
        let hold = self.hold.as_ref().filter(|hold| hold.stage == HoldStage::Commits);
        hold.map(|hold| Kept::Until(hold.ends_at))
    }
}

/// A change that waits.
struct Place<'gate>(&'gate Gate);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.current().waiting -= 1;
        self.0.waiting.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;
    use mail_net::Clock;
    use std::pin::pin;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_hold_ends_when_it_is_released_or_with_its_lease() {
        let gate = Gate::new(Clock::system().io, 1, Gauge::default());
        gate.open().await.unwrap();
        gate.hold("a", HoldStage::Claims, SECOND).unwrap();
        assert!(gate.keeps_claims());
        gate.open().await.unwrap();
        gate.hold("a", HoldStage::Commits, 2 * SECOND).unwrap();
        assert_eq!(gate.hold("b", HoldStage::Claims, SECOND), Err(StoreError::Held));
        assert_eq!(gate.release("b"), Err(StoreError::LeaseLost));
        {
            let mut waiting = pin!(gate.open());
            assert!(poll!(&mut waiting).is_pending());
            gate.release("a").unwrap();
            waiting.await.unwrap();
        }
        assert!(!gate.keeps_claims());

        gate.hold("a", HoldStage::Commits, SECOND).unwrap();
        gate.hold("a", HoldStage::Commits, 3 * SECOND).unwrap();
        let started = gate.io.instant();
        gate.open().await.unwrap();
        assert_eq!(gate.io.since(started), 3 * SECOND);
        assert_eq!(gate.release("a"), Err(StoreError::LeaseLost));
        gate.hold("b", HoldStage::Claims, SECOND).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_of_the_store_itself_ends_with_its_work_and_not_with_time() {
        let gate = Gate::new(Clock::system().io, 1, Gauge::default());
        gate.begin_own();
        gate.begin_own();
        gate.hold("a", HoldStage::Commits, SECOND).unwrap();
        let mut waiting = pin!(gate.open());
        assert!(gate.io.timeout(10_000 * SECOND, &mut waiting).await.is_err());
        gate.end_own();
        assert!(poll!(&mut waiting).is_pending());
        gate.end_own();
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_changes_wait_as_may_and_none_while_the_store_stops() {
        let gate = Gate::new(Clock::system().io, 2, Gauge::default());
        gate.hold("a", HoldStage::Commits, SECOND).unwrap();
        let mut waiting = [Box::pin(gate.open()), Box::pin(gate.open())];
        for one in &mut waiting {
            assert!(poll!(one).is_pending());
        }
        let full = StoreError::Overloaded("to be written");
        assert_eq!(gate.open().await, Err(full));
        assert_eq!(gate.waiting.get(), 2);
        gate.stop();
        for one in waiting {
            assert_eq!(one.await, Err(closed()));
        }
        assert_eq!(gate.waiting.get(), 0);
        assert_eq!(gate.hold("a", HoldStage::Commits, SECOND), Err(closed()));
        // What is not kept back is finished.
        gate.release("a").unwrap();
        gate.open().await.unwrap();
    }
}
