//! What can go wrong between a caller and its mail.

use internal_api::{MessageId, Problem, ProblemKind};

/// Why a store did not do what it was asked to. Nothing was changed then, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No such mailbox.
    #[error("no such mailbox")]
    MailboxUnknown,
    /// The address is in a mail domain of another server; says which domains are here.
    #[error("{0}")]
    DomainElsewhere(String),
    /// There is an account of this address already.
    #[error("there is an account of this address already")]
    AccountExists,
    /// The account stands in the configuration, which is where it is changed.
    #[error("the account stands in config.toml; change it there")]
    AccountConfigured,
    /// No such message, or not any more.
    #[error("no such message")]
    MessageUnknown,
    /// The message is not in the queue, or not any more.
    #[error("the message is not in the queue")]
    NotQueued,
    /// A relay worker is trying to send the message.
    #[error("a relay worker is trying to send the message")]
    MessageClaimed,
    /// The message is on hold.
    #[error("the message is on hold")]
    MessageHeld,
    /// Another session holds the maildrop.
    #[error("another session holds this maildrop")]
    MaildropInUse,
    /// The lock or claim has run out, or was never given.
    #[error("the lease has been lost")]
    LeaseLost,
    /// Somebody else holds the store.
    #[error("the store is held for a snapshot or a restore")]
    Held,
    /// No such snapshot.
    #[error("no such snapshot")]
    SnapshotUnknown,
    /// There is a snapshot of this name already.
    #[error("there is a snapshot of this name already")]
    SnapshotExists,
    /// There is no room for a further snapshot; says how much there may be.
    #[error("{0}")]
    SnapshotsFull(String),
    /// The backend takes no snapshots; says what to do instead.
    #[error("{0}")]
    SnapshotsUnsupported(&'static str),
    /// What was stored cannot be read back. It has been quarantined.
    #[error("message {0} cannot be read back as it was written")]
    Damaged(MessageId),
    /// What was asked makes no sense; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// A CR or a LF of the message is not part of a CRLF.
    #[error("the message holds a CR or a LF that is not part of a CRLF")]
    BareLineEnding,
    /// The message has been through too many servers.
    #[error("the message goes round in a loop: it has been through a hundred servers")]
    MailLoop,
    /// The message has more octets than this.
    #[error("the message is larger than {limit_octets} octets")]
    TooLarge {
        /// The most octets a message may have.
        limit_octets: u64,
    },
    /// More is waiting than will be held in memory. Later it may work.
    #[error("too much is waiting {0}")]
    Overloaded(&'static str),
    /// The storage is full, read-only or failing. Later it may work. A write may yet turn out to have
    /// happened, which is why submissions can be repeated.
    #[error("storage unavailable: {0}")]
    Unavailable(String),
    /// The database cannot be reached or does not respond. Later it may work. A write may yet turn out to have
    /// happened.
    #[error("database unavailable: {0}")]
    DatabaseUnavailable(String),
    /// A bug.
    #[error("internal error: {0}")]
    Internal(String),
}

impl StoreError {
    /// The kind of problem that a caller over HTTP gets.
    pub fn kind(&self) -> ProblemKind {
        match self {
            Self::MailboxUnknown => ProblemKind::MailboxUnknown,
            Self::DomainElsewhere(_) => ProblemKind::DomainElsewhere,
            Self::AccountExists => ProblemKind::AccountExists,
            Self::AccountConfigured => ProblemKind::AccountConfigured,
            Self::MessageUnknown => ProblemKind::MessageUnknown,
            Self::NotQueued => ProblemKind::NotQueued,
            Self::MessageClaimed => ProblemKind::MessageClaimed,
            Self::MessageHeld => ProblemKind::MessageHeld,
            Self::MaildropInUse => ProblemKind::MaildropInUse,
            Self::LeaseLost => ProblemKind::LeaseLost,
            Self::Held => ProblemKind::StoreHeld,
            Self::SnapshotUnknown => ProblemKind::SnapshotUnknown,
            Self::SnapshotExists => ProblemKind::SnapshotExists,
            Self::SnapshotsFull(_) => ProblemKind::SnapshotsFull,
            Self::SnapshotsUnsupported(_) => ProblemKind::SnapshotsUnsupported,
            Self::Damaged(_) => ProblemKind::MessageDamaged,
            Self::Invalid(_) => ProblemKind::InvalidRequest,
            Self::BareLineEnding => ProblemKind::BareLineEnding,
            Self::MailLoop => ProblemKind::MailLoop,
            Self::TooLarge { .. } => ProblemKind::MessageTooLarge,
            Self::Overloaded(_) => ProblemKind::Overloaded,
            Self::Unavailable(_) => ProblemKind::StorageUnavailable,
            Self::DatabaseUnavailable(_) => ProblemKind::DatabaseUnavailable,
            Self::Internal(_) => ProblemKind::Internal,
        }
    }
}

impl From<StoreError> for Problem {
    /// This is where a failure of the store is logged: every one of them passes here once.
    fn from(error: StoreError) -> Self {
        let kind = error.kind();
        match error {
            StoreError::Invalid(_)
            | StoreError::TooLarge { .. }
            | StoreError::Overloaded(_)
            | StoreError::SnapshotsFull(_)
            | StoreError::SnapshotsUnsupported(_) => Self::new(kind, error.to_string()),
            StoreError::Damaged(_) | StoreError::Unavailable(_) | StoreError::DatabaseUnavailable(_) => {
                facts::StoreRequestFailed { error: &error }.log();
                Self::new(kind, error.to_string())
            }
            StoreError::Internal(_) => {
                facts::StoreFault { error: &error }.log();
                Self::from(kind)
            }
            _ => Self::from(kind),
        }
    }
}
