//! Queued mail on its way out: claim, find the exchange, speak SMTP to it, settle.

mod bounce;
mod broken;
mod connection;
mod delivery;
mod dispatch;
mod here;
mod places;
mod pool;
mod returned;
mod route;
mod schedule;
mod settle;
mod verdict;
mod worker;

pub(crate) use dispatch::run;
pub use route::Hosts;

use crate::{Config, metrics::Metrics};
use mail_api::{DnsClient, StoreClient};
use service_kit::config::LiveStack;
use std::{net::SocketAddr, sync::Arc};

/// What all relay workers of a gateway share.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    stack: LiveStack,
    store: StoreClient,
    dns: DnsClient,
    hosts: Hosts,
    metrics: Metrics,
    settlements: settle::Settlements,
    /// Where this gateway listens for SMTP.
    listener: SocketAddr,
    parked: Arc<pool::Parked>,
}

impl Context {
    /// Starts what the workers share.
    pub(crate) fn new(config: &Config, listener: SocketAddr, metrics: Metrics) -> Self {
        let Config { stack, store, dns, hosts, .. } = config.clone();
        let settlements = settle::settlements(store.clone());
        Self { stack, store, dns, hosts, metrics, settlements, listener, parked: Arc::default() }
    }
}
