//! Where clients connect, and what each port is for.

use crate::{
    connection::{self, Client},
    gateway::Gateway,
};
use futures_util::future::join_all;
use internal_api::{Protocol, Role};
use mail_net::{AcceptLoop, ConnectionLimits, Places};
use records::Opening;
use service_kit::{http::HttpListener, shutdown::GRACE, telemetry};
use std::sync::Arc;
use tokio::net::TcpListener;

/// What a connection over the limit is told.
const TOO_MANY_CONNECTIONS: &[u8] = b"-ERR [SYS/TEMP] too many connections, try again later\r\n";

/// The sockets of a gateway, already bound.
#[derive(Debug)]
pub struct Listeners {
    /// POP3.
    pub pop3: TcpListener,
    /// The same over TLS from the first octet on. It stays closed as long as the gateway has no certificate.
    pub pops: Option<TcpListener>,
    /// Health and metrics.
    pub http: HttpListener,
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// POP3, with STLS.
    Pop3,
    /// POP3 over TLS, which begins with the connection (RFC 8314 §3.2).
    Pops,
}

impl Port {
    /// Whether the client speaks TLS from its first octet on.
    pub(crate) fn begins_with_tls(self) -> bool {
        self == Self::Pops
    }

    /// What is spoken there.
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Pop3 => Protocol::Pop3,
            Self::Pops => Protocol::Pop3s,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pop3 => "POP3",
            Self::Pops => "pops",
        }
    }
}

/// Serves the clients of both ports until the service stops. The limits of connections are those of both together.
pub(crate) async fn serve(gateway: &Arc<Gateway>, ports: impl IntoIterator<Item = (Port, TcpListener)>) {
    let places = Places::new(gateway.clock.io);
    let mut accepting = Vec::new();
    for (port, listener) in ports {
        if port.begins_with_tls() && gateway.certificate.is_none() {
            facts::Pop3CertificateMissing { port: port.name() }.log();
        } else {
            telemetry::listening(port.name(), listener.local_addr());
            accepting.push(accept(gateway, port, listener, places.clone()));
        }
    }
    join_all(accepting).await;
}

async fn accept(gateway: &Arc<Gateway>, port: Port, listener: TcpListener, places: Places) {
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
            gateway.metrics.refused();
            facts::Pop3ConnectionRefused { peer }.log();
        },
        grace: GRACE,
        clock: gateway.clock.io,
    };
    let serve =
        |io, peer, place| connection::serve(Arc::clone(gateway), Client { port, peer, io, shaping: None, place });
    accepting.run(gateway.shutdown.clone(), serve).await;
}
