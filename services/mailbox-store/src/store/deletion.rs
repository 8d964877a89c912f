//! What the end of a session deletes when it is much: ranges of a maildrop's entries, which one small change hides at
//! once. They are removed later, some at a time.

use std::ops::RangeInclusive;

/// As many entries as this are removed in the change that deletes them.
pub(super) const AT_ONCE: usize = 500;

/// How many entries are removed in one change afterwards, so that nobody waits long for it.
pub(super) const REMOVED: i64 = 250;

/// The ranges to delete, found by looking at the entries of a maildrop in their order.
pub(super) struct Deletion<'a> {
    /// What is to be deleted and may still come, in order.
    wanted: &'a [i64],
    /// From one entry to another, with none between them that stays.
    pub(super) ranges: Vec<RangeInclusive<i64>>,
    /// The entries in them, in order.
    pub(super) deleted: Vec<i64>,
    /// How many they are, and their octets.
    pub(super) messages: i64,
    pub(super) octets: i64,
    last_is_open: bool,
}

impl<'a> Deletion<'a> {
    /// Of these messages, which are in order.
    pub(super) fn of(wanted: &'a [i64]) -> Self {
        Self { wanted, ranges: Vec::new(), deleted: Vec::new(), messages: 0, octets: 0, last_is_open: false }
    }

    /// Takes the next entry. One that is quarantined stays.
    pub(super) fn entry(&mut self, message: i64, octets: i64, is_quarantined: bool) {
        let passed = self.wanted.partition_point(|wanted| *wanted < message);
        self.wanted = &self.wanted[passed..];
        if is_quarantined || self.wanted.first() != Some(&message) {
            self.last_is_open = false;
            return;
        }
        self.deleted.push(message);
        self.messages += 1;
        self.octets += octets;
        match self.ranges.last_mut().filter(|_| self.last_is_open) {
            Some(range) => *range = *range.start()..=message,
            None => self.ranges.push(message..=message),
        }
        self.last_is_open = true;
    }
}

/// The keys in order, each once.
pub(super) fn sorted(keys: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut keys: Vec<i64> = keys.collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_in_no_range() {
        let wanted = sorted([9, 2, 3, 5, 5, 7, 8, 100, 1].into_iter());
        let mut deletion = Deletion::of(&wanted);
        for message in [2, 3, 4, 5, 7, 8, 9, 11] {
            deletion.entry(message, 10, message == 8);
        }
        assert_eq!(deletion.ranges, [2..=3, 5..=7, 9..=9]);
        assert_eq!(deletion.deleted, [2, 3, 5, 7, 9]);
        assert_eq!((deletion.messages, deletion.octets), (5, 50));
    }
}
