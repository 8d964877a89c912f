//! The four services of one stack, from bound sockets to running tasks.

use crate::{InternalCalls, Layer, Options, StackAddresses, certificates, listeners::StackListeners};
use faults::Faults;
use internal_api::{DnsClient, InProcess, StoreClient};
use mail_net::TcpDial;
use pseudo_dns::Overlay;
use records::Recorder;
use service_kit::cli;
use smtp_gateway::Hosts;
use std::sync::Arc;
use town_config::{LiveStack, PortKey};
use town_tls::{CA_FILE, ServedCertificate};

/// A stack whose sockets are bound.
pub(crate) struct BoundStack {
    pub(crate) stack: LiveStack,
    pub(crate) addresses: StackAddresses,
    pub(crate) listeners: StackListeners,
}

/// A stack that is about to start.
pub(crate) struct NewStack<'t> {
    /// Those of its town.
    pub(crate) options: &'t Options,
    /// That of its town.
    pub(crate) overlay: &'t Overlay,
    pub(crate) certificate: Arc<ServedCertificate>,
    pub(crate) bound: BoundStack,
}

/// How the gateways of a stack call its other services.
struct Neighbours {
    store: StoreClient,
    /// Where the store takes calls within the process.
    in_process: InProcess,
    dns: DnsClient,
    /// Where the same speaks DNS, as `host:port`.
    name_server: String,
}

impl NewStack<'_> {
    /// Starts all services: those that the others need, and the gateways.
    ///
    /// # Errors
    /// When the platform gives no HTTP client.
    pub(crate) fn start(self, foundations: &mut Layer, gateways: &mut Layer) -> anyhow::Result<()> {
        let neighbours = self.neighbours()?;
        let (store, dns) = (self.store(&neighbours), self.dns());
        let (pop, smtp) = (self.pop3(&neighbours), self.smtp(neighbours));
        let Self { bound: BoundStack { addresses, listeners, .. }, .. } = self;
        let name = addresses.stack.name.as_str();
        let stop = foundations.shutdown.clone();
        foundations.spawn(PortKey::Store.service(), name, mailbox_store::run(store, listeners.store, stop.clone()));
        foundations.spawn(PortKey::Dns.service(), name, pseudo_dns::run(dns, listeners.dns, stop));
        let stop = gateways.shutdown.clone();
        gateways.spawn(PortKey::Pop.service(), name, pop3_gateway::run(pop, listeners.pop, stop.clone()));
        gateways.spawn(PortKey::Smtp.service(), name, smtp_gateway::run(smtp, listeners.smtp, stop));
        Ok(())
    }

    fn neighbours(&self) -> anyhow::Result<Neighbours> {
        let Options { token, internal_calls, clock, .. } = self.options;
        let addresses = &self.bound.addresses;
        let endpoint =
            |key| anyhow::Ok(cli::endpoint(&format!("http://{}", addresses.required(key)?), token.as_ref())?);
        let in_process = InProcess::default();
        let store = endpoint(PortKey::Store)?;
        let store = match internal_calls {
            InternalCalls::Direct => store.in_process(in_process.clone()),
            InternalCalls::Http => store,
        };
        Ok(Neighbours {
            store: StoreClient::new(store, clock.io),
            in_process,
            dns: DnsClient::new(endpoint(PortKey::DnsHttp)?, clock.io),
            name_server: addresses.required(PortKey::Dns)?.to_string(),
        })
    }

    fn store(&self, neighbours: &Neighbours) -> mailbox_store::Config {
        let Options { state, token, clock, .. } = self.options;
        let BoundStack { stack, addresses, .. } = &self.bound;
        mailbox_store::Config {
            stack: stack.clone(),
            data: state.join(addresses.stack.name.as_str()),
            database: None,
            token: token.clone(),
            in_process: neighbours.in_process.clone(),
            faults: self.faults(mailbox_store::SERVICE),
            clock: clock.clone(),
        }
    }

    fn dns(&self) -> pseudo_dns::Config {
        let Options { config, zone, token, reload, clock, .. } = self.options;
        let stack = &self.bound.stack;
        pseudo_dns::Config {
            zone: zone.clone(),
            overlay: self.overlay.clone(),
            servers: config.servers(),
            grace: stack.current().zone_grace,
            reload: reload.clone(),
            token: token.clone(),
            hosts: stack.http_hosts(),
            recorder: self.recorder(pseudo_dns::SERVICE),
            faults: self.faults(pseudo_dns::SERVICE),
            fault_keys: stack.current().faults.clone(),
            clock: clock.clone(),
        }
    }

    fn pop3(&self, neighbours: &Neighbours) -> pop3_gateway::Config {
        let Options { trusted_networks, token, clock, .. } = self.options;
        pop3_gateway::Config {
            stack: self.bound.stack.clone(),
            store: neighbours.store.clone(),
            trusted_networks: trusted_networks.clone(),
            certificate: Some(Arc::clone(&self.certificate)),
            token: token.clone(),
            recorder: self.recorder(pop3_gateway::SERVICE),
            faults: self.faults(pop3_gateway::SERVICE),
            clock: clock.clone(),
        }
    }

    fn smtp(&self, neighbours: Neighbours) -> smtp_gateway::Config {
        let Options { state, trusted_networks, token, clock, .. } = self.options;
        let Neighbours { store, dns, name_server, .. } = neighbours;
        smtp_gateway::Config {
            stack: self.bound.stack.clone(),
            store,
            dns,
            dial: Arc::new(TcpDial::default()),
            name_server: Some(name_server),
            hosts: Hosts::Loopback,
            trusted_networks: trusted_networks.clone(),
            certificate: Some(Arc::clone(&self.certificate)),
            authority: Some(certificates::directory(state).join(CA_FILE)),
            token: token.clone(),
            recorder: self.recorder(smtp_gateway::SERVICE),
            faults: self.faults(smtp_gateway::SERVICE),
            clock: clock.clone(),
        }
    }

    /// What goes wrong on purpose at this service.
    fn faults(&self, service: &'static str) -> Faults {
        service_kit::faults::of_stack(&self.bound.stack, service, self.options.clock.wall.clone())
    }

    /// What records the sessions of this service. All services of the town record into one memory.
    fn recorder(&self, service: &'static str) -> Recorder {
        let Options { records, clock, .. } = self.options;
        Recorder::of_stack(self.bound.stack.clone(), service, records.clone(), clock.wall.clone())
    }
}
