//! Who has which maildrop open. A SQLite store is the only one that locks its maildrops, so the locks are in memory:
//! a restart ends them, and a login costs no write.

use crate::store::{Result, StoreError, plan::moments::later_ms};
use mail_net::WallClock;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The locks of all maildrops, by address. Each is a lease: it lives as long as its session renews it.
pub(super) struct Leases {
    held: Mutex<HashMap<String, Held>>,
    /// Those who open maildrops read-lock it, and those who let mail expire write-lock it.
    opening: RwLock<()>,
    wall: WallClock,
}

struct Held {
    session: String,
    expires_at_ms: i64,
    /// How many updates are being written. As long as there is one, the lease does not run out.
    updates: usize,
}

impl Held {
    fn lives(&self, now_ms: i64) -> bool {
        self.updates > 0 || self.expires_at_ms > now_ms
    }
}

impl Leases {
    pub(super) fn new(wall: WallClock) -> Self {
        Self { held: Mutex::default(), opening: RwLock::new(()), wall }
    }

    /// To be held while a maildrop is locked and its listing begins. Nothing expires meanwhile.
    pub(super) async fn opening(&self) -> RwLockReadGuard<'_, ()> {
        self.opening.read().await
    }

    /// To be held while mail expires. Nobody opens a maildrop meanwhile.
    pub(super) async fn expiring(&self) -> RwLockWriteGuard<'_, ()> {
        self.opening.write().await
    }

    /// Locks a maildrop for a session, which may have it already.
    ///
    /// # Errors
    /// [`StoreError::MaildropInUse`] while another session has it.
    pub(super) fn take(&self, address: &str, session: &str, lease: Duration) -> Result<()> {
        let now_ms = self.now_ms();
        let mut held = self.held();
        if let Some(other) = held.get(address)
            && other.lives(now_ms)
            && (other.session != session || other.updates > 0)
        {
            return Err(StoreError::MaildropInUse);
        }
        let taken = Held { session: session.to_owned(), expires_at_ms: later_ms(now_ms, lease), updates: 0 };
        held.insert(address.to_owned(), taken);
        Ok(())
    }

    /// Prolongs the lease of a session.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] once it has run out.
    pub(super) fn renew(&self, address: &str, session: &str, lease: Duration) -> Result<()> {
        let now_ms = self.now_ms();
        match self.held().get_mut(address) {
            Some(held) if held.session == session && held.lives(now_ms) => {
                held.expires_at_ms = later_ms(now_ms, lease);
                Ok(())
            }
            _ => Err(StoreError::LeaseLost),
        }
    }

    /// Unlocks a maildrop, if this session has it and does not update it.
    pub(super) fn release(&self, address: &str, session: &str) {
        let mut all = self.held();
        if all.get(address).is_some_and(|held| held.session == session && held.updates == 0) {
            all.remove(address);
        }
    }

    /// Keeps the lease of a session until its update has ended, and unlocks the maildrop then. Returns `None` when
    /// the session does not have it.
    pub(super) fn update(self: &Arc<Self>, address: &str, session: &str) -> Option<Updating> {
        let now_ms = self.now_ms();
        let mut all = self.held();
        let held = all.get_mut(address).filter(|held| held.session == session && held.lives(now_ms))?;
        held.updates += 1;
        Some(Updating { leases: Arc::clone(self), address: address.to_owned(), session: session.to_owned() })
    }

    /// Ends all leases: the store has become another one. An update that is still to be written is not
    /// [`Updating::is_due`] any more.
    pub(super) fn end_all(&self) {
        self.held().clear();
    }

    /// The maildrops that are open.
    pub(super) fn open_maildrops(&self) -> Vec<String> {
        let now_ms = self.now_ms();
        self.held().iter().filter(|(_, held)| held.lives(now_ms)).map(|(address, _)| address.clone()).collect()
    }

    /// Forgets what has run out.
    pub(super) fn forget(&self) {
        let now_ms = self.now_ms();
        self.held().retain(|_, held| held.lives(now_ms));
    }

    fn now_ms(&self) -> i64 {
        self.wall.now().as_millisecond()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last change of a session. When it is dropped, the session has ended, whether the change was written or not
/// (RFC 1939 §6).
pub(super) struct Updating {
    leases: Arc<Leases>,
    address: String,
    session: String,
}

impl Updating {
    /// Whether the session still has its lease.
    pub(super) fn is_due(&self) -> bool {
        self.leases.held().get(&self.address).is_some_and(|held| self.is_of(held))
    }

    fn is_of(&self, held: &Held) -> bool {
        held.session == self.session && held.updates > 0
    }
}

impl Drop for Updating {
    fn drop(&mut self) {
        let mut all = self.leases.held();
        // After the end of all leases, another session may have the maildrop.
        let Some(held) = all.get_mut(&self.address).filter(|held| self.is_of(held)) else { return };
        held.updates -= 1;
        if held.updates == 0 {
            all.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{MINUTE, manual_clock};

    const A: &str = "a@local.test";

    #[test]
    fn a_lease_does_not_run_out_while_its_update_is_written() {
        let clock = manual_clock();
        let leases = Arc::new(Leases::new(clock.clock().wall));
        leases.take(A, "one", MINUTE).unwrap();
        let (first, repeat) = (leases.update(A, "one").unwrap(), leases.update(A, "one").unwrap());
        assert!(leases.update(A, "two").is_none());
        clock.advance(2 * MINUTE);
        leases.forget();
        leases.release(A, "one");
        assert_eq!(leases.take(A, "two", MINUTE), Err(StoreError::MaildropInUse));
        assert_eq!(leases.open_maildrops(), [A]);
        drop(first);
        assert_eq!(leases.take(A, "one", MINUTE), Err(StoreError::MaildropInUse), "its repeat is being written");
        drop(repeat);
        assert_eq!(leases.take(A, "two", MINUTE), Ok(()));
        assert!(leases.update(A, "one").is_none());
    }

    #[test]
    fn an_update_from_before_the_end_of_all_leases_is_not_due() {
        let leases = Arc::new(Leases::new(manual_clock().clock().wall));
        leases.take(A, "one", MINUTE).unwrap();
        let late = leases.update(A, "one").unwrap();
        assert!(late.is_due());
        leases.end_all();
        assert!(!late.is_due());
        leases.take(A, "two", MINUTE).unwrap();
        drop(late);
        assert_eq!(leases.open_maildrops(), [A], "it is the other session's");
    }

    #[test]
    fn what_has_run_out_is_forgotten() {
        let clock = manual_clock();
        let leases = Leases::new(clock.clock().wall);
        leases.take(A, "one", MINUTE).unwrap();
        leases.forget();
        assert_eq!(leases.renew(A, "one", MINUTE), Ok(()));
        clock.advance(MINUTE);
        assert_eq!(leases.open_maildrops(), [""; 0]);
        leases.forget();
        assert!(leases.held().is_empty());
    }
}
