//! Queued mail on its way out: claim, find the exchange, speak SMTP to it, settle.

mod bounce;
mod deliver;
mod dispatch;
mod here;
mod parked;
mod route;
mod schedule;
mod settle;
mod worker;

pub(crate) use dispatch::run;
pub use route::Hosts;

use crate::{Config, metrics::Metrics};
use mail_api::{DnsClient, StoreClient};
use service_kit::config::LiveStack;
use std::sync::Arc;

/// What all relay workers of a gateway share.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    stack: LiveStack,
    store: StoreClient,
    dns: DnsClient,
    hosts: Hosts,
    metrics: Metrics,
    settlements: settle::Settlements,
    parked: Arc<parked::Parked>,
}

impl Context {
    /// Starts what the workers share.
    pub(crate) fn new(config: &Config, metrics: Metrics) -> Self {
        let Config { stack, store, dns, hosts, .. } = config.clone();
        let settlements = settle::settlements(store.clone());
        Self { stack, store, dns, hosts, metrics, settlements, parked: Arc::default() }
    }
}
