//! pop3-gateway: POP3 (RFC 1939) in front of the mailbox store. It holds nothing durable: kill it, and all
//! that is lost is connections; the locks of their maildrops run out.

mod ahead;
mod args;
mod connection;
mod gateway;
mod lease;
mod listeners;
mod logins;
mod maildrop;
mod metrics;

pub use args::Args;
pub use listeners::Listeners;

use faults::Faults;
use gateway::Gateway;
use internal_api::{InProcess, StoreClient};
use ipnet::IpNet;
use listeners::Port;
use mail_net::Clock;
use metrics::Metrics;
use records::Recorder;
use service_kit::{
    http::{HttpService, Token, ready_with_store},
    shutdown::CancellationToken,
};
use std::{io, sync::Arc};
use town_config::LiveStack;
use town_tls::ServedCertificate;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// Its name.
pub const SERVICE: &str = "pop3-gateway";

/// What a POP3 gateway must be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its stack.
    pub stack: LiveStack,
    /// The store with the maildrops.
    pub store: StoreClient,
    /// Who may send a password in clear, whatever the configuration says.
    pub trusted_networks: Option<Vec<IpNet>>,
    /// Its certificate; without one, there is no TLS.
    pub certificate: Option<Arc<ServedCertificate>>,
    /// Guards the HTTP side; without one, anybody may call.
    pub token: Option<Token>,
    /// Records its sessions.
    pub recorder: Recorder,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// Limits its calls and connections.
    pub clock: Clock,
}

/// Why a gateway could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The HTTP listener failed for good.
    #[error("the HTTP listener failed: {0}")]
    Http(#[from] io::Error),
}

/// What the HTTP side shows.
#[derive(OpenApi)]
#[openapi(info(title = "pop3-gateway", description = "Health, metrics and records of a POP3 gateway"))]
struct Description;

/// Serves POP3 until `shutdown`, then lets commands in flight finish, 10 s at most.
///
/// # Errors
/// [`ServiceError`].
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> Result<(), ServiceError> {
    let mut registry = service_kit::metrics::registry("pop3-gateway");
    let metrics = Metrics::register(&mut registry);
    let store_calls = metrics.store_call_seconds.clone();
    let recorder = config.recorder.clone();
    let store = config.store.observed(move |call| {
        store_calls.observe(call.took.as_secs_f64());
        recorder.called("mailbox-store", &call);
    });
    let config = Config { store, ..config };
    let records = records::routes(config.recorder.clone(), config.clock.io, shutdown.clone());
    let faults = service_kit::faults::routes(config.faults.clone(), &config.stack.current().faults);
    let (api, description) =
        OpenApiRouter::with_openapi(Description::openapi()).merge(records).merge(faults).split_for_parts();
    let service = HttpService {
        api,
        description,
        metrics: Arc::new(registry),
        readiness: ready_with_store(config.store.clone(), config.stack.current().name.clone(), config.clock.io),
        token: config.token.clone(),
        hosts: config.stack.http_hosts(),
        in_process: InProcess::default(),
        clock: config.clock.clone(),
        schedule: None,
    };
    // Whichever way this call ends, no connection outlives it.
    let _stop = shutdown.clone().drop_guard();
    let Listeners { pop3, pops, http } = listeners;
    let gateway = Arc::new(Gateway::new(config, metrics, shutdown.clone()));
    let ports = [(Port::Pop3, Some(pop3)), (Port::Pops, pops)];
    let ports = ports.into_iter().filter_map(|(port, listener)| Some((port, listener?)));
    tokio::try_join!(service_kit::http::serve(http, service, shutdown), async {
        listeners::serve(&gateway, ports).await;
        Ok(())
    })?;
    Ok(())
}
