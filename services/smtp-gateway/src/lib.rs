//! The SMTP gateway of one mail domain: it receives from agents and from other servers, and relays what is
//! queued to other servers. Everything durable is in the mailbox store; a gateway may be killed at any
//! moment and be run in any number.

mod args;
mod batcher;
mod commit;
mod connection;
mod gateway;
mod listeners;
mod logins;
mod metrics;
mod own_names;
mod policy;
mod rates;
mod receive;
mod received;
mod relay;
mod submission;
mod submitter;

pub use args::Args;
pub use listeners::Listeners;
pub use relay::{
    Hosts,
    files::{UnusableFile, unusable_relay_files},
};

use faults::Faults;
use gateway::Gateway;
use internal_api::{DnsClient, InProcess, StoreClient};
use ipnet::IpNet;
use listeners::Port;
use mail_net::{Clock, Dial};
use metrics::Metrics;
use prometheus_client::registry::Registry;
use records::Recorder;
use service_kit::{
    http::{self, HttpService, Token},
    shutdown::CancellationToken,
};
use std::{io, path::PathBuf, sync::Arc};
use town_config::LiveStack;
use town_tls::ServedCertificate;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// Its name.
pub const SERVICE: &str = "smtp-gateway";

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
    /// Its certificate; without one, there is no TLS.
    pub certificate: Option<Arc<ServedCertificate>>,
    /// The certificate of the town's authority, in PEM: its relay knows the town's servers by it.
    pub authority: Option<PathBuf>,
    /// Guards its HTTP side.
    pub token: Option<Token>,
    /// Records its sessions, and those of its relay.
    pub recorder: Recorder,
    /// What goes wrong on purpose, for its clients and for its relay.
    pub faults: Faults,
    /// Dates what it adds to messages, and limits its calls and connections.
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
#[openapi(info(title = "smtp-gateway", description = "Health, metrics and records of an SMTP gateway"))]
struct Description;

/// Serves until `shutdown`, then finishes what is in flight.
///
/// # Errors
/// [`ServiceError`].
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> Result<(), ServiceError> {
    let mut registry = service_kit::metrics::registry("smtp-gateway");
    let metrics = Metrics::register(&mut registry);
    let store_calls = metrics.store_call_seconds.clone();
    let recorder = config.recorder.clone();
    let store = config.store.observed(move |call| {
        store_calls.observe(call.took.as_secs_f64());
        recorder.called("mailbox-store", &call);
    });
    let config = Config { store, ..config };
    let Listeners { smtp, submission, submissions, http } = listeners;
    let address = smtp.local_addr()?;
    let relay = relay::run(relay::Context::new(&config, address, metrics.clone()), shutdown.clone());
    let files = relay::files::watch(config.stack.clone(), shutdown.clone());
    let http = http::serve(http, http_service(&config, registry, &shutdown), shutdown.clone());
    let gateway = Arc::new(Gateway::new(config, address, metrics, shutdown.clone()));
    gateway.policy.log_who_is_trusted();
    let ports = [(Port::Smtp, Some(smtp)), (Port::Submission, submission), (Port::Submissions, submissions)];
    let ports = ports.into_iter().filter_map(|(port, listener)| Some((port, listener?)));
    let clients = listeners::serve(&gateway, ports, &shutdown);
    let ((), (), (), served) = tokio::join!(clients, relay, files, http);
    Ok(served?)
}

fn http_service(config: &Config, registry: Registry, shutdown: &CancellationToken) -> HttpService {
    let (store, stack, io) = (config.store.clone(), &config.stack, config.clock.io);
    let records = records::routes(config.recorder.clone(), io, shutdown.clone());
    let faults = service_kit::faults::routes(config.faults.clone(), &stack.current().faults);
    let (api, description) =
        OpenApiRouter::with_openapi(Description::openapi()).merge(records).merge(faults).split_for_parts();
    HttpService {
        api,
        description,
        metrics: Arc::new(registry),
        readiness: http::ready_with_store(store, stack.current().name.clone(), io),
        token: config.token.clone(),
        hosts: stack.http_hosts(),
        in_process: InProcess::default(),
        clock: config.clock.clone(),
        schedule: None,
    }
}
