//! The names of this server in the zone: the exchanges of its mail domains that lead here. Clients take them for mail
//! domains.

use crate::relay::{Names, is_self};
use mail_net::IoClock;
use mail_proto::Domain;
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tokio::{sync::Mutex, time::Instant};
use town_config::LiveStack;

/// How long the names are remembered, and how long a client waits until they are known.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(1);

/// The names that the zone gives this server.
#[derive(Debug)]
pub(crate) struct OwnNames {
    stack: LiveStack,
    names: Names,
    listener: SocketAddr,
    io: IoClock,
    known: Mutex<Known>,
}

/// The names, as far as they are known.
#[derive(Debug, Default)]
struct Known {
    /// Each with the mail domain of which it is an exchange.
    domains: BTreeMap<Domain, Domain>,
    /// When they were asked for last.
    asked_at: Option<Instant>,
}

impl OwnNames {
    /// Of a gateway that listens there.
    pub(crate) fn new(stack: LiveStack, names: Names, listener: SocketAddr, io: IoClock) -> Self {
        Self { stack, names, listener, io, known: Mutex::default() }
    }

    /// Where the gateway listens.
    pub(crate) fn listener(&self) -> SocketAddr {
        self.listener
    }

    /// The mail domain that this name stands for, if it is an exchange of one that leads here. While the pseudo-dns gives
    /// no answer, the names are what they were.
    pub(crate) async fn mail_domain(&self, name: &Domain) -> Option<Domain> {
        if name.is_literal() {
            return None;
        }
        let mut known = self.known.lock().await;
        let is_fresh = known.asked_at.is_some_and(|asked_at| self.io.since(asked_at) < REMEMBERED_FOR);
        if !is_fresh {
            if let Ok(Some(domains)) = self.io.timeout(PATIENCE, self.ask()).await {
                known.domains = domains;
            }
            known.asked_at = Some(self.io.instant());
        }
        known.domains.get(name).cloned()
    }

    /// `None` when there is no usable answer.
    async fn ask(&self) -> Option<BTreeMap<Domain, Domain>> {
        let (stack, mut domains) = (self.stack.current(), BTreeMap::new());
        for domain in &stack.domains {
            for record in self.names.mail_exchanges(domain).await.ok()?.unwrap_or_default() {
                let Ok(exchange) = record.exchange.trim_end_matches('.').parse::<Domain>() else { continue };
                let ports = self.names.ports(exchange.as_str()).await.ok()?.unwrap_or_default();
                if ports.iter().any(|port| is_self(self.listener, port)) {
                    domains.entry(exchange).or_insert_with(|| domain.clone());
                }
            }
        }
        Some(domains)
    }
}
