//! What an address means to a store, for those who ask whether mail for it is taken.

use crate::MailboxSummary;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an address means here (`GET /v1/addresses/{address}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Resolved {
    /// It is a mailbox of this store.
    Mailbox(MailboxSummary),
    /// It is nothing here: mail for it is refused, or belongs to another server.
    Unknown,
}
