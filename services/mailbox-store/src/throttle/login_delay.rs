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

    /// Whether this user may log in now. Nobody waits for longer than the delay: where the clock was set back since, a last
    /// login that is still to come counts as none.
    pub(crate) fn permits(&self, user: &Mailbox) -> bool {
        let Some(delay) = self.stack.current().pop3.login_delay else { return true };
        let left = self.table().until(&self.key(user)).saturating_sub(self.now());
        left.is_zero() || left > delay
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{HOUR, SECOND, mailbox, manual_clock};
    use std::path::Path;
    use town_config::Config;

    #[test]
    fn nobody_waits_for_longer_than_the_delay_when_the_clock_is_set_back() {
        let text = "[server.\"a.test\"]\nsmtp = 1\npop = 2\n[pop3]\nlogin_delay = \"60s\"\n";
        let config = Config::parse(text, Path::new("config.toml")).unwrap();
        let (clock, user) = (manual_clock(), mailbox("a@a.test"));
        let delays = LoginDelays::new(config.stack("a.test").unwrap().clone().into(), clock.clock().wall);
        for _ in 0..2 {
            delays.logged_in(&user);
            assert!(!delays.permits(&user));
            clock.turn_back(HOUR);
            assert!(delays.permits(&user));
        }
        delays.logged_in(&user);
        clock.advance(59 * SECOND);
        assert!(!delays.permits(&user));
        // By less than has passed: it still waits for its minute.
        clock.turn_back(59 * SECOND);
        assert!(!delays.permits(&user));
        clock.advance(60 * SECOND);
        assert!(delays.permits(&user));
    }
}
