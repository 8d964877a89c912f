//! Logins that open nothing: who a user is, for AUTH of SMTP (RFC 4954) and POP3 (RFC 5034).

use crate::{fields, text};
use mail_proto::{Mailbox, sasl::ScramVerifier};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

/// What the store can check (`GET /v1/logins`). A store of the version before has no such route, and checks only what
/// opens a maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoginSupport {
    /// Whether there is a SCRAM verifier for every account that somebody can log in to.
    pub scram: bool,
    /// Whether a maildrop is opened for a user who has proved the password with SCRAM; see
    /// [`OpenSession::proved`](crate::OpenSession::proved). A store of the version before does not know this field.
    #[serde(default, skip_serializing_if = "fields::is_false")]
    pub proved_sessions: bool,
}

/// A user with a password (`POST /v1/logins`).
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Login {
    /// The user's mailbox. It may lack the domain where the stack has one domain only.
    pub user: String,
    /// The user's password.
    #[schema(format = Password)]
    pub password: String,
    /// The address of the client that wants to log in. Failures are counted by it. A gateway leaves it out where many
    /// clients share the address; one of the version before does not know this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<text::IpAddress>)]
    pub client: Option<IpAddr>,
}

/// Who a user turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoggedIn {
    /// The user's mailbox.
    #[schema(value_type = text::Mailbox)]
    pub mailbox: Mailbox,
}

/// A user who wants to log in with SCRAM (`POST /v1/verifiers`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifierRequest {
    /// As in [`Login`].
    pub user: String,
    /// As in [`Login`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<text::IpAddress>)]
    pub client: Option<IpAddr>,
}

/// Whether a user has proved the password with SCRAM, as the gateway found (`POST /v1/verifiers/outcomes`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProofOutcome {
    /// As in the [`VerifierRequest`].
    pub user: String,
    /// As in the [`VerifierRequest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<text::IpAddress>)]
    pub client: Option<IpAddr>,
    /// Whether the proof was right.
    pub proved: bool,
}

/// What a gateway needs for SCRAM. A user that does not exist has a verifier too, which fits no password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserVerifier {
    /// The user's mailbox; absent when there is no such user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<text::Mailbox>)]
    pub mailbox: Option<Mailbox>,
    /// `SCRAM-SHA-256$ITERATIONS:SALT$STORED-KEY:SERVER-KEY` (RFC 5803 §2).
    #[schema(value_type = String, format = Password)]
    pub verifier: ScramVerifier,
}
