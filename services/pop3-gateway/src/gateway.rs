//! What all connections of a gateway share.

use crate::{Config, ahead, logins::Logins, metrics::Metrics};
use faults::Faults;
use internal_api::StoreClient;
use ipnet::IpNet;
use mail_net::Clock;
use mail_proto::pop3::{SessionConfig, SizeStyle};
use records::Recorder;
use service_kit::shutdown::CancellationToken;
use std::{net::IpAddr, sync::Arc, time::Duration};
use town_config::{LiveStack, Profile, Stack};
use town_tls::ServedCertificate;

/// What all connections share.
pub(crate) struct Gateway {
    pub(crate) stack: LiveStack,
    pub(crate) store: StoreClient,
    pub(crate) logins: Logins,
    /// Who may read ahead.
    pub(crate) ahead: ahead::Room,
    /// Who may send a password in clear, whatever the configuration says.
    trusted_networks: Option<Vec<IpNet>>,
    /// Its certificate; without one, there is no TLS.
    pub(crate) certificate: Option<Arc<ServedCertificate>>,
    pub(crate) metrics: Metrics,
    pub(crate) recorder: Recorder,
    pub(crate) faults: Faults,
    pub(crate) clock: Clock,
    pub(crate) shutdown: CancellationToken,
}

impl Gateway {
    pub(crate) fn new(config: Config, metrics: Metrics, shutdown: CancellationToken) -> Self {
        let Config { stack, store, trusted_networks, certificate, recorder, faults, clock, .. } = config;
        let logins = Logins::new(store.clone(), clock.io, metrics.clone());
        let ahead = ahead::Room::default();
        Self { stack, store, logins, ahead, trusted_networks, certificate, metrics, recorder, faults, clock, shutdown }
    }

    /// Waits as long as a fault says, but not when the gateway stops.
    pub(crate) async fn pause(&self, delay: Duration) {
        self.shutdown.run_until_cancelled(self.clock.io.sleep(delay)).await;
    }

    /// What the session of this client is told.
    pub(crate) async fn session_config(&self, stack: &Stack, peer: IpAddr) -> SessionConfig {
        SessionConfig {
            size_style: match stack.profile {
                Profile::Tutorial => SizeStyle::WithFinalDot,
                Profile::Rfc => SizeStyle::Message,
            },
            bad_command_limit: stack.limits.bad_commands,
            retention: stack.retention.messages,
            domains: stack.domains.iter().cloned().collect(),
            has_tls: self.certificate.is_some(),
            login_delay: stack.pop3.login_delay,
            require_tls: stack.pop3.require_tls,
            mechanisms: self.logins.mechanisms().await,
            plain_text_in_clear: stack.takes_passwords_in_clear(peer, self.trusted_networks.as_deref()),
        }
    }
}
