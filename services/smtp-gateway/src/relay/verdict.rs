//! What became of a recipient, and who said so.

use super::route::Exchange;
use internal_api::{ClaimedRecipient, reports::is_success, room::mailbox_full};
use mail_proto::smtp::{Reply, ReplyReader};
use std::sync::Arc;

/// What became of one recipient of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The exchange has taken the message, by this reply.
    Taken {
        /// What it said.
        reply: Reply,
        /// Which one it is.
        exchange: Arc<Exchange>,
        /// Whether it has DSN: then it tells the sender what becomes of the message (RFC 3461 §5.2.1).
        reports: bool,
    },
    /// The exchange has refused the message by this reply, for now or for good.
    Said(Reply, Arc<Exchange>),
    /// The recipient has got the message here, or is a list that was expanded.
    Arrived(Reply),
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
            Some(Ok(Some(reply))) if is_success(&reply.on_one_line()) => Self::Arrived(reply),
            Some(Ok(Some(reply))) => Self::Ours(reply),
            Some(_) => Self::Ours(Reply::new(451, (3, 0), "the mailbox store gave no usable reason")),
            None => Self::Here(mailbox_full(&recipient.mailbox)),
        }
    }

    /// The words of it.
    pub(super) fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Taken { reply, .. }
            | Self::Said(reply, _)
            | Self::Arrived(reply)
            | Self::Ours(reply)
            | Self::Here(reply)
            | Self::Untried(reply) => Some(reply),
            Self::Released => None,
        }
    }

    /// The exchange whose words these are, if they are not ours.
    pub(super) fn said_by(&self) -> Option<&Arc<Exchange>> {
        match self {
            Self::Taken { exchange, .. } | Self::Said(_, exchange) => Some(exchange),
            _ => None,
        }
    }

    /// Whether the exchange has taken the message.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Taken { .. })
    }

    /// Whether the recipient is refused for good.
    pub(super) fn is_permanent(&self) -> bool {
        matches!(self, Self::Said(reply, _) | Self::Ours(reply) if reply.is_permanent())
    }
}
