//! Queued mail on its way out: claim, find the exchange, speak SMTP to it, settle.

mod broken;
mod concurrency;
mod delivery;
mod dispatch;
mod dsn;
pub(crate) mod files;
mod forwarded;
mod names;
mod pool;
mod returned;
mod route;
mod search;
mod security;
mod settle;
mod slots;
mod smtp_client;
mod verdict;
mod worker;

pub(crate) use dispatch::run;
pub(crate) use names::Names;
pub use route::Hosts;
pub(crate) use route::is_self;

use crate::{Config, metrics::Metrics};
use faults::Faults;
use internal_api::StoreClient;
use mail_net::{Clock, Dial};
use records::Recorder;
use std::{net::SocketAddr, sync::Arc};
use town_config::LiveStack;
use town_tls::Trust;

/// What all relay workers of a gateway share.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    stack: LiveStack,
    store: StoreClient,
    names: Names,
    dial: Arc<dyn Dial>,
    hosts: Hosts,
    /// By whom other servers are known.
    trust: Arc<Trust>,
    metrics: Metrics,
    settlements: settle::Settlements,
    /// Where this gateway listens for SMTP.
    listener: SocketAddr,
    pool: Arc<pool::Pool>,
    /// Records the sessions with other servers.
    recorder: Recorder,
    /// What goes wrong on purpose with them.
    faults: Faults,
    clock: Clock,
}

impl Context {
    /// Starts what the workers share.
    pub(crate) fn new(config: &Config, listener: SocketAddr, metrics: Metrics) -> Self {
        let Config { stack, store, dns, dial, name_server, hosts, recorder, faults, clock, authority, .. } =
            config.clone();
        let names = Names::new(stack.clone(), dns, name_server, clock.io);
        let settlements = settle::settlements(store.clone());
        let (trust, pool) = (Arc::new(Trust::new(authority)), Arc::default());
        Self { stack, store, names, dial, hosts, trust, metrics, settlements, listener, pool, recorder, faults, clock }
    }
}
