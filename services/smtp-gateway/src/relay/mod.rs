//! Queued mail on its way out: claim, find the exchange, speak SMTP to it, settle.

mod bounce;
mod deliver;
mod route;
mod schedule;
mod settle;
mod worker;

pub use route::Hosts;

use crate::{Config, metrics::Metrics};
use mail_api::{DnsClient, StoreClient};
use service_kit::{config::Stack, shutdown::CancellationToken};
use std::sync::Arc;
use tokio::task::JoinSet;

/// What all relay workers of a gateway share.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    stack: Stack,
    store: StoreClient,
    dns: DnsClient,
    hosts: Hosts,
    metrics: Metrics,
    settlements: settle::Settlements,
}

impl Context {
    /// Starts what the workers share.
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Self {
        let Config { stack, store, dns, hosts, .. } = config.clone();
        let settlements = settle::settlements(store.clone());
        Self { stack, store, dns, hosts, metrics, settlements }
    }
}

/// Relays until `shutdown`, then finishes the transactions under way.
pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let workers = context.stack.relay.workers;
    let context = Arc::new(context);
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(worker::run(Arc::clone(&context), shutdown.clone()));
    }
    tasks.join_all().await;
}
