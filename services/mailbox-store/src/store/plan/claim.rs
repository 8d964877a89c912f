//! What a claim says of a message.

use super::moments::age_seconds;
use internal_api::{ClaimedMessage, ClaimedRecipient, MessageId};
use jiff::Timestamp;
use mail_proto::{ReversePath, smtp::MailParameters};

/// A queued message, as it is stored.
pub(in crate::store) struct Queued {
    pub(in crate::store) id: MessageId,
    pub(in crate::store) reverse_path: ReversePath,
    pub(in crate::store) octets: u64,
    pub(in crate::store) received_at: Timestamp,
    pub(in crate::store) parameters: MailParameters,
}

impl Queued {
    /// The message as it is claimed for these recipients. Its body is not inline.
    pub(in crate::store) fn claimed(self, recipients: Vec<ClaimedRecipient>, now: Timestamp) -> ClaimedMessage {
        let Self { id, reverse_path, octets, received_at: queued_at, parameters } = self;
        let age_seconds = Some(age_seconds(now, queued_at));
        ClaimedMessage { id, reverse_path, octets, queued_at, age_seconds, parameters, recipients, inline: false }
    }
}
