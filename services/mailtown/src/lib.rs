//! A whole town of mail servers in one process. Each service runs the very same code as its own binary and
//! talks to its neighbours over the same internal HTTP API.

mod accounts;
mod add_domain;
mod args;
mod certificates;
mod check;
mod client;
mod console_commands;
mod console_service;
mod files;
mod health;
mod help;
mod lesson;
mod listeners;
mod new;
mod output;
mod password;
mod ports_file;
mod queue;
mod stack;
mod state;
mod table;

pub use args::Args;
pub use console_service::ConsoleOptions;

use anyhow::Context;
use certificates::Certificates;
use files::FileArgs;
use ipnet::IpNet;
use listeners::StackListeners;
use mail_net::{Clock, IoClock};
use ports_file::PortsFile;
use pseudo_dns::{Overlay, RunningStack, ZoneSource};
use records::Records;
use service_kit::{cli, http::Token, shutdown::CancellationToken, telemetry};
use stack::{BoundStack, NewStack};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{runtime::Handle, task::JoinSet};
use town_config::{LiveConfig, LiveStack, PortKey, Reload, Stack};

/// How long the services may take to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How often they are asked meanwhile.
const READY_INTERVAL: Duration = Duration::from_millis(5);

/// What a town is made from.
#[derive(Debug)]
pub struct Options {
    /// The stacks.
    pub config: LiveConfig,
    /// The zone that every pseudo-dns serves.
    pub zone: ZoneSource,
    /// The directory below which each store keeps its data, under its server's name.
    pub state: PathBuf,
    /// Where SMTP, POP3 and DNS listen.
    pub bind: IpAddr,
    /// Where HTTP listens.
    pub http_bind: IpAddr,
    /// Who may submit without authentication, whatever the configuration says.
    pub trusted_networks: Option<Vec<IpNet>>,
    /// Guards all HTTP APIs.
    pub token: Option<Token>,
    /// Requested when the configuration is to be read again at once.
    pub reload: Reload,
    /// How its gateways call its stores.
    pub internal_calls: InternalCalls,
    /// Where all services record their sessions.
    pub records: Records,
    /// How the console is reached; without this, there is none.
    pub console: Option<ConsoleOptions>,
    /// The time of all services.
    pub clock: Clock,
}

/// How the gateways of a process call its stores. Requests, checks and answers are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum InternalCalls {
    /// Within the process
    #[default]
    Direct,
    /// Over HTTP connections, as between containers: to be seen in a capture
    Http,
}

/// Where a stack of a running town is reached.
#[derive(Debug, Clone)]
pub struct StackAddresses {
    /// The stack.
    pub stack: Arc<Stack>,
    /// By port key. Only a port that a town does not need may be missing.
    addresses: BTreeMap<PortKey, SocketAddr>,
}

impl StackAddresses {
    /// Where the service of this port key is reached from this machine, if it listens there.
    pub fn address(&self, key: PortKey) -> Option<SocketAddr> {
        let address = self.addresses.get(&key)?;
        Some(SocketAddr::new(reachable(address.ip()), address.port()))
    }

    /// Each port key that it listens on, and where this machine reaches it.
    pub fn addresses(&self) -> impl Iterator<Item = (PortKey, SocketAddr)> {
        self.addresses.keys().filter_map(|&key| Some((key, self.address(key)?)))
    }

    /// As [`StackAddresses::address`], for a port that every town needs.
    fn required(&self, key: PortKey) -> anyhow::Result<SocketAddr> {
        let name = &self.stack.name;
        self.address(key).with_context(|| format!("nothing listens on server.\"{name}\".{}", key.as_str()))
    }
}

/// Where this machine reaches what listens on this address.
fn reachable(bind: IpAddr) -> IpAddr {
    match bind {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// A running town.
pub struct Town {
    stacks: Vec<StackAddresses>,
    /// Where the console listens, if there is one.
    console: Option<SocketAddr>,
    /// The console. Stopped first: it asks all others.
    front: Layer,
    /// Stopped next: they still need the services below.
    gateways: Layer,
    /// The stores and the name servers.
    foundations: Layer,
}

impl Town {
    /// Starts every service of every stack, and returns once all are ready. A store may be ready later: while its disk is
    /// full, mail can be read.
    ///
    /// # Errors
    /// One line that names what to change. Nothing is left running then.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        for stack in options.config.stacks() {
            state::ensure_unused(&options.state, stack.current().name.as_str())?;
        }
        let (mut bound, mut running) = (Vec::new(), Vec::new());
        // All ports first: a town with one of them in use would be half a town.
        for stack in options.config.stacks() {
            let current = stack.current();
            let listeners =
                StackListeners::bind(&current, options.bind, options.http_bind).await.map_err(listeners::with_hint)?;
            let (smtp, pop) = (listeners.smtp.smtp.local_addr()?, listeners.pop.pop3.local_addr()?);
            running.push(RunningStack { stack: stack.clone(), smtp, pop });
            let addresses = StackAddresses { stack: current, addresses: listeners.addresses()? };
            bound.push(BoundStack { stack, addresses, listeners });
        }
        let console = match options.console.clone().filter(|_| options.config.console().enabled) {
            Some(console) => console.bind(&options.config).await.map_err(listeners::with_hint)?,
            None => None,
        };
        let overlay = Overlay::new(options.config.moved_ports(), running);
        let certificates = Certificates::open(&options.state, None, options.zone.clone(), options.clock.real())?;
        let mut town = Self {
            stacks: Vec::new(),
            console: console.as_ref().map(|console| console.address),
            front: Layer::default(),
            gateways: Layer::default(),
            foundations: Layer::default(),
        };
        let all: Vec<LiveStack> = bound.iter().map(|bound| bound.stack.clone()).collect();
        let renewing = certificates.clone().renew(all);
        let until = town.foundations.shutdown.clone();
        telemetry::spawn(async move { until.run_until_cancelled(renewing).await });
        for bound in bound {
            let certificate = certificates.of(&bound.addresses.stack)?;
            town.stacks.push(bound.addresses.clone());
            let new = NewStack { options: &options, overlay: &overlay, certificate, bound };
            new.start(&mut town.foundations, &mut town.gateways)?;
        }
        if let Some(console) = console {
            console.start(&options, &town.stacks, &mut town.front)?;
        }
        telemetry::spawn(options.config.watch(options.reload, town.foundations.shutdown.clone()));
        let stacks = town.stacks.clone();
        tokio::select! {
            ready = ready(&stacks, options.clock.io) => ready?,
            error = town.failed() => return Err(error),
        }
        Ok(town)
    }

    /// Where everything is.
    pub fn stacks(&self) -> &[StackAddresses] {
        &self.stacks
    }

    /// Where this machine reaches the console, if there is one.
    pub fn console(&self) -> Option<SocketAddr> {
        self.console.map(|address| SocketAddr::new(reachable(address.ip()), address.port()))
    }

    /// Waits until a service ends by itself, which none should; returns why.
    pub async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.front.failed() => error,
            error = self.foundations.failed() => error,
            error = self.gateways.failed() => error,
        }
    }

    /// Lets what is in flight finish, first at the gateways, then behind them.
    ///
    /// # Errors
    /// What a service could not finish.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.front.stop().await?;
        self.gateways.stop().await?;
        self.foundations.stop().await
    }
}

/// Returns once every service of these stacks says that it is ready, and every store that it is alive.
async fn ready(stacks: &[StackAddresses], io: IoClock) -> anyhow::Result<()> {
    let deadline = io.instant() + READY_TIMEOUT;
    for (stack, key) in stacks.iter().flat_map(|stack| health::HTTP.map(|key| (stack, key))) {
        let service = stack.required(key)?;
        while let Err(error) = answer(service, key).await {
            if io.instant() > deadline {
                return Err(error);
            }
            io.sleep(READY_INTERVAL).await;
        }
        if key == PortKey::Store
            && let Err(error) = cli::ready(service).await
        {
            tracing::warn!(error = format!("{error:#}"), "a store is not ready; the town starts all the same");
        }
    }
    Ok(())
}

async fn answer(service: SocketAddr, key: PortKey) -> anyhow::Result<()> {
    match key {
        PortKey::Store => cli::alive(service).await,
        _ => cli::ready(service).await,
    }
}

/// Services that are stopped together.
#[derive(Default)]
struct Layer {
    shutdown: CancellationToken,
    services: JoinSet<anyhow::Result<()>>,
    /// Where the console runs, if there is one.
    threads: Option<console::priority::Threads>,
}

impl Layer {
    fn spawn<F, E>(&mut self, service: &'static str, server: &str, run: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        self.spawn_on(&Handle::current(), (service, server), run);
    }

    /// Runs a service of a server on these threads.
    fn spawn_on<F, E>(&mut self, threads: &Handle, (service, server): (&'static str, &str), run: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let server = server.to_owned();
        let running = async move {
            let outcome = telemetry::service(service, &server, run).await;
            outcome.with_context(|| format!("the {service} of {server} failed"))
        };
        self.services.spawn_on(running, threads);
    }

    async fn failed(&mut self) -> anyhow::Error {
        match self.services.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) => anyhow::anyhow!("a service stopped by itself"),
            Some(Err(panic)) => panic.into(),
            // A town may have no console.
            None => std::future::pending().await,
        }
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        while let Some(ended) = self.services.join_next().await {
            ended??;
        }
        Ok(())
    }
}
