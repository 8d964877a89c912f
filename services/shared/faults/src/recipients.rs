//! Counts for each recipient, in bounded memory.

use std::collections::{BTreeMap, HashMap};

/// How many recipients are told apart. Those that come later share one count.
const RECIPIENTS: usize = 10_000;

/// How often each recipient was seen. The case of ASCII letters does not matter.
#[derive(Debug, Default)]
pub(crate) struct Recipients(HashMap<String, u32>);

impl Recipients {
    /// How often each was seen.
    pub(crate) fn counts(&self) -> BTreeMap<String, u32> {
        self.0.iter().map(|(recipient, count)| (recipient.clone(), *count)).collect()
    }

    /// As they were counted before.
    pub(crate) fn of(counts: BTreeMap<String, u32>) -> Self {
        Self(counts.into_iter().take(RECIPIENTS + 1).collect())
    }

    /// Counts the recipient. Returns whether it is one of the first `first` times.
    pub(crate) fn is_among_first(&mut self, recipient: &str, first: u32) -> bool {
        let mut key = recipient.to_ascii_lowercase();
        if self.0.len() >= RECIPIENTS && !self.0.contains_key(&key) {
            key = String::new();
        }
        let count = self.0.entry(key).or_default();
        *count = count.saturating_add(1);
        *count <= first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_recipient_has_its_own_count_and_memory_is_bounded() {
        let mut recipients = Recipients::default();
        let tried: Vec<_> = ["a@x", "b@x", "A@x", "b@x", "c@x"].map(|to| recipients.is_among_first(to, 1)).into();
        assert_eq!(tried, [true, true, false, false, true]);
        for number in 0..2 * RECIPIENTS {
            recipients.is_among_first(&number.to_string(), 1);
        }
        assert!(recipients.0.len() <= RECIPIENTS + 1);
    }
}
