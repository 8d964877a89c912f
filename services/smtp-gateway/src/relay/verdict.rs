//! What became of a recipient, and who said so.

use super::route::Exchange;
use internal_api::{ClaimedRecipient, room::mailbox_full};
use mail_proto::smtp::{Reply, ReplyReader};
use std::sync::Arc;

/// What became of one recipient of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The exchange has decided by this reply.
    Said(Reply, Arc<Exchange>),
    /// This server has decided.
    Ours(Reply),
    /// The recipient is here, and a store of the version before has not looked for room.
    Here(Reply),
    /// Nobody was asked about this recipient, for this reason. The attempt is taken back.
    Untried(Reply),
    /// This server stops before it asked. The attempt is taken back, and the last reply stays.
    Released,
}

impl Verdict {
    /// On a recipient of this server's own domains, as the store says.
    pub(super) fn of_store(recipient: &ClaimedRecipient) -> Self {
        let said = recipient.said_by_store.as_ref().map(|said| ReplyReader::default().line(said.as_bytes()));
        match said {
            Some(Ok(Some(reply))) => Self::Ours(reply),
            Some(_) => Self::Ours(Reply::new(451, (3, 0), "the mailbox store gave no usable reason")),
            None => Self::Here(mailbox_full(&recipient.mailbox)),
        }
    }

    /// Whether the exchange has taken the message.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Said(reply, _) if reply.is_positive())
    }

    /// Whether the recipient is refused for good.
    pub(super) fn is_permanent(&self) -> bool {
        matches!(self, Self::Said(reply, _) | Self::Ours(reply) if reply.is_permanent())
    }
}
