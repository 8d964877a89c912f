//! LOGIN-DELAY of POP3: a user who has logged in waits for a while before the next login (RFC 2449 §6.5).

use super::table::Table;
use jiff::Timestamp;
use mail_net::WallClock;
use mail_proto::Mailbox;
use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use town_config::LiveStack;

/// When each user may log in again, as this store has seen it. Of more than 10,000 users, those are forgotten who may log
/// in first.
pub(crate) struct LoginDelays {
    until: Mutex<Table<u64>>,
    hasher: RandomState,
    stack: LiveStack,
    wall: WallClock,
}

impl LoginDelays {
    pub(crate) fn new(stack: LiveStack, wall: WallClock) -> Self {
        Self { until: Mutex::default(), hasher: RandomState::new(), stack, wall }
    }

    /// Whether this user may log in now.
    pub(crate) fn permits(&self, user: &Mailbox) -> bool {
        self.stack.current().pop3.login_delay.is_none() || self.table().until(&self.key(user)) <= self.now()
    }

    /// Begins the delay of a user who has logged in now.
    pub(crate) fn logged_in(&self, user: &Mailbox) {
        if let Some(delay) = self.stack.current().pop3.login_delay {
            let now = self.now();
            self.table().set(self.key(user), now + delay, now);
        }
    }

    fn key(&self, user: &Mailbox) -> u64 {
        self.hasher.hash_one(user.to_string())
    }

    /// Since 1970.
    fn now(&self) -> Duration {
        Duration::try_from(self.wall.now().duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
    }

    fn table(&self) -> MutexGuard<'_, Table<u64>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
