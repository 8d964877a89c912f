//! A bounded table of what is remembered for a while.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Duration,
};

/// How many keys are remembered.
pub(super) const ROOM: usize = 10_000;

/// Keys, each with the time until which it is remembered. Where there is no more room, the key that would be forgotten
/// first goes.
#[derive(Debug)]
pub(super) struct Table<K> {
    until: HashMap<K, Duration>,
    in_order: BTreeSet<(Duration, K)>,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { until: HashMap::new(), in_order: BTreeSet::new() }
    }
}

impl<K: Copy + Ord + Hash> Table<K> {
    /// Until when the key is remembered; zero if it is not.
    pub(super) fn until(&self, key: &K) -> Duration {
        self.until.get(key).copied().unwrap_or_default()
    }

    /// Remembers the key until this time, and forgets those whose time has come `now`.
    pub(super) fn set(&mut self, key: K, until: Duration, now: Duration) {
        self.remove(&key);
        while self.in_order.first().is_some_and(|(first, _)| *first <= now || self.in_order.len() >= ROOM) {
            if let Some((_, key)) = self.in_order.pop_first() {
                self.until.remove(&key);
            }
        }
        self.until.insert(key, until);
        self.in_order.insert((until, key));
    }

    /// Forgets the key.
    pub(super) fn remove(&mut self, key: &K) {
        if let Some(until) = self.until.remove(key) {
            self.in_order.remove(&(until, *key));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.until.len(), self.in_order.len());
        self.until.len()
    }
}
