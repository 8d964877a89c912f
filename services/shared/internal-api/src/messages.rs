//! Messages: how they are submitted, and what people see of them.

use crate::{MessageId, Problem, fields, text};
use jiff::Timestamp;
use mail_proto::{
    Mailbox, ReversePath,
    smtp::{MailParameters, Recipient},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    #[schema(value_type = text::MailParameters)]
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
    #[schema(value_type = text::MailParameters)]
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
