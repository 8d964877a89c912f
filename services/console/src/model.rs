//! Mail as the API shows it.

use crate::message::{HeaderField, Part, Person};
use internal_api::{Event, MessageId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A message in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MailSummary {
    /// The message's id in its store.
    pub(crate) id: MessageId,
    /// The server name of the stack that has taken it.
    pub(crate) stack: String,
    /// Pass this as `since` to get what comes later.
    pub(crate) cursor: String,
    /// When the store has taken it.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) accepted_at: Timestamp,
    /// Its octets as received.
    pub(crate) octets: u64,
    /// The sender of the envelope, without angle brackets; empty for a failure message.
    pub(crate) mail_from: String,
    /// The recipients of the envelope, and what has become of the message for each.
    pub(crate) recipients: Vec<MailRecipient>,
    /// `Message-ID`, without angle brackets.
    pub(crate) message_id: String,
    /// `Subject`, decoded.
    pub(crate) subject: String,
    /// The first of `From`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Person>,
    /// `To`.
    pub(crate) to: Vec<Person>,
    /// `Cc`.
    pub(crate) cc: Vec<Person>,
    /// `Bcc`.
    pub(crate) bcc: Vec<Person>,
    /// `Reply-To`.
    pub(crate) reply_to: Vec<Person>,
    /// The beginning of the text, 250 characters at most.
    pub(crate) snippet: String,
    /// How many files are attached.
    pub(crate) attachments: u64,
    /// Whether somebody has read it in the console.
    pub(crate) read: bool,
    /// Who was logged in when it was submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// The failure message about it, or the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bounced_as: Option<MessageId>,
    /// Whether a store has it still, in a maildrop or in the queue.
    pub(crate) held_by_store: bool,
}

/// A recipient of a message's envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MailRecipient {
    /// Who.
    pub(crate) address: String,
    /// What has become of the message for them: `queued`, `deferred`, `held`, `delivered`, `relayed`, `failed`, `finished` or
    /// `deleted`.
    pub(crate) state: String,
    /// How often another server was tried.
    pub(crate) attempts: u32,
    /// What was last said of it; empty when nothing was.
    pub(crate) reply: String,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) next_attempt_at: Option<Timestamp>,
    /// The mail exchange that has taken or refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exchange: Option<String>,
    /// The message's id at the server that has taken it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer_id: Option<MessageId>,
}

/// A message with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Mail {
    /// What a list shows of it.
    #[serde(flatten)]
    pub(crate) summary: MailSummary,
    /// `Date`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) date: Option<Timestamp>,
    /// The header fields in order.
    pub(crate) headers: Vec<HeaderField>,
    /// The text; without a text, what the HTML says.
    pub(crate) text: String,
    /// The HTML; empty without.
    pub(crate) html: String,
    /// The parts that are no multiparts.
    pub(crate) parts: Vec<Part>,
    /// The URLs in HTML and text, each once.
    pub(crate) links: Vec<String>,
    /// The numbers of 4 to 8 digits in the text, each once: the codes of confirmations.
    pub(crate) codes: Vec<String>,
    /// Whether something of the message was left out here, because it is too long. Its source has all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) truncated: bool,
    /// What has happened to it, the oldest first.
    pub(crate) events: Vec<Event>,
}

/// A page of `GET /v1/mail`, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct MailPage {
    /// The messages of this page.
    pub(crate) mail: Vec<MailSummary>,
    /// Pass this as `before` to read on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}
