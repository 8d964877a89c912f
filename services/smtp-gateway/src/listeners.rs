//! Where clients connect, and what each port is for.

use crate::{
    connection::{self, Client},
    gateway::Gateway,
};
use futures_util::future::join_all;
use internal_api::{Protocol, Role};
use mail_net::{AcceptLoop, ConnectionLimits, Places};
use records::Opening;
use service_kit::{
    http::HttpListener,
    shutdown::{CancellationToken, GRACE},
    telemetry,
};
use std::sync::Arc;
use tokio::net::TcpListener;

/// The reply to a connection over the limit (RFC 5321 §3.8, RFC 3463 §3.4).
const TOO_MANY_CONNECTIONS: &[u8] = b"421 4.3.2 too many connections, try again later\r\n";

/// The sockets of a gateway, already bound.
#[derive(Debug)]
pub struct Listeners {
    /// SMTP, for agents and other servers.
    pub smtp: TcpListener,
    /// SMTP for agents only.
    pub submission: Option<TcpListener>,
    /// The same over TLS from the first octet on. It stays closed as long as the gateway has no certificate.
    pub submissions: Option<TcpListener>,
    /// Health and metrics.
    pub http: HttpListener,
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// Agents submit, and other servers deliver.
    Smtp,
    /// Agents submit (RFC 6409).
    Submission,
    /// Agents submit over TLS, which begins with the connection (RFC 8314 §3.3).
    Submissions,
}

impl Port {
    /// Whether other servers are refused.
    pub(crate) fn is_for_submission(self) -> bool {
        self != Self::Smtp
    }

    /// Whether the client speaks TLS from its first octet on.
    pub(crate) fn begins_with_tls(self) -> bool {
        self == Self::Submissions
    }

    /// What is spoken there.
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Smtp => Protocol::Smtp,
            Self::Submission => Protocol::Submission,
            Self::Submissions => Protocol::Submissions,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Smtp => "SMTP",
            Self::Submission => "submission",
            Self::Submissions => "submissions",
        }
    }
}

/// Serves the clients of all ports until `shutdown`. The limits of connections are those of all ports together.
pub(crate) async fn serve(
    gateway: &Arc<Gateway>,
    ports: impl IntoIterator<Item = (Port, TcpListener)>,
    shutdown: &CancellationToken,
) {
    let places = Places::new(gateway.clock.io);
    let mut accepting = Vec::new();
    for (port, listener) in ports {
        if port.begins_with_tls() && gateway.certificate.is_none() {
            facts::SmtpCertificateMissing { port: port.name() }.log();
        } else {
            telemetry::listening(port.name(), listener.local_addr());
            accepting.push(accept(gateway, port, listener, places.clone(), shutdown));
        }
    }
    join_all(accepting).await;
}

async fn accept(
    gateway: &Arc<Gateway>,
    port: Port,
    listener: TcpListener,
    places: Places,
    shutdown: &CancellationToken,
) {
    // A client that expects TLS could not read it.
    let refusal = if port.begins_with_tls() { b"" } else { TOO_MANY_CONNECTIONS };
    let local = listener.local_addr().ok();
    let accepting = AcceptLoop {
        listener,
        is_proxy: |peer| gateway.stack.current().is_proxy(peer),
        places,
        limits: || ConnectionLimits::from(&gateway.stack.current().limits),
        refusal,
        refused: |peer| {
            let (role, protocol) = (Role::Server, port.protocol());
            gateway.recorder.refused(Opening { role, protocol, local, remote: Some(peer) }, refusal);
            gateway.metrics.connections_refused.inc();
            facts::SmtpConnectionRefused { peer }.log();
        },
        grace: GRACE,
        clock: gateway.clock.io,
    };
    let serve = |io, peer, place| {
        connection::serve(Arc::clone(gateway), Client { port, peer, io, shaping: None, place }, shutdown.clone())
    };
    accepting.run(shutdown.clone(), serve).await;
}
