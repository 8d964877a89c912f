//! Maildrops: the sessions of POP3 (RFC 1939 §3), and what people see of them.

use crate::{MessageId, fields, text};
use jiff::Timestamp;
use mail_proto::ReversePath;
use serde::{Deserialize, Serialize};
use std::{fmt::Write, net::IpAddr};
use utoipa::ToSchema;

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
    /// The address of the client that logs in. Failures are counted by it. A gateway leaves it out where many clients share
    /// the address; one of the version before does not know this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<text::IpAddress>)]
    pub client: Option<IpAddr>,
    /// Whether the user has proved the password to the gateway already, with SCRAM: the password is empty then, and is not
    /// checked. A store of the version before does not know this field, and refuses the empty password.
    #[serde(default, skip_serializing_if = "fields::is_false")]
    pub proved: bool,
}

/// A maildrop, locked, as it stood when it was opened (RFC 1939 §4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaildropSession {
    /// Names the lock.
    pub session: String,
    /// The messages in order of arrival: the first is number 1.
    pub messages: Vec<MaildropEntry>,
}

/// The media type of a maildrop that is listed while it is read: a [`MaildropHead`] as one line of JSON, then a line
/// `ID OCTETS` for each message in order of arrival. Each line is ended by LF. A caller asks for it with `Accept`.
pub const MAILDROP_MEDIA_TYPE: &str = "application/vnd.mailtown.maildrop";

/// What stands before the messages of a [`MAILDROP_MEDIA_TYPE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaildropHead {
    /// Names the lock.
    pub session: String,
}

/// The lines of these messages.
pub fn listing_lines(entries: &[MaildropEntry]) -> String {
    let mut lines = String::with_capacity(entries.len() * 20);
    for MaildropEntry { id, octets } in entries {
        // Writing to a String does not fail.
        let _ = writeln!(lines, "{id} {octets}");
    }
    lines
}

/// Reads a line of a listing, without its LF.
pub(crate) fn listed(line: &[u8]) -> Option<MaildropEntry> {
    let (id, octets) = str::from_utf8(line).ok()?.split_once(' ')?;
    Some(MaildropEntry { id: id.parse().ok()?, octets: octets.parse().ok()? })
}

/// The media type of the answer to `GET /v1/mailboxes/{address}/raw?ids=ID,ID`: each message after a [`DeliveredHead`] as
/// one line of JSON that is ended by LF.
pub const DELIVERED_MEDIA_TYPE: &str = "application/vnd.mailtown.delivered";
/// How many messages can be asked for at once.
pub const DELIVERED_AT_ONCE: usize = 64;

/// What stands before each message of a [`DELIVERED_MEDIA_TYPE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveredHead {
    /// Which message.
    pub id: MessageId,
    /// How many octets follow.
    pub octets: u64,
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
