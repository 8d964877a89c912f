//! The SMTP gateway of one mail domain: it receives from agents and from other servers, and relays what is
//! queued to other servers. Everything durable is in the mailbox store; a gateway may be killed at any
//! moment and be run in any number.

mod args;
mod batcher;
mod commit;
mod connection;
mod gateway;
mod logins;
mod metrics;
mod policy;
mod rates;
mod receive;
mod received;
mod relay;
mod submitter;

pub use args::Args;
pub use relay::Hosts;

use axum::Router;
use gateway::Gateway;
use internal_api::{DnsClient, InProcess, StoreClient};
use ipnet::IpNet;
use logins::Logins;
use mail_net::{AcceptLoop, Clock, ConnectionLimits, Dial};
use metrics::Metrics;
use policy::Policy;
use service_kit::{
    http::{self, HttpService, Token},
    shutdown::{CancellationToken, GRACE},
    telemetry,
};
use std::{io, path::PathBuf, sync::Arc};
use submitter::Submitter;
use tokio::net::TcpListener;
use town_config::LiveStack;
use town_tls::ServedCertificate;
use utoipa::OpenApi;

/// The reply to a connection over the limit (RFC 5321 §3.8, RFC 3463 §3.4).
const TOO_MANY_CONNECTIONS: &[u8] = b"421 4.3.2 too many connections, try again later\r\n";

/// What a gateway is part of, and who its neighbours are.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its stack.
    pub stack: LiveStack,
    /// The stack's mailbox store.
    pub store: StoreClient,
    /// The stack's pseudo-dns, over HTTP.
    pub dns: DnsClient,
    /// How it connects to other servers.
    pub dial: Arc<dyn Dial>,
    /// Where the same speaks DNS, as `host:port`.
    pub name_server: Option<String>,
    /// Where the hosts of the zone are.
    pub hosts: Hosts,
    /// Who may submit without authentication, whatever the configuration says.
    pub trusted_networks: Option<Vec<IpNet>>,
    /// Its certificate; without one, STARTTLS is not offered.
    pub certificate: Option<Arc<ServedCertificate>>,
    /// The certificate of the town's authority, in PEM: its relay knows the town's servers by it.
    pub authority: Option<PathBuf>,
    /// Guards its HTTP side.
    pub token: Option<Token>,
    /// Dates what it adds to messages, and limits its calls and connections.
    pub clock: Clock,
}

/// The sockets of a gateway, already bound.
#[derive(Debug)]
pub struct Listeners {
    /// SMTP.
    pub smtp: TcpListener,
    /// Health and metrics.
    pub http: TcpListener,
}

/// Why a gateway could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The HTTP listener failed for good.
    #[error("the HTTP listener failed: {0}")]
    Http(#[from] io::Error),
}

/// The HTTP side has no routes of its own.
#[derive(OpenApi)]
#[openapi(info(title = "mailtown smtp-gateway", description = "Health and metrics only."))]
struct Description;

/// Serves until `shutdown`, then finishes what is in flight.
///
/// # Errors
/// [`ServiceError`].
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> Result<(), ServiceError> {
    let mut registry = service_kit::metrics::registry("smtp-gateway");
    let metrics = Metrics::register(&mut registry);
    let store_calls = metrics.store_call_seconds.clone();
    let store = config.store.observed(move |took| store_calls.observe(took.as_secs_f64()));
    let config = Config { store, ..config };
    let listener = listeners.smtp.local_addr()?;
    let relay = relay::run(relay::Context::new(&config, listener, metrics.clone()), shutdown.clone());
    let http = http::serve(
        listeners.http,
        HttpService {
            api: Router::new(),
            description: Description::openapi(),
            metrics: Arc::new(registry),
            readiness: http::ready_with_store(
                config.store.clone(),
                config.stack.current().name.clone(),
                config.clock.io,
            ),
            token: config.token,
            hosts: config.stack.http_hosts(),
            in_process: InProcess::default(),
            clock: config.clock.io,
        },
        shutdown.clone(),
    );
    let stack = config.stack.clone();
    let limits = move || ConnectionLimits::from(&stack.current().limits);
    let policy = Policy::new(
        config.stack.clone(),
        config.store.clone(),
        config.trusted_networks,
        listener.ip(),
        config.clock.wall.clone(),
    );
    policy.log_who_is_trusted();
    let logins = Logins::new(config.store.clone(), config.clock.io, metrics.clone());
    let submitter = Submitter::new(config.store.clone(), config.clock.io);
    let gateway = Arc::new(Gateway {
        stack: config.stack,
        store: config.store,
        submitter,
        certificate: config.certificate,
        policy,
        logins,
        metrics,
        clock: config.clock,
    });
    telemetry::listening("SMTP", listeners.smtp.local_addr());
    let accepting = AcceptLoop {
        listener: listeners.smtp,
        limits,
        refusal: TOO_MANY_CONNECTIONS,
        refused: |peer| {
            gateway.metrics.connections_refused.inc();
            facts::SmtpConnectionRefused { peer }.log();
        },
        grace: GRACE,
        clock: gateway.clock.io,
    };
    let smtp = accepting.run(shutdown.clone(), |io, peer, place| {
        connection::serve(Arc::clone(&gateway), io, peer, place, shutdown.clone())
    });
    let ((), (), served) = tokio::join!(smtp, relay, http);
    Ok(served?)
}
