//! Mail as the API shows it.

use crate::message::{HeaderField, Part, Person};
use internal_api::{Event, MessageId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A message in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailSummary {
    /// The message's id in its store.
    pub id: MessageId,
    /// The server name of the stack that has taken it.
    pub stack: String,
    /// Pass this as `since` to get what comes later.
    pub cursor: String,
    /// When the store has taken it.
    #[schema(value_type = String, format = DateTime)]
    pub accepted_at: Timestamp,
    /// Its octets as received.
    pub octets: u64,
    /// The sender of the envelope, without angle brackets; empty for a failure message.
    pub mail_from: String,
    /// The recipients of the envelope, and what has become of the message for each.
    pub recipients: Vec<MailRecipient>,
    /// `Message-ID`, without angle brackets.
    pub message_id: String,
    /// `Subject`, decoded.
    pub subject: String,
    /// The first of `From`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Person>,
    /// `To`.
    pub to: Vec<Person>,
    /// `Cc`.
    pub cc: Vec<Person>,
    /// `Bcc`.
    pub bcc: Vec<Person>,
    /// `Reply-To`.
    pub reply_to: Vec<Person>,
    /// The beginning of the text, 250 characters at most.
    pub snippet: String,
    /// How many files are attached.
    pub attachments: u64,
    /// Whether somebody has read it in the console.
    pub read: bool,
    /// Who was logged in when it was submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The failure message about it, or the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounced_as: Option<MessageId>,
    /// Whether a store has it still, in a maildrop or in the queue.
    pub held_by_store: bool,
}

/// A recipient of a message's envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailRecipient {
    /// Who.
    pub address: String,
    /// What has become of the message for them: `queued`, `deferred`, `held`, `delivered`, `relayed`, `failed`, `finished` or
    /// `deleted`.
    pub state: String,
    /// How often another server was tried.
    pub attempts: u32,
    /// What was last said of it; empty when nothing was.
    pub reply: String,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
    /// The mail exchange that has taken or refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// The message's id at the server that has taken it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<MessageId>,
}

/// A message with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mail {
    /// What a list shows of it.
    #[serde(flatten)]
    pub summary: MailSummary,
    /// `Date`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub date: Option<Timestamp>,
    /// The header fields in order.
    pub headers: Vec<HeaderField>,
    /// The text; without a text, what the HTML says.
    pub text: String,
    /// The HTML; empty without.
    pub html: String,
    /// The parts that are no multiparts.
    pub parts: Vec<Part>,
    /// The URLs in HTML and text, each once.
    pub links: Vec<String>,
    /// The numbers of 4 to 8 digits in the text, each once: the codes of confirmations.
    pub codes: Vec<String>,
    /// Whether something of the message was left out here, because it is too long. Its source has all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// What has happened to it, the oldest first.
    pub events: Vec<Event>,
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
