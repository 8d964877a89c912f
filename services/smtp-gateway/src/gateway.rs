//! What all connections of a gateway share.

use crate::{
    Config,
    logins::Logins,
    metrics::{Metrics, is_refusal},
    own_names::OwnNames,
    policy::Policy,
    relay::Names,
    submitter::Submitter,
};
use faults::Faults;
use internal_api::StoreClient;
use mail_net::Clock;
use mail_proto::smtp::Reply;
use records::Recorder;
use service_kit::shutdown::CancellationToken;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use town_config::LiveStack;
use town_tls::ServedCertificate;

/// What all connections of a gateway share.
pub(crate) struct Gateway {
    pub(crate) stack: LiveStack,
    pub(crate) store: StoreClient,
    pub(crate) submitter: Submitter,
    pub(crate) policy: Policy,
    pub(crate) logins: Logins,
    /// Its certificate; without one, there is no TLS.
    pub(crate) certificate: Option<Arc<ServedCertificate>>,
    pub(crate) metrics: Metrics,
    pub(crate) recorder: Recorder,
    pub(crate) faults: Faults,
    pub(crate) clock: Clock,
    /// Ends those who wait.
    pub(crate) shutdown: CancellationToken,
}

impl Gateway {
    /// A gateway that listens on this address until `shutdown`.
    pub(crate) fn new(config: Config, listener: SocketAddr, metrics: Metrics, shutdown: CancellationToken) -> Self {
        let Config { stack, store, dns, name_server, trusted_networks, certificate, recorder, faults, clock, .. } =
            config;
        let names = Names::new(stack.clone(), dns, name_server, clock.io);
        let own_names = OwnNames::new(stack.clone(), names, listener, clock.io);
        let policy = Policy::new(stack.clone(), store.clone(), trusted_networks, own_names, clock.wall.clone());
        let logins = Logins::new(store.clone(), clock.io, metrics.clone());
        let submitter = Submitter::new(store.clone(), clock.io);
        Self { stack, store, submitter, policy, logins, certificate, metrics, recorder, faults, clock, shutdown }
    }

    /// Waits as long as a fault says, but not when the gateway stops.
    pub(crate) async fn pause(&self, delay: Duration) {
        self.shutdown.run_until_cancelled(self.clock.io.sleep(delay)).await;
    }

    /// Counts and logs the reply to a sender, a recipient or a message, if it is a refusal.
    pub(crate) fn replied(&self, command: &str, reply: &Reply) {
        self.metrics.replied(reply);
        if is_refusal(reply) {
            facts::SmtpRejected { command, code: reply.code(), reply: reply.on_one_line() }.log();
        }
    }
}
