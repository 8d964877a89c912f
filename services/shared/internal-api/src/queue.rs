//! The queue: claims, and what became of the recipients in them.

use crate::{MessageId, Problem, Submission, fields, text};
use jiff::Timestamp;
use mail_proto::{
    Domain, Mailbox, ReversePath,
    smtp::{MailParameters, Notify, OriginalRecipient, Recipient},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One recipient of one message, waiting to be relayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueEntry {
    /// The message.
    pub message: MessageId,
    /// Where failure messages go, in angle brackets.
    #[schema(value_type = text::ReversePath)]
    pub reverse_path: ReversePath,
    /// Who it is for.
    #[schema(value_type = text::Mailbox)]
    pub recipient: Mailbox,
    /// The octets as received.
    pub octets: u64,
    /// When the message was committed.
    #[schema(value_type = String, format = DateTime)]
    pub queued_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; while it is leased, when the lease ends.
    #[schema(value_type = String, format = DateTime)]
    pub next_attempt_at: Timestamp,
    /// Whether a relay worker has it now.
    pub leased: bool,
    /// Whether it is on hold: it is not tried until it is released. Absent when it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// From when on a failed attempt is the last one; absent from a store of the version before.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What the last attempt was answered; empty before the first.
    pub last_reply: String,
    /// ORCPT (RFC 3461 §4.2); absent when it was not given.
    #[schema(value_type = Option<text::OriginalRecipient>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalRecipient>,
    /// NOTIFY (RFC 3461 §4.1); absent when it was not given.
    #[schema(value_type = Option<text::Notify>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// The alias of which the recipient is a target; absent when the sender has named them.
    #[schema(value_type = Option<text::Mailbox>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Mailbox>,
}

/// One message that waits, with all recipients for whom it does (`GET /v1/queue/{id}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueuedMessage {
    /// The message.
    pub message: MessageId,
    /// Where failure messages go, in angle brackets.
    #[schema(value_type = text::ReversePath)]
    pub reverse_path: ReversePath,
    /// The octets as received.
    pub octets: u64,
    /// When the message was committed.
    #[schema(value_type = String, format = DateTime)]
    pub queued_at: Timestamp,
    /// From when on a failed attempt is the last one.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether it is on hold: it is not tried until it is released.
    pub held: bool,
    /// For whom it waits, by address.
    pub recipients: Vec<QueuedRecipient>,
}

/// One recipient of a queued message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueuedRecipient {
    /// Who it is for.
    #[schema(value_type = text::Mailbox)]
    pub recipient: Mailbox,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, unless the message is on hold; while it is leased, when the lease ends.
    #[schema(value_type = String, format = DateTime)]
    pub next_attempt_at: Timestamp,
    /// Whether a relay worker has it now.
    pub leased: bool,
    /// What the last attempt was answered; empty before the first.
    pub last_reply: String,
    /// ORCPT (RFC 3461 §4.2); absent when it was not given.
    #[schema(value_type = Option<text::OriginalRecipient>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalRecipient>,
    /// NOTIFY (RFC 3461 §4.1); absent when it was not given.
    #[schema(value_type = Option<text::Notify>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// The alias of which the recipient is a target; absent when the sender has named them.
    #[schema(value_type = Option<text::Mailbox>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Mailbox>,
}

impl From<QueueEntry> for QueuedMessage {
    /// The message with this recipient only.
    fn from(entry: QueueEntry) -> Self {
        let QueueEntry { message, reverse_path, octets, queued_at, expires_at, held, .. } = entry;
        let QueueEntry { recipient, attempts, next_attempt_at, leased, last_reply, original, notify, via, .. } = entry;
        let recipient =
            QueuedRecipient { recipient, attempts, next_attempt_at, leased, last_reply, original, notify, via };
        Self { message, reverse_path, octets, queued_at, expires_at, held, recipients: vec![recipient] }
    }
}

impl QueuedMessage {
    /// Adds the recipient of another entry of the same message.
    pub fn add(&mut self, entry: QueueEntry) {
        let other = Self::from(entry);
        self.held |= other.held;
        self.recipients.extend(other.recipients);
    }
}

/// One page of `GET /v1/queue`, by message and recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueuePage {
    /// The entries of this page.
    pub entries: Vec<QueueEntry>,
    /// Pass this as `after` to read on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// Asks for queued messages that are due (`POST /v1/queue/claims`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimRequest {
    /// How long the claim lives unless it is renewed.
    #[schema(minimum = 1, maximum = 3600)]
    #[serde(deserialize_with = "fields::whole_number")]
    pub lease_seconds: u32,
    /// How long to wait for something to be due.
    #[schema(maximum = 60)]
    #[serde(deserialize_with = "fields::whole_number")]
    pub wait_seconds: u32,
    /// The most messages.
    #[schema(minimum = 1, maximum = 1000)]
    #[serde(deserialize_with = "fields::whole_number")]
    pub limit: u32,
    /// Not of these domains: the worker has enough to do for them.
    #[schema(value_type = Vec<text::Domain>)]
    #[serde(default)]
    pub except: Vec<Domain>,
    /// The octets of the first messages come along, as long as there are no more of them than this in all.
    #[schema(maximum = 1048576)]
    #[serde(default, deserialize_with = "fields::whole_number")]
    pub inline_octets: u32,
    /// The worker relays messages with REQUIRETLS as RFC 8689 says. It gets none where this is absent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requiretls: bool,
    /// The worker knows SMTPUTF8 (RFC 6531). Where this is absent, it gets no message that needs it, and none with an
    /// address beyond ASCII.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub smtputf8: bool,
}

/// Messages for one domain, leased to one worker, and the head of the frame that brings them. Each attempt is
/// already counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Claim {
    /// Names the lease.
    pub lease: String,
    /// The domain of all the recipients.
    #[schema(value_type = text::Domain)]
    pub domain: Domain,
    /// The oldest first.
    pub messages: Vec<ClaimedMessage>,
}

/// One message of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimedMessage {
    /// The message.
    pub id: MessageId,
    /// Where failure messages go, in angle brackets.
    #[schema(value_type = text::ReversePath)]
    pub reverse_path: ReversePath,
    /// The octets as received.
    pub octets: u64,
    /// When the message was committed.
    #[schema(value_type = String, format = DateTime)]
    pub queued_at: Timestamp,
    /// How old the message was by the store's clock when it was claimed; absent from an older store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// The parameters of its MAIL command; absent when there are none.
    #[schema(value_type = text::MailParameters)]
    #[serde(default, skip_serializing_if = "MailParameters::leave_nothing")]
    pub parameters: MailParameters,
    /// Who it is for, in this domain.
    pub recipients: Vec<ClaimedRecipient>,
    /// Whether its octets follow the head of the frame, after those of the messages before it.
    pub inline: bool,
}

/// One recipient of a claimed message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimedRecipient {
    /// Who it is for.
    #[schema(value_type = text::Mailbox)]
    pub mailbox: Mailbox,
    /// How often it was tried, this time included: 1 at the first.
    pub attempts: u32,
    /// What the store says of a recipient of which the sender is to be told. Mostly it did not get the message: it has no
    /// mailbox here, or a mailbox that had no room as long as the message was tried. A positive reply says that it has got
    /// the message; see [`reports`](crate::reports). Absent when the message is to be relayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said_by_store: Option<String>,
    /// ORCPT (RFC 3461 §4.2); absent when it was not given.
    #[schema(value_type = Option<text::OriginalRecipient>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalRecipient>,
    /// NOTIFY (RFC 3461 §4.1); absent when it was not given.
    #[schema(value_type = Option<text::Notify>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// The alias of which the recipient is a target; absent when the sender has named them.
    #[schema(value_type = Option<text::Mailbox>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Mailbox>,
    /// Whether the sender was told already that the message is delayed; absent from a store that does not remember.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_told: Option<bool>,
}

impl ClaimedRecipient {
    /// A recipient after n attempts, this one included.
    pub fn new(Recipient { mailbox, original, notify }: Recipient, attempts: u32) -> Self {
        Self { mailbox, attempts, said_by_store: None, original, notify, via: None, delay_told: None }
    }

    /// Whom it stands for, with what came with RCPT.
    pub fn recipient(&self) -> Recipient {
        Recipient { mailbox: self.mailbox.clone(), original: self.original.clone(), notify: self.notify }
    }
}

/// What became of claimed recipients, and the head of the frame that says so
/// (`POST /v1/queue/claims/{lease}/settlements`). All of it is committed at once, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settlement {
    /// The message they are recipients of.
    pub message: MessageId,
    /// What became of each.
    #[schema(min_items = 1)]
    #[serde(deserialize_with = "fields::at_least_one")]
    pub outcomes: Vec<RecipientOutcome>,
    /// The envelope of the failure message, or of the report of a success or a delay, whose octets follow this head; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<Submission>,
}

/// A settlement without a failure message, among others (`POST /v1/queue/settlements`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClaimSettlement {
    /// The claim.
    pub lease: String,
    /// The message they are recipients of.
    pub message: MessageId,
    /// What became of each.
    #[schema(min_items = 1)]
    #[serde(deserialize_with = "fields::at_least_one")]
    pub outcomes: Vec<RecipientOutcome>,
}

/// What became of one settlement among others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettlementOutcome {
    /// It is durable.
    Settled,
    /// It was not taken, for this reason.
    Refused(Problem),
}

/// What became of one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecipientOutcome {
    /// Who.
    #[schema(value_type = text::Mailbox)]
    pub recipient: Mailbox,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Done, in this way. Absent from gateways of an earlier version; ignored by stores of an earlier version.
    Finished {
        /// How it ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        how: Option<Ending>,
    },
    /// To be tried again.
    Deferred {
        /// When, from now.
        #[serde(deserialize_with = "fields::whole_number")]
        retry_after_seconds: u64,
        /// What the peer, or what stood in its way, said. If it is empty and the recipient was not tried, the last
        /// reply stays.
        reply: String,
        /// Nobody tried this recipient: the store takes the attempt back that the claim has counted.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        untried: bool,
        /// The sender is told of the delay, by the report that comes along: the store remembers it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        delay_told: bool,
    },
    /// To be put into the recipient's maildrop, which is here; to be tried again if that is full by now or
    /// does not exist any more. Gateways of the version before say so; the store does it by itself now.
    DeliverHere {
        /// When it is tried again, from now.
        #[serde(deserialize_with = "fields::whole_number")]
        retry_after_seconds: u64,
        /// Why it had to be tried again.
        reply: String,
    },
}

/// How a recipient leaves the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum Ending {
    /// A peer has taken the message.
    Relayed {
        /// The name of the mail exchange.
        exchange: String,
        /// What it said.
        reply: String,
        /// The message's id there, if the reply names it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer_id: Option<MessageId>,
    },
    /// It is refused for good.
    Failed {
        /// The name of the mail exchange that refused it; absent when this server did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        said_by: Option<String>,
        /// The words of the refusal.
        reply: String,
    },
    /// It has waited for too long.
    Expired {
        /// What the last attempt was answered.
        reply: String,
    },
}

/// The answer to `POST /v1/queue/flush`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flushed {
    /// How many recipients are due now that were not before.
    pub entries: u64,
}
