//! What became of a recipient, and who said so.

use super::route::Exchange;
use mail_proto::smtp::Reply;
use std::sync::Arc;

/// What became of one recipient of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The exchange has decided by this reply.
    Said(Reply, Arc<Exchange>),
    /// This server has decided. A positive reply is about a mailbox here.
    Ours(Reply),
    /// Nobody was asked about this recipient, for this reason. The attempt is taken back.
    Untried(Reply),
    /// This server stops before it asked. The attempt is taken back, and the last reply stays.
    Released,
}

impl Verdict {
    /// Whether the exchange has taken the message.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Said(reply, _) if reply.is_positive())
    }

    /// Whether the recipient is refused for good.
    pub(super) fn is_permanent(&self) -> bool {
        matches!(self, Self::Said(reply, _) | Self::Ours(reply) if reply.is_permanent())
    }
}
