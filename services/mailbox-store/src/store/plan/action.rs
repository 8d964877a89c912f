//! What an operator does to a message of the queue.

use super::moments::is_leased;
use crate::store::{Result, StoreError};
use internal_api::{DeletedBy, EventKind};
use jiff::Timestamp;
use mail_proto::Mailbox;

/// What is to be done to all recipients for whom a message waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueAction {
    /// They are due now. A recipient that is claimed is being tried already, and stays as it is.
    Retry,
    /// They are not claimed until they are released. A claim of them goes on, and what it defers stays on hold.
    Hold,
    /// They are on hold no more, and due now.
    Release,
    /// They are given up, and nobody is told.
    Remove,
    /// They are given up, on hold or not, and due now: the next claim has the report to their sender made.
    GiveUp,
}

/// A recipient of a queued message, as it stands.
pub(in crate::store) struct Standing {
    /// `None` when it cannot be decoded.
    pub(in crate::store) recipient: Option<Mailbox>,
    pub(in crate::store) has_lease: bool,
    pub(in crate::store) next_attempt_at_ms: i64,
    pub(in crate::store) is_held: bool,
}

/// What is to be written.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct Change {
    /// How many entries are changed.
    pub(in crate::store) entries: u64,
    /// What is to be told of them.
    pub(in crate::store) event: Option<EventKind>,
}

impl QueueAction {
    /// Its name in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Hold => "held",
            Self::Release => "released",
            Self::Remove => "removed",
            Self::GiveUp => "given_up",
        }
    }

    /// Decides what becomes of the entries of a message, which are all that wait.
    ///
    /// # Errors
    /// Says why nothing is to be done.
    pub(in crate::store) fn plan(self, entries: Vec<Standing>, now: Timestamp) -> Result<Change> {
        if entries.is_empty() {
            return Err(StoreError::NotQueued);
        }
        let ends = matches!(self, Self::Remove | Self::GiveUp);
        if ends && entries.iter().any(|entry| entry.is_leased(now)) {
            return Err(StoreError::MessageClaimed);
        }
        if self == Self::Retry && entries.iter().any(|entry| entry.is_held) {
            return Err(StoreError::MessageHeld);
        }
        let changed: Vec<_> = entries.into_iter().filter(|entry| self.changes(entry, now)).collect();
        let entries = changed.len() as u64;
        let recipients = changed.into_iter().filter_map(|entry| entry.recipient).collect();
        Ok(Change { entries, event: self.event(recipients) })
    }

    fn changes(self, entry: &Standing, now: Timestamp) -> bool {
        match self {
            Self::Retry => !entry.has_lease && entry.next_attempt_at_ms > now.as_millisecond(),
            Self::Hold => !entry.is_held,
            Self::Release => entry.is_held,
            Self::Remove | Self::GiveUp => true,
        }
    }

    fn event(self, recipients: Vec<Mailbox>) -> Option<EventKind> {
        match self {
            _ if recipients.is_empty() => None,
            // The claim that follows has an event.
            Self::Retry | Self::GiveUp => None,
            Self::Hold => Some(EventKind::Held { recipients }),
            Self::Release => Some(EventKind::Released { recipients }),
            Self::Remove => Some(EventKind::Deleted { recipients, by: DeletedBy::Operator }),
        }
    }
}

impl Standing {
    fn is_leased(&self, now: Timestamp) -> bool {
        Timestamp::from_millisecond(self.next_attempt_at_ms).is_ok_and(|at| is_leased(self.has_lease, at, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 10_000;

    fn standing(address: &str, has_lease: bool, next_attempt_at_ms: i64, is_held: bool) -> Standing {
        Standing { recipient: address.parse().ok(), has_lease, next_attempt_at_ms, is_held }
    }

    fn plan(action: QueueAction, entries: Vec<Standing>) -> Result<(u64, Vec<String>)> {
        let change = action.plan(entries, Timestamp::from_millisecond(NOW_MS).unwrap())?;
        let told = match change.event {
            Some(
                EventKind::Held { recipients }
                | EventKind::Released { recipients }
                | EventKind::Deleted { recipients, by: DeletedBy::Operator },
            ) => recipients.iter().map(Mailbox::to_string).collect(),
            Some(other) => panic!("{other:?}"),
            None => Vec::new(),
        };
        Ok((change.entries, told))
    }

    #[test]
    fn each_action_changes_what_it_is_about() {
        use QueueAction::{GiveUp, Hold, Release, Remove, Retry};
        let waits = || standing("waits@x", false, NOW_MS + 1, false);
        let due = || standing("due@x", false, NOW_MS, false);
        let leased = || standing("leased@x", true, NOW_MS + 1, false);
        let lost = || standing("lost@x", true, NOW_MS, false);
        let held = || standing("held@x", false, NOW_MS + 1, true);
        let garbled = || standing("", false, NOW_MS + 1, false);
        let told = |addresses: &[&str]| addresses.iter().map(|address| (*address).to_owned()).collect::<Vec<_>>();
        for (action, entries, expected) in [
            (Retry, vec![waits(), due(), leased(), lost(), garbled()], Ok((2, told(&[])))),
            (Retry, vec![waits(), held()], Err(StoreError::MessageHeld)),
            (Hold, vec![waits(), leased(), held()], Ok((2, told(&["waits@x", "leased@x"])))),
            (Hold, vec![held()], Ok((0, told(&[])))),
            (Release, vec![waits(), held()], Ok((1, told(&["held@x"])))),
            (Remove, vec![waits(), due(), lost(), held()], Ok((4, told(&["waits@x", "due@x", "lost@x", "held@x"])))),
            (Remove, vec![garbled()], Ok((1, told(&[])))),
            (Remove, vec![waits(), leased()], Err(StoreError::MessageClaimed)),
            (GiveUp, vec![waits(), due(), lost(), held(), garbled()], Ok((5, told(&[])))),
            (GiveUp, vec![waits(), leased()], Err(StoreError::MessageClaimed)),
        ] {
            assert_eq!(plan(action, entries), expected, "{action:?}");
        }
        for action in [Retry, Hold, Release, Remove, GiveUp] {
            assert_eq!(plan(action, Vec::new()), Err(StoreError::NotQueued), "{action:?}");
        }
    }
}
