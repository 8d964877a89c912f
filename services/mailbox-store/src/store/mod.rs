//! What is durable, behind seven traits: one for each kind of caller. [`Store`] is all of them.
//!
//! A backend keeps the promises that [`Store`] makes in prose; `contract.rs` is the battery of tests that
//! holds every backend to them.

mod aliases;
pub(crate) mod arrival;
pub(crate) mod check;
mod checksum;
#[cfg(test)]
pub(crate) mod contract;
pub(crate) mod copy;
mod deletion;
mod error;
mod events;
mod ids;
mod message_stream;
mod passage;
mod plan;
pub mod postgres;
pub(crate) mod records;
pub(crate) mod snapshot;
mod snapshots;
mod space;
pub mod sqlite;
pub(crate) mod store_location;

pub use aliases::{Alias, AliasName};
pub use error::StoreError;
pub use events::EventRetention;
pub use message_stream::MessageStream;
pub(crate) use plan::local::{admits, new_mailbox};
pub use plan::{
    abilities::Abilities,
    action::QueueAction,
    local::{LocalMail, Newcomers},
};
pub use snapshots::{SnapshotFile, SnapshotName, Snapshots};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use internal_api::{
    Accepted, AccountPage, Claim, Event, EventPage, EventPosition, Flushed, MailboxPage, MailboxSummary, MaildropEntry,
    MaildropPage, Message, MessageId, MessagePage, QueueEntry, QueuePage, Resolved, Settlement, Submission,
};
use jiff::Timestamp;
use mail_proto::{AddressRules, Domain, Mailbox, sasl::ScramVerifier};
use std::{collections::HashMap, fmt, str::FromStr, time::Duration};
use tokio::sync::watch;
use town_config::Quota;

/// What every call on a store ends in.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// How long a repeated submission is recognised.
pub const REPEAT_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// How much of what a peer said is kept with a queued recipient, in characters.
pub const REPLY_CHARACTERS: usize = 1000;

/// A mailbox and how its user logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The mailbox.
    pub address: Mailbox,
    /// The password's argon2 hash as a PHC string. Without one nobody can log in to a new account, and an account that is
    /// updated keeps its own. With another one it loses the verifier of its password.
    pub password_hash: Option<String>,
    /// The most that it may hold.
    pub quota: Quota,
}

/// What is stored of a password. A change of the password changes the hash, so this is also the password's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPassword {
    /// Its argon2 hash as a PHC string.
    pub hash: String,
    /// Its SCRAM verifier, where its plain text was known.
    pub verifier: Option<ScramVerifier>,
}

/// The longest message that is read together with others.
pub const INLINE_OCTETS: u64 = 64 * 1024;

/// What became of a submission that is durable now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    /// The message's id.
    pub id: MessageId,
    /// Whether this was the repeat of an earlier submission.
    pub repeated: bool,
}

impl From<Submitted> for Accepted {
    fn from(Submitted { id, repeated }: Submitted) -> Self {
        Self { id, repeated }
    }
}

/// What became of an attempt to claim queued messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// These are the caller's for the time asked for.
    Claimed(Claim),
    /// Nothing is due.
    NothingDue {
        /// When something will be, as things stand.
        next_due_at: Option<Timestamp>,
    },
}

/// Where a page of the queue begins: after this recipient of this message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePosition {
    /// The message.
    pub message: MessageId,
    /// The recipient, as it was listed.
    pub recipient: String,
}

impl QueuePosition {
    /// The place before all recipients of a message.
    fn before(message: MessageId) -> Self {
        Self { message, recipient: String::new() }
    }
}

impl fmt::Display for QueuePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.message, self.recipient)
    }
}

impl FromStr for QueuePosition {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self> {
        let position = text.split_once(',').and_then(|(message, recipient)| {
            Some(Self { message: message.parse().ok()?, recipient: recipient.to_owned() })
        });
        position.ok_or_else(|| StoreError::Invalid("no place in the queue; give a page's next_after".to_owned()))
    }
}

/// How long the queue has been waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// When the oldest message came that waits, and not on hold.
    pub oldest: Option<Timestamp>,
    /// How many entries are on hold.
    pub held: u64,
}

/// What is ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upcoming {
    /// When the first entry of the queue that is not on hold is tried next, or its lease ends.
    pub queue: Option<Timestamp>,
    /// When the oldest message came that is in a maildrop.
    pub oldest_delivered: Option<Timestamp>,
}

/// Some of the messages in a maildrop, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The messages.
    pub entries: Vec<MaildropEntry>,
    /// The last of them, if there are more after it.
    pub next_after: Option<MessageId>,
}

/// A message on its way out.
pub struct StoredMessage {
    /// How many octets `chunks` will give.
    pub octets: u64,
    /// The octets, in pieces of bounded size.
    pub chunks: BoxStream<'static, Result<Bytes>>,
}

/// Accounts, messages, maildrops and the outbound queue of one stack. Each caller takes the part that it needs. These
/// promises hold for all of them:
///
/// - **Durable**: a call that changes something returns once a loss of power cannot undo the change. A call that fails has
///   changed nothing. After [`StoreError::Unavailable`], or an abandoned call, nobody knows whether it has.
/// - **Atomic**: each call takes effect at once and completely, or not at all. This holds for a submission's deliveries and
///   queue entries, for a maildrop's deletions, and for a settlement with its failure message.
/// - **Idempotent submission**: a submission's `transaction` names it. A repeat within [`REPEAT_WINDOW`]
///   returns the first one's id and stores nothing, also when the message has been delivered and deleted in between.
/// - **Ids** grow: a later submission has a greater id than any earlier one. None is ever used twice, not
///   after a deletion and not after a restart. Several stores of one database promise this each for itself.
///   Across them, ids are in the order of their clocks.
/// - **Leases**: a maildrop's lock and a queue claim live for the time asked for, unless they are renewed. They end by
///   themselves when their holder dies. Waiting for one never prolongs it. A lock need not outlive the store's process: an
///   update under a lost lock deletes nothing.
/// - **Shared bodies**: a message is stored once, however many recipients it has. It goes with the last maildrop entry or
///   queue entry that refers to it.
/// - **Quotas**: no maildrop grows beyond its mailbox's quota. A recipient without room is queued, with a reply that says
///   so. [`Queue::claim`] or [`Lifecycle::maintain`] delivers it once there is room.
/// - **Checksums**: what is read is what was written, octet for octet, or the reading fails before its end.
/// - **Quarantine**: what cannot be read back is logged, counted and excluded from then on. It never keeps
///   the rest from being listed, claimed or read.
/// - **Bounded**: what waits to be written is bounded. More is refused with [`StoreError::Overloaded`]. Messages stream in
///   both directions.
pub trait Store: Accounts + Messages + Events + Maildrops + Queue + Lifecycle + Snapshots {}

impl<T: Accounts + Messages + Events + Maildrops + Queue + Lifecycle + Snapshots> Store for T {}

/// Who has a mailbox here, and how they log in.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Adds these accounts, or updates their quotas and the password hashes that are given. Removes none; returns how
    /// many others there are.
    async fn put_accounts(&self, accounts: Vec<Account>) -> Result<u64>;

    /// Makes these the aliases of the configuration: adds and updates them, and removes those that it had before. An
    /// alias of another source stays, unless there is one of its name now.
    async fn put_aliases(&self, aliases: Vec<Alias>) -> Result<()>;

    /// Compares addresses by these rules from now on; by the strictest before.
    fn set_address_rules(&self, rules: AddressRules);

    /// The account that this address means, as it is spelled.
    async fn account(&self, address: &Mailbox) -> Result<Option<Mailbox>>;

    /// Adds an account that the configuration does not have; [`StoreError::AccountExists`].
    async fn add_account(&self, account: Account, password: StoredPassword) -> Result<()>;

    /// Adds those of these accounts that the store does not have, in whatever spelling; returns them. All have this password.
    async fn admit_accounts(&self, accounts: Vec<Account>, password: StoredPassword) -> Result<Vec<Mailbox>>;

    /// Removes this account, unless there are messages in its maildrop; returns whether it is gone.
    /// [`StoreError::MailboxUnknown`].
    async fn remove_empty_account(&self, address: &Mailbox) -> Result<bool>;

    /// The accounts whose address comes after `after`, at most `limit`. Those that the API has not added come from the
    /// configuration, as it is or was.
    async fn accounts(&self, after: &str, limit: u32) -> Result<AccountPage>;

    /// Some pairs of accounts that are one address where case does not count, at most `limit`. The first of a pair is the one
    /// that other spellings mean.
    async fn alike(&self, limit: u32) -> Result<Vec<(Mailbox, Mailbox)>>;

    /// Replaces the password of this account; [`StoreError::MailboxUnknown`].
    async fn set_password(&self, address: &Mailbox, password: StoredPassword) -> Result<()>;

    /// The passwords of all accounts that have one.
    async fn passwords(&self) -> Result<HashMap<Mailbox, StoredPassword>>;

    /// The password of this account, if there is such an account and it has one.
    async fn password(&self, address: &Mailbox) -> Result<Option<StoredPassword>>;

    /// Some accounts that have a password and no verifier of it, at most `limit`.
    async fn without_verifier(&self, limit: u32) -> Result<Vec<Mailbox>>;

    /// The secret of this name, which all stores of the stack share: `proposed`, if there was none before.
    async fn secret(&self, name: &'static str, proposed: String) -> Result<String>;

    /// What this address means here by the rules, in constant time. Elsewhere in this trait, and in [`Maildrops`], an
    /// address is one of an account as it is spelled.
    async fn resolve(&self, address: &Mailbox) -> Result<Resolved>;

    /// What is in this mailbox, in constant time; [`StoreError::MailboxUnknown`].
    async fn mailbox(&self, address: &Mailbox) -> Result<MailboxSummary>;

    /// The mailboxes whose address comes after `after`, at most `limit`.
    async fn mailboxes(&self, after: &str, limit: u32) -> Result<MailboxPage>;
}

/// Messages as such: submitting them, and looking at them wherever they stand.
#[async_trait]
pub trait Messages: Send + Sync {
    /// Stores a message. Aliases are expanded first. Those recipients that have a mailbox with room here find it in their
    /// maildrop, for all others it is queued. A recipient that is named twice gets it once. When `message` fails, nothing is stored.
    async fn submit(&self, submission: Submission, message: MessageStream) -> Result<Submitted>;

    /// The message that a transaction of this name has submitted, if one has within [`REPEAT_WINDOW`]. Waits for what
    /// was being written when it was called.
    async fn transaction(&self, name: &str) -> Result<Option<MessageId>>;

    /// A message's envelope and whereabouts; [`StoreError::MessageUnknown`].
    async fn message(&self, id: MessageId) -> Result<Message>;

    /// The messages that came after `after`, at most `limit`.
    async fn messages(&self, after: MessageId, limit: u32) -> Result<MessagePage>;

    /// A message as it was received.
    async fn raw(&self, id: MessageId) -> Result<StoredMessage>;

    /// The octets of these messages as they were received, as far as they can be had at once; to be asked for
    /// small ones only.
    async fn inline_bodies(&self, ids: Vec<MessageId>) -> Result<HashMap<MessageId, Bytes>>;
}

/// What happened to messages. A change and its events are durable together.
#[async_trait]
pub trait Events: Send + Sync {
    /// What happened to messages after `after`, in the order of commits, at most `limit` events.
    async fn events(&self, after: EventPosition, limit: u32) -> Result<EventPage>;

    /// Where the events end now.
    async fn last_event(&self) -> Result<EventPosition>;

    /// What happened to this message, the oldest first, as far as that is kept. The message may be gone.
    async fn message_events(&self, id: MessageId) -> Result<Vec<Event>>;

    /// Changes when this store has written events. Other stores of the same database may have written some, too.
    fn event_changes(&self) -> watch::Receiver<()>;
}

/// Maildrops, and sessions on them.
#[async_trait]
pub trait Maildrops: Send + Sync {
    /// A message as the reader of this maildrop gets it: after a `Return-Path:` line (RFC 5321 §4.4) if the
    /// store added them when the message was submitted.
    async fn delivered_raw(&self, address: &Mailbox, id: MessageId) -> Result<StoredMessage>;

    /// The messages in this maildrop that came after `after`, at most `limit`.
    async fn maildrop(&self, address: &Mailbox, after: MessageId, limit: u32) -> Result<MaildropPage>;

    /// These messages as the reader of this maildrop gets them, in this order, up to the first that cannot be had at once
    /// or is longer than [`INLINE_OCTETS`].
    async fn delivered_inline(&self, address: &Mailbox, ids: Vec<MessageId>) -> Result<Vec<(MessageId, Bytes)>>;

    /// Locks a maildrop for a session of this name and lists its first messages, at most `limit`;
    /// [`StoreError::MaildropInUse`] while a session of another name lives.
    async fn open_maildrop(&self, address: &Mailbox, session: &str, lease: Duration, limit: u32) -> Result<Listing>;

    /// The messages of an open maildrop after `after`, at most `limit`.
    async fn listing(&self, address: &Mailbox, after: MessageId, limit: u32) -> Result<Listing>;

    /// Prolongs the lock; [`StoreError::LeaseLost`] once it has run out.
    async fn renew_maildrop(&self, address: &Mailbox, session: &str, lease: Duration) -> Result<()>;

    /// Deletes all of these from the maildrop and unlocks it; [`StoreError::LeaseLost`] once the lock has run
    /// out and any of them is there. What is not in the maildrop counts as deleted, so a call whose response was lost can be
    /// repeated. Many messages are only hidden: [`Lifecycle::sweep`] removes them.
    async fn update_maildrop(&self, address: &Mailbox, session: &str, delete: Vec<MessageId>) -> Result<()>;

    /// Unlocks a maildrop, if this session still holds it.
    async fn close_maildrop(&self, address: &Mailbox, session: &str) -> Result<()>;
}

/// The outbound queue, and the claims of relay workers.
#[async_trait]
pub trait Queue: Send + Sync {
    /// The queue's entries after `after`, by message and recipient, at most `limit`.
    async fn queue(&self, after: Option<QueuePosition>, limit: u32) -> Result<QueuePage>;

    /// The queue's entries of this message, by recipient; [`StoreError::NotQueued`] when there are none.
    async fn queued(&self, id: MessageId) -> Result<Vec<QueueEntry>>;

    /// How long what is not on hold has been waiting, and how much is.
    async fn backlog(&self) -> Result<Backlog>;

    /// Does this to all queue entries of a message, or to none; returns how many it has changed.
    /// [`StoreError::NotQueued`] when there are none; [`StoreError::MessageClaimed`] and [`StoreError::MessageHeld`]
    /// when that forbids the action.
    async fn act(&self, id: MessageId, action: QueueAction) -> Result<u64>;

    /// Leases up to `limit` due messages of one domain: the one that has waited longest, ignoring `except`. Of each
    /// message it leases the recipients in this domain that are due and not on hold. The attempt is counted now, before anybody
    /// connects. When the lease runs out the recipients are due again. Does not wait.
    ///
    /// Mail for the domains of `local` stays here: what has room by now goes into its maildrop, and what has none waits
    /// on. Recipients who have no mailbox get one if they are among its newcomers. Only those recipients are leased whose senders must be told that they failed.
    ///
    /// A message that needs more than the gateway's `abilities` is withheld: it waits for a minute, and others are claimed.
    async fn claim(
        &self,
        lease: Duration,
        limit: u32,
        except: Vec<Domain>,
        local: LocalMail,
        abilities: Abilities,
    ) -> Result<ClaimOutcome>;

    /// Changes whenever something may have become due earlier than it was; in vain at times.
    fn queue_changes(&self) -> watch::Receiver<()>;

    /// Prolongs a claim; [`StoreError::LeaseLost`] when nothing of it is left or others have it. A claim that
    /// ran out and that nobody took is still its holder's: letting it finish is what avoids a duplicate.
    async fn renew_claim(&self, lease: &str, duration: Duration) -> Result<()>;

    /// Records what became of claimed recipients, and submits the failure message if there is one.
    /// [`StoreError::LeaseLost`] when any of them is not in this claim.
    async fn settle(&self, lease: &str, settlement: Settlement, failure_message: MessageStream) -> Result<()>;

    /// Makes everything due that is neither claimed nor on hold, some entries at a time: when it fails, some are due and some are not.
    async fn flush_queue(&self) -> Result<Flushed>;
}

/// What keeps a store going, from its start to its end.
#[async_trait]
pub trait Lifecycle: Send + Sync {
    /// Fails when nothing can be written.
    async fn probe(&self) -> Result<()>;

    /// Deletes from the maildrops what was received longer ago than this, but not under the eyes of a session.
    async fn expire(&self, age: Duration) -> Result<()>;

    /// Removes some of what was deleted; returns whether there may be more. Nobody sees a difference.
    async fn sweep(&self) -> Result<bool>;

    /// Changes when there is something to sweep.
    fn deletions(&self) -> watch::Receiver<()>;

    /// Removes the events that need not be kept, some at a time.
    async fn prune_events(&self, retention: EventRetention) -> Result<()>;

    /// Forgets what is past remembering, and delivers due mail for the domains of `local` as [`Queue::claim`] does. What
    /// a gateway must report stays in the queue. To be called every now and then.
    async fn maintain(&self, local: LocalMail) -> Result<()>;

    /// When the next thing happens by itself, as things stand.
    async fn upcoming(&self) -> Result<Upcoming>;

    /// When the newest event was written.
    async fn newest_event_at(&self) -> Result<Option<Timestamp>>;

    /// Finishes what is being written, and lets go of the storage. Calls fail from then on.
    async fn close(&self);
}
