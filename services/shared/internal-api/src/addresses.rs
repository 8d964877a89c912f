//! What an address means to a store, for those who ask whether mail for it is taken.

use crate::{MailboxSummary, text};
use mail_proto::Mailbox;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an address means here (`GET /v1/addresses/{address}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Resolved {
    /// It is a mailbox of this store.
    Mailbox(MailboxSummary),
    /// Mail for it goes to one other address.
    Alias {
        /// That address, here or elsewhere.
        #[schema(value_type = text::Mailbox)]
        target: Mailbox,
    },
    /// Mail for it goes to several addresses.
    List {
        /// They, here or elsewhere.
        #[schema(value_type = Vec<text::Mailbox>)]
        members: Vec<Mailbox>,
    },
    /// It is neither a mailbox nor an alias, and its domain sends all such mail on.
    CatchAll {
        /// Where the mail goes.
        #[schema(value_type = Vec<text::Mailbox>)]
        targets: Vec<Mailbox>,
    },
    /// It is nothing here: mail for it is refused, or belongs to another server.
    Unknown,
}
