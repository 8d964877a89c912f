//! Mailboxes, for those who ask whether there is room and for people who look.

use crate::text;
use mail_proto::Mailbox;
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
