//! The one error body of the internal API: problem details (RFC 9457).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of an error body (RFC 9457 §3).
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong, as a caller can act on it. It travels as the problem's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum ProblemKind {
    /// The bearer token is missing or wrong.
    #[serde(rename = "urn:mailtown:problem:unauthorized")]
    Unauthorized,
    /// The host is none that this service is called by.
    #[serde(rename = "urn:mailtown:problem:foreign-host")]
    ForeignHost,
    /// A page of another site made the request.
    #[serde(rename = "urn:mailtown:problem:cross-site")]
    CrossSite,
    /// The user's name or password is wrong; which of them is never told.
    #[serde(rename = "urn:mailtown:problem:authentication-failed")]
    AuthenticationFailed,
    /// The request does not have the documented form.
    #[serde(rename = "urn:mailtown:problem:invalid-request")]
    InvalidRequest,
    /// The body is not of the media type that the path takes.
    #[serde(rename = "urn:mailtown:problem:unsupported-media-type")]
    UnsupportedMediaType,
    /// The body is larger than any that the path takes.
    #[serde(rename = "urn:mailtown:problem:request-too-large")]
    RequestTooLarge,
    /// The message holds a CR or a LF that is not part of a CRLF.
    #[serde(rename = "urn:mailtown:problem:bare-line-ending")]
    BareLineEnding,
    /// The message goes round in a loop.
    #[serde(rename = "urn:mailtown:problem:mail-loop")]
    MailLoop,
    /// The message is larger than this store takes.
    #[serde(rename = "urn:mailtown:problem:message-too-large")]
    MessageTooLarge,
    /// No such path.
    #[serde(rename = "urn:mailtown:problem:not-found")]
    NotFound,
    /// The path does not take this method.
    #[serde(rename = "urn:mailtown:problem:method-not-allowed")]
    MethodNotAllowed,
    /// No such mailbox here.
    #[serde(rename = "urn:mailtown:problem:mailbox-unknown")]
    MailboxUnknown,
    /// The address is in a mail domain of another server.
    #[serde(rename = "urn:mailtown:problem:domain-elsewhere")]
    DomainElsewhere,
    /// There is an account of this address already.
    #[serde(rename = "urn:mailtown:problem:account-exists")]
    AccountExists,
    /// The account stands in `config.toml`, which is where it is changed.
    #[serde(rename = "urn:mailtown:problem:account-configured")]
    AccountConfigured,
    /// No such message here, or not any more.
    #[serde(rename = "urn:mailtown:problem:message-unknown")]
    MessageUnknown,
    /// The message is not in the queue, or not any more.
    #[serde(rename = "urn:mailtown:problem:not-queued")]
    NotQueued,
    /// A relay worker is trying to send the message. Try again soon.
    #[serde(rename = "urn:mailtown:problem:message-claimed")]
    MessageClaimed,
    /// The message is on hold. Release it first.
    #[serde(rename = "urn:mailtown:problem:message-held")]
    MessageHeld,
    /// No submission of this name was committed in the last day.
    #[serde(rename = "urn:mailtown:problem:transaction-unknown")]
    TransactionUnknown,
    /// The name does not exist (NXDOMAIN).
    #[serde(rename = "urn:mailtown:problem:name-unknown")]
    NameUnknown,
    /// The name has just lost the record. Try again later.
    #[serde(rename = "urn:mailtown:problem:record-just-lost")]
    RecordJustLost,
    /// Another session holds the maildrop's lock.
    #[serde(rename = "urn:mailtown:problem:maildrop-in-use")]
    MaildropInUse,
    /// The user has logged in a moment ago. Try again later.
    #[serde(rename = "urn:mailtown:problem:login-too-soon")]
    LoginTooSoon,
    /// The lease has run out or was never given.
    #[serde(rename = "urn:mailtown:problem:lease-lost")]
    LeaseLost,
    /// The clock is that of the machine, and is not moved.
    #[serde(rename = "urn:mailtown:problem:clock-real")]
    ClockReal,
    /// No snapshot of this name.
    #[serde(rename = "urn:mailtown:problem:snapshot-unknown")]
    SnapshotUnknown,
    /// There is a snapshot of this name already. Delete it first, or take another name.
    #[serde(rename = "urn:mailtown:problem:snapshot-exists")]
    SnapshotExists,
    /// There is no room for a further snapshot. Delete one.
    #[serde(rename = "urn:mailtown:problem:snapshots-full")]
    SnapshotsFull,
    /// The storage of this store takes no snapshots.
    #[serde(rename = "urn:mailtown:problem:snapshots-unsupported")]
    SnapshotsUnsupported,
    /// Somebody else holds the store, for a snapshot or a restore. Try again soon.
    #[serde(rename = "urn:mailtown:problem:store-held")]
    StoreHeld,
    /// Attempts to relay have not ended in time. Try again soon.
    #[serde(rename = "urn:mailtown:problem:still-relaying")]
    StillRelaying,
    /// The message cannot be read back as it was written; it is in quarantine.
    #[serde(rename = "urn:mailtown:problem:message-damaged")]
    MessageDamaged,
    /// Too much is waiting to be written. Try again later.
    #[serde(rename = "urn:mailtown:problem:overloaded")]
    Overloaded,
    /// The storage is full, read-only or failing. Try again later.
    #[serde(rename = "urn:mailtown:problem:storage-unavailable")]
    StorageUnavailable,
    /// The database cannot be reached or does not answer. Try again later.
    #[serde(rename = "urn:mailtown:problem:database-unavailable")]
    DatabaseUnavailable,
    /// A bug; the log of the service tells more.
    #[serde(rename = "urn:mailtown:problem:internal")]
    Internal,
}

impl ProblemKind {
    /// The HTTP status that goes with it.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::AuthenticationFailed | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::InvalidRequest | Self::BareLineEnding | Self::MailLoop => StatusCode::BAD_REQUEST,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::MessageTooLarge | Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotFound
            | Self::MailboxUnknown
            | Self::MessageUnknown
            | Self::NotQueued
            | Self::TransactionUnknown
            | Self::SnapshotUnknown
            | Self::DomainElsewhere
            | Self::NameUnknown => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::AccountExists
            | Self::AccountConfigured
            | Self::MessageClaimed
            | Self::MessageHeld
            | Self::MaildropInUse
            | Self::LeaseLost
            | Self::SnapshotExists
            | Self::SnapshotsFull
            | Self::SnapshotsUnsupported
            | Self::StoreHeld
            | Self::StillRelaying
            | Self::ClockReal => StatusCode::CONFLICT,
            Self::LoginTooSoon => StatusCode::TOO_MANY_REQUESTS,
            Self::MessageDamaged | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded | Self::DatabaseUnavailable | Self::RecordJustLost => StatusCode::SERVICE_UNAVAILABLE,
            Self::StorageUnavailable => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// What went wrong, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Unauthorized => "A valid bearer token is required",
            Self::ForeignHost => "The service is not called by this host",
            Self::CrossSite => "A page of another site may not call this service",
            Self::AuthenticationFailed => "Authentication failed",
            Self::InvalidRequest => "Invalid request",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::RequestTooLarge => "Request too large",
            Self::BareLineEnding => "The message holds a bare CR or LF",
            Self::MailLoop => "The message goes round in a loop",
            Self::MessageTooLarge => "Message too large",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::MailboxUnknown => "No such mailbox",
            Self::DomainElsewhere => "The mail domain is not here",
            Self::AccountExists => "There is an account of this address already",
            Self::AccountConfigured => "The account stands in config.toml; change it there",
            Self::MessageUnknown => "No such message",
            Self::NotQueued => "The message is not in the queue",
            Self::MessageClaimed => "A relay worker is trying to send the message, try again soon",
            Self::MessageHeld => "The message is on hold; release it first",
            Self::TransactionUnknown => "No such transaction",
            Self::NameUnknown => "No such name",
            Self::RecordJustLost => "The record has just gone from the zone, try again later",
            Self::MaildropInUse => "Another session holds this maildrop",
            Self::LoginTooSoon => "The user has logged in a moment ago, try again later",
            Self::LeaseLost => "The lease has been lost",
            Self::ClockReal => "The clock is that of the machine; start with --virtual-clock to move it",
            Self::SnapshotUnknown => "No such snapshot",
            Self::SnapshotExists => "There is a snapshot of this name already; delete it first, or take another name",
            Self::SnapshotsFull => "There is no room for a further snapshot; delete one",
            Self::SnapshotsUnsupported => "This storage takes no snapshots",
            Self::StoreHeld => "The store is held for a snapshot or a restore, try again soon",
            Self::StillRelaying => "Attempts to relay are under way, try again soon",
            Self::MessageDamaged => "The message is damaged",
            Self::Overloaded => "Overloaded, try again later",
            Self::StorageUnavailable => "Storage unavailable, try again later",
            Self::DatabaseUnavailable => "Database unavailable, try again later",
            Self::Internal => "Internal error",
        }
    }
}

/// An error body (RFC 9457 §3.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{title}{}{}", if detail.is_empty() { "" } else { ": " }, detail)]
pub struct Problem {
    /// What went wrong, for programs.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// What went wrong, for people; the same for every problem of this type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time, for people. Never holds a credential or a part of a message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Problem {
    /// A problem of this kind, with what there is to say of this occurrence (may be empty).
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, title: kind.title().to_owned(), status: kind.status().as_u16(), detail: detail.into() }
    }
}

impl From<ProblemKind> for Problem {
    fn from(kind: ProblemKind) -> Self {
        Self::new(kind, "")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = self.kind;
        let mut response = (kind.status(), axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
        match kind {
            ProblemKind::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            ProblemKind::Overloaded | ProblemKind::StorageUnavailable | ProblemKind::DatabaseUnavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_snapshots_has_the_word_of_the_command() {
        for kind in [ProblemKind::SnapshotExists, ProblemKind::SnapshotsFull] {
            let title = kind.title();
            assert!(title.contains("delete") && !title.contains("remove"), "{title}");
        }
    }
}
