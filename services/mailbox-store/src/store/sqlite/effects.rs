//! What follows a change.

use super::bodies::SpooledFile;
use crate::store::records::Quarantined;
use mail_proto::Mailbox;

/// What is to happen once a change is durable.
#[derive(Default)]
pub(super) struct Effects {
    /// Files that are referred to now. Dropping them would remove them.
    pub(super) kept_files: Vec<SpooledFile>,
    /// Names of files that nothing refers to any more.
    pub(super) removed_files: Vec<String>,
    /// Something may be due earlier than before.
    pub(super) queue_changed: bool,
    /// There is something to sweep.
    pub(super) deleted: bool,
    /// Events were written.
    pub(super) told: bool,
    pub(super) submitted: u64,
    pub(super) delivered: u64,
    pub(super) quarantined: Vec<Quarantined>,
    pub(super) expired: u64,
    pub(super) swept: u64,
    /// Accounts were added, changed or removed.
    pub(super) accounts_changed: bool,
    /// Who has got a mailbox with his mail.
    pub(super) admitted: Vec<Mailbox>,
    /// By how much the queue has grown.
    pub(super) queued: i64,
    /// The store has become what it was: whoever had a maildrop open has it no more.
    pub(super) restored: bool,
}

impl Effects {
    /// Adds those of another change.
    pub(super) fn absorb(&mut self, other: Self) {
        self.kept_files.extend(other.kept_files);
        self.removed_files.extend(other.removed_files);
        self.queue_changed |= other.queue_changed;
        self.deleted |= other.deleted;
        self.told |= other.told;
        self.submitted += other.submitted;
        self.delivered += other.delivered;
        self.quarantined.extend(other.quarantined);
        self.expired += other.expired;
        self.swept += other.swept;
        self.accounts_changed |= other.accounts_changed;
        self.admitted.extend(other.admitted);
        self.queued += other.queued;
        self.restored |= other.restored;
    }
}
