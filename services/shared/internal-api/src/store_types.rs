//! What travels to and from the mailbox store.

use crate::{MessageId, Problem, fields, text};
use jiff::Timestamp;
use mail_proto::{
    Domain, Mailbox, ReversePath,
    smtp::{MailParameters, Notify, OriginalRecipient, Recipient},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A mailbox and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailboxSummary {
    /// The mailbox's address.
    #[schema(value_type = text::Mailbox)]
    pub address: Mailbox,
    /// How many messages its maildrop holds.
    pub messages: u64,
    /// Their octets, added up.
    pub octets: u64,
    /// The most messages that it may hold; absent when there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_messages: Option<u64>,
    /// The most octets that it may hold; absent when there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_octets: Option<u64>,
}

impl MailboxSummary {
    /// Whether one more message of n octets fits in now.
    pub fn has_room_for(&self, octets: u64) -> bool {
        self.quota_messages.is_none_or(|quota| self.messages < quota)
            && self.quota_octets.is_none_or(|quota| self.octets.saturating_add(octets) <= quota)
    }

    /// Whether a message of n octets would fit in if there were nothing else.
    pub fn could_hold(&self, octets: u64) -> bool {
        self.quota_messages != Some(0) && self.quota_octets.is_none_or(|quota| octets <= quota)
    }
}

/// One page of `GET /v1/mailboxes`, by address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailboxPage {
    /// The mailboxes of this page.
    pub mailboxes: Vec<MailboxSummary>,
    /// Pass this as `after` to read on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<String>,
}

/// A message as it stands in a maildrop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaildropEntry {
    /// The message's id, which is also its UIDL.
    pub id: MessageId,
    /// The octets that a reader of this maildrop gets, `Return-Path:` included where there is one.
    pub octets: u64,
}

/// One page of `GET /v1/mailboxes/{address}/messages`, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaildropPage {
    /// The messages of this page.
    pub messages: Vec<DeliveredMessage>,
    /// Pass this as `after` to read on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<MessageId>,
}

/// A message in a maildrop, for people who look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveredMessage {
    /// The message's id, which is also its UIDL.
    pub id: MessageId,
    /// The octets that a reader of this maildrop gets.
    pub octets: u64,
    /// The reverse-path it came with, in angle brackets.
    #[schema(value_type = text::ReversePath)]
    pub reverse_path: ReversePath,
    /// When it was committed.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
}

/// A message, wherever it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// The message's id.
    pub id: MessageId,
    /// The octets as received.
    pub octets: u64,
    /// The reverse-path it came with, in angle brackets.
    #[schema(value_type = text::ReversePath)]
    pub reverse_path: ReversePath,
    /// When it was committed.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Timestamp,
    /// The maildrops that hold it now.
    #[schema(value_type = Vec<text::Mailbox>)]
    pub mailboxes: Vec<Mailbox>,
    /// The recipients it is still queued for.
    #[schema(value_type = Vec<text::Mailbox>)]
    pub queued_for: Vec<Mailbox>,
    /// Who was logged in when it was submitted; absent when nobody was.
    #[schema(value_type = Option<text::Mailbox>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Mailbox>,
    /// The parameters of its MAIL command; absent when there are none.
    #[schema(value_type = Option<text::MailParameters>)]
    #[serde(default, skip_serializing_if = "MailParameters::leave_nothing")]
    pub parameters: MailParameters,
}

/// One page of `GET /v1/messages`, in order of arrival.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MessagePage {
    /// The messages of this page.
    pub messages: Vec<Message>,
    /// Pass this as `after` to read on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_after: Option<MessageId>,
}

/// An envelope, and the head of the frame that submits a message (`POST /v1/messages`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Submission {
    /// The gateway's name for it: 1 to 64 printable ASCII characters. A repeat returns the first result.
    #[schema(pattern = "^[ -~]{1,64}$")]
    #[serde(deserialize_with = "fields::transaction")]
    pub transaction: String,
    /// Where failure messages go, in angle brackets; `<>` for nowhere.
    #[schema(value_type = text::ReversePath)]
    pub reverse_path: ReversePath,
    /// At least one. Those with a mailbox here get the message in their maildrop, all others are queued. One without
    /// parameters is written as its address.
    #[schema(value_type = Vec<text::Recipient>, min_items = 1)]
    #[serde(deserialize_with = "fields::at_least_one")]
    pub recipients: Vec<Recipient>,
    /// Who is logged in; absent when nobody is.
    #[schema(value_type = Option<text::Mailbox>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Mailbox>,
    /// The parameters of MAIL that stay with the message; absent when there are none.
    #[schema(value_type = Option<text::MailParameters>)]
    #[serde(default, skip_serializing_if = "MailParameters::leave_nothing")]
    pub parameters: MailParameters,
}

impl Submission {
    /// What a transaction may be called, for people.
    pub const TRANSACTION_RULE: &str = "a transaction is named with 1 to 64 printable ASCII characters";

    /// A submission without parameters by nobody who is logged in.
    pub fn new(
        transaction: impl Into<String>,
        reverse_path: ReversePath,
        recipients: impl IntoIterator<Item = Mailbox>,
    ) -> Self {
        Self {
            transaction: transaction.into(),
            reverse_path,
            recipients: recipients.into_iter().map(Recipient::from).collect(),
            identity: None,
            parameters: MailParameters::default(),
        }
    }

    /// Whether a transaction may be called so.
    pub fn is_transaction(text: &str) -> bool {
        (1..=64).contains(&text.len()) && text.bytes().all(|octet| matches!(octet, b' '..=b'~'))
    }
}

/// The answer to a submission: it is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// The message's id.
    pub id: MessageId,
    /// Whether it was durable already: a repeat of the same transaction.
    pub repeated: bool,
}

/// Stands before each message of a batch (`POST /v1/messages/batch`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchItem {
    /// The envelope.
    pub submission: Submission,
    /// How many octets follow this head; then comes the next head, or the end.
    #[serde(deserialize_with = "fields::whole_number")]
    pub octets: u64,
}

/// What became of one message of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchOutcome {
    /// It is durable.
    Accepted(Accepted),
    /// It was not taken, for this reason.
    Refused(Problem),
}

/// The request header with which a caller names the session that it opens. It can then close the session also when it
/// never got an answer. An older store ignores it and chooses the name.
pub const SESSION_NAME_HEADER: &str = "mailtown-session";

/// Opens a maildrop (`POST /v1/mailboxes/{address}/sessions`).
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct OpenSession {
    /// The user's password.
    #[schema(format = Password)]
    pub password: String,
    /// How long the lock lives unless it is renewed.
    #[schema(minimum = 1, maximum = 3600)]
    #[serde(deserialize_with = "fields::whole_number")]
    pub lease_seconds: u32,
}

/// A maildrop, locked, as it stood when it was opened (RFC 1939 §4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaildropSession {
    /// Names the lock.
    pub session: String,
    /// The messages in order of arrival: the first is number 1.
    pub messages: Vec<MaildropEntry>,
}

/// Keeps a lock alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Renewal {
    /// How long from now the lease lives unless it is renewed again.
    #[schema(minimum = 1, maximum = 3600)]
    #[serde(deserialize_with = "fields::whole_number")]
    pub lease_seconds: u32,
}

/// The UPDATE state (RFC 1939 §6): deletes all of these or none, and unlocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaildropUpdate {
    /// The messages marked as deleted.
    pub delete: Vec<MessageId>,
}

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
    #[schema(value_type = Option<text::MailParameters>)]
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
    /// What the store says of a recipient here that did not get the message: it has no mailbox, or a mailbox that had no
    /// room as long as the message was tried. The sender is to be told. Absent when the message is to be relayed.
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
}

impl ClaimedRecipient {
    /// A recipient after so many attempts, this one included.
    pub fn new(Recipient { mailbox, original, notify }: Recipient, attempts: u32) -> Self {
        Self { mailbox, attempts, said_by_store: None, original, notify }
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
    /// The envelope of the failure message, whose octets follow this head; absent when there is none.
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
#[serde(rename_all = "snake_case")]
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
