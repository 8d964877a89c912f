//! What all connections of a gateway share.

use crate::{
    logins::Logins,
    metrics::{Metrics, is_refusal},
    policy::Policy,
    submitter::Submitter,
};
use internal_api::StoreClient;
use mail_net::Clock;
use mail_proto::smtp::Reply;
use town_config::LiveStack;

/// What all connections of a gateway share.
pub(crate) struct Gateway {
    pub(crate) stack: LiveStack,
    pub(crate) store: StoreClient,
    pub(crate) submitter: Submitter,
    pub(crate) policy: Policy,
    pub(crate) logins: Logins,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
}

impl Gateway {
    /// Counts and logs the reply to a sender, a recipient or a message, if it is a refusal.
    pub(crate) fn replied(&self, command: &str, reply: &Reply) {
        self.metrics.replied(reply);
        if is_refusal(reply) {
            facts::SmtpRejected { command, code: reply.code(), reply: reply.on_one_line() }.log();
        }
    }
}
