//! What a hold keeps back: claims, or every change. A hold ends with its lease, so that a console that has died keeps no
//! store from its work.

use crate::store::{Result, StoreError};
use internal_api::HoldStage;
use mail_net::IoClock;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// Lets changes pass, unless the store is held.
pub(super) struct Gate {
    hold: Mutex<Option<Hold>>,
    /// Changes when a hold begins, ends or is renewed.
    changes: watch::Sender<()>,
    io: IoClock,
}

struct Hold {
    holder: String,
    stage: HoldStage,
    ends_at: Instant,
}

impl Gate {
    pub(super) fn new(io: IoClock) -> Self {
        Self { hold: Mutex::default(), changes: watch::Sender::new(()), io }
    }

    /// Begins a hold, or renews it; its stage becomes this one.
    ///
    /// # Errors
    /// [`StoreError::Held`] while another one holds the store.
    pub(super) fn hold(&self, holder: &str, stage: HoldStage, lease: Duration) -> Result<()> {
        let mut hold = self.current();
        if hold.as_ref().is_some_and(|hold| hold.holder != holder) {
            return Err(StoreError::Held);
        }
        *hold = Some(Hold { holder: holder.to_owned(), stage, ends_at: self.io.instant() + lease });
        drop(hold);
        self.changes.send_replace(());
        Ok(())
    }

    /// Ends the hold of this name.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when it has ended before.
    pub(super) fn release(&self, holder: &str) -> Result<()> {
        let mut hold = self.current();
        if hold.as_ref().is_none_or(|hold| hold.holder != holder) {
            return Err(StoreError::LeaseLost);
        }
        *hold = None;
        drop(hold);
        self.changes.send_replace(());
        Ok(())
    }

    /// Whether claims are kept back.
    pub(super) fn keeps_claims(&self) -> bool {
        self.current().is_some()
    }

    /// Until when changes are kept back.
    pub(super) fn keeps_changes_until(&self) -> Option<Instant> {
        self.current().as_ref().filter(|hold| hold.stage == HoldStage::Commits).map(|hold| hold.ends_at)
    }

    /// Returns once changes may pass.
    pub(super) async fn open(&self) {
        let mut changes = self.changes.subscribe();
        while let Some(ends_at) = self.keeps_changes_until() {
            // Either way it is looked again; the sender lives as long as this.
            let _ = self.io.timeout_at(ends_at, changes.changed()).await;
        }
    }

    /// The hold that has not run out.
    fn current(&self) -> MutexGuard<'_, Option<Hold>> {
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        if hold.as_ref().is_some_and(|hold| hold.ends_at <= self.io.instant()) {
            *hold = None;
        }
        hold
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
        let gate = Gate::new(Clock::system().io);
        gate.open().await;
        gate.hold("a", HoldStage::Claims, SECOND).unwrap();
        assert!(gate.keeps_claims());
        gate.open().await;
        gate.hold("a", HoldStage::Commits, 2 * SECOND).unwrap();
        assert_eq!(gate.hold("b", HoldStage::Claims, SECOND), Err(StoreError::Held));
        assert_eq!(gate.release("b"), Err(StoreError::LeaseLost));
        let mut waiting = pin!(gate.open());
        assert!(poll!(&mut waiting).is_pending());
        gate.release("a").unwrap();
        waiting.await;
        assert!(!gate.keeps_claims());

        gate.hold("a", HoldStage::Commits, SECOND).unwrap();
        gate.hold("a", HoldStage::Commits, 3 * SECOND).unwrap();
        let started = gate.io.instant();
        gate.open().await;
        assert_eq!(gate.io.since(started), 3 * SECOND);
        assert_eq!(gate.release("a"), Err(StoreError::LeaseLost));
        gate.hold("b", HoldStage::Claims, SECOND).unwrap();
    }
}
