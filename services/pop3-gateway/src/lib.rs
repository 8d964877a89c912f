//! pop3-gateway: POP3 (RFC 1939) in front of the mailbox store. It holds nothing durable: kill it, and all
//! that is lost is connections; the locks of their maildrops run out.

mod args;
mod connection;
mod lease;
mod metrics;

pub use args::Args;

use axum::Router;
use internal_api::{InProcess, StoreClient};
use mail_net::{AcceptLoop, Clock, ConnectionLimits, Places, SharedAddresses};
use mail_proto::pop3::{SessionConfig, SizeStyle};
use metrics::Metrics;
use service_kit::{
    http::{HttpService, Token, ready_with_store},
    shutdown::{CancellationToken, GRACE},
    telemetry,
};
use std::{io, sync::Arc};
use tokio::net::TcpListener;
use town_config::{LiveStack, Profile, Stack};
use utoipa::OpenApi;

/// What a connection over the limit is told.
const TOO_MANY_CONNECTIONS: &[u8] = b"-ERR [SYS/TEMP] too many connections, try again later\r\n";

/// What a POP3 gateway must be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its stack.
    pub stack: LiveStack,
    /// The store with the maildrops.
    pub store: StoreClient,
    /// Guards the HTTP side; without one, anybody may call.
    pub token: Option<Token>,
    /// Limits its calls and connections.
    pub clock: Clock,
}

/// What each session of a client is told.
fn session_config(stack: &Stack) -> SessionConfig {
    SessionConfig {
        size_style: match stack.profile {
            Profile::Tutorial => SizeStyle::WithFinalDot,
            Profile::Rfc => SizeStyle::Message,
        },
        bad_command_limit: stack.limits.bad_commands,
        retention: stack.retention.messages,
        domains: stack.domains.iter().cloned().collect(),
    }
}

/// Where a gateway is called.
#[derive(Debug)]
pub struct Listeners {
    /// POP3.
    pub pop3: TcpListener,
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
#[openapi(info(title = "pop3-gateway", description = "Health and metrics of a POP3 gateway"))]
struct Description;

/// What all connections share.
#[derive(Debug)]
struct Gateway {
    config: Config,
    metrics: Metrics,
    /// The addresses by which clients cannot be told apart.
    shared: SharedAddresses,
    shutdown: CancellationToken,
}

/// Serves POP3 until `shutdown`, then lets commands in flight finish, 10 s at most.
///
/// # Errors
/// [`ServiceError`].
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> Result<(), ServiceError> {
    let mut registry = service_kit::metrics::registry("pop3-gateway");
    let metrics = Metrics::register(&mut registry);
    let store_calls = metrics.store_call_seconds.clone();
    let store = config.store.observed(move |took| store_calls.observe(took.as_secs_f64()));
    let config = Config { store, ..config };
    let service = HttpService {
        api: Router::new(),
        description: Description::openapi(),
        metrics: Arc::new(registry),
        readiness: ready_with_store(config.store.clone(), config.stack.current().name.clone(), config.clock.io),
        token: config.token.clone(),
        hosts: config.stack.http_hosts(),
        in_process: InProcess::default(),
        clock: config.clock.io,
    };
    let stack = config.stack.clone();
    let limits = move || ConnectionLimits::from(&stack.current().limits);
    // Whichever way this call ends, no connection outlives it.
    let _stop = shutdown.clone().drop_guard();
    let gateway =
        Arc::new(Gateway { config, metrics, shared: SharedAddresses::of_this_machine(), shutdown: shutdown.clone() });
    telemetry::listening("POP3", listeners.pop3.local_addr());
    let accepting = AcceptLoop {
        listener: listeners.pop3,
        is_proxy: |peer| gateway.config.stack.current().is_proxy(peer),
        places: Places::new(gateway.config.clock.io),
        limits,
        refusal: TOO_MANY_CONNECTIONS,
        refused: |peer| {
            gateway.metrics.refused();
            facts::Pop3ConnectionRefused { peer }.log();
        },
        grace: GRACE,
        clock: gateway.config.clock.io,
    };
    let connections =
        accepting.run(shutdown.clone(), |io, peer, place| connection::serve(Arc::clone(&gateway), io, peer, place));
    tokio::try_join!(service_kit::http::serve(listeners.http, service, shutdown.clone()), async {
        connections.await;
        Ok(())
    })?;
    Ok(())
}
