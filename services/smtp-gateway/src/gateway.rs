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
use std::sync::Arc;
use town_config::LiveStack;
use town_tls::ServedCertificate;

/// What all connections of a gateway share.
pub(crate) struct Gateway {
    pub(crate) stack: LiveStack,
    pub(crate) store: StoreClient,
    pub(crate) submitter: Submitter,
    pub(crate) policy: Policy,
    pub(crate) logins: Logins,
    /// Its certificate; without one, STARTTLS is not offered.
    pub(crate) certificate: Option<Arc<ServedCertificate>>,
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
