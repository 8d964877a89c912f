//! Queued mail on its way out: claim, find the exchange, speak SMTP to it, settle.

mod broken;
mod delivery;
mod dispatch;
mod dsn;
mod forwarded;
mod names;
mod pool;
mod returned;
mod route;
mod settle;
mod slots;
mod smtp_client;
mod verdict;
mod worker;

pub(crate) use dispatch::run;
pub use route::Hosts;

use crate::{Config, metrics::Metrics};
use internal_api::StoreClient;
use mail_net::{Clock, Dial};
use names::Names;
use std::{net::SocketAddr, sync::Arc};
use town_config::LiveStack;

/// What all relay workers of a gateway share.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    stack: LiveStack,
    store: StoreClient,
    names: Names,
    dial: Arc<dyn Dial>,
    hosts: Hosts,
    metrics: Metrics,
    settlements: settle::Settlements,
    /// Where this gateway listens for SMTP.
    listener: SocketAddr,
    pool: Arc<pool::Pool>,
    clock: Clock,
}

impl Context {
    /// Starts what the workers share.
    pub(crate) fn new(config: &Config, listener: SocketAddr, metrics: Metrics) -> Self {
        let Config { stack, store, dns, dial, name_server, hosts, clock, .. } = config.clone();
        let names = Names::new(stack.clone(), dns, name_server, clock.io);
        let settlements = settle::settlements(store.clone());
        Self { stack, store, names, dial, hosts, metrics, settlements, listener, pool: Arc::default(), clock }
    }
}
