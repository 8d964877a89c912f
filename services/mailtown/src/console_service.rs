//! The console of the town, from a bound socket to a running task.

use crate::{Layer, Options, StackAddresses};
use anyhow::Context;
use console::{Listeners, Login, MailServer, Service, ServiceKind, priority::Threads};
use pseudo_dns::ZoneSource;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::net::TcpListener;
use town_config::{Files, LiveConfig, OwnHosts, Stack};

/// How the console of a town is reached.
#[derive(Debug, Clone)]
pub struct ConsoleOptions {
    /// Where it listens.
    pub bind: IpAddr,
    /// Who is let in.
    pub login: Login,
}

impl ConsoleOptions {
    /// Where the console listens when the town listens on `bind`. Beyond loopback a password is required, or `auth` has to say
    /// that none is; otherwise it stays on this machine.
    ///
    /// # Errors
    /// When `auth` says something else.
    pub fn new(bind: IpAddr, password: Option<&str>, auth: Option<&str>) -> anyhow::Result<Self> {
        let is_guarded =
            password.is_some_and(|password| !password.is_empty()) || auth.is_some_and(|auth| !auth.is_empty());
        let bind = if is_guarded { bind } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        Ok(Self { bind, login: Login::at(bind, password, auth)? })
    }

    /// Binds the port of the configuration. Where stacks are left to other processes, one of these may have the console:
    /// then there is none here.
    pub(crate) async fn bind(self, config: &LiveConfig) -> anyhow::Result<Option<BoundConsole>> {
        let address = SocketAddr::new(self.bind, config.console().port);
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr()?;
                Ok(Some(BoundConsole { address, listener, login: self.login }))
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && config.is_part() => {
                tracing::info!(%address, "another process has the port of the console; there is none here");
                Ok(None)
            }
            Err(error) => {
                let remedy = "stop what listens there, or give console.port or console.enabled in config.toml";
                let message = format!("cannot listen on TCP {address} (the console): {remedy}");
                Err(anyhow::Error::new(error).context(message))
            }
        }
    }
}

/// A console whose socket is bound.
pub(crate) struct BoundConsole {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    login: Login,
}

impl BoundConsole {
    /// Starts it for these stacks, unless the configuration names other services.
    ///
    /// # Errors
    /// When a URL of the configuration is no service.
    pub(crate) fn start(self, options: &Options, stacks: &[StackAddresses], layer: &mut Layer) -> anyhow::Result<()> {
        let settings = options.config.console();
        let configured: Vec<_> = stacks.iter().map(|stack| Arc::as_ref(&stack.stack)).collect();
        let services = match settings.services.as_slice() {
            [] => own_services(stacks)?,
            urls => console::at_urls(urls, &configured)?,
        };
        let hosts = match options.config.stacks().next() {
            Some(stack) => stack.http_hosts(),
            None => Arc::new(OwnHosts::default) as town_config::Hosts,
        };
        let (token, clock, login) = (options.token.clone(), options.clock.clone(), self.login);
        let port = |stack: &StackAddresses, key| stack.address(key).map(|address| address.port());
        let mail_servers = stacks.iter().map(|stack| MailServer::of(&stack.stack, &services, |key| port(stack, key)));
        let mail_servers = mail_servers.collect();
        let files = files(options, &configured);
        let servers = options.config.servers();
        let config = console::Config { services, servers, mail_servers, token, settings, hosts, login, clock, files };
        let listeners = Listeners { http: self.listener.into() };
        let run = console::run(config, listeners, layer.shutdown.clone());
        let threads = Threads::start().context("there are no threads for the console")?;
        layer.spawn_on(threads.handle(), ("console", "town"), run);
        layer.threads = Some(threads);
        Ok(())
    }
}

/// The files of the town, as far as it has been read from files.
fn files(options: &Options, stacks: &[&Stack]) -> Option<Files> {
    let config = stacks.first()?.config_path();
    match &options.zone {
        ZoneSource::File(zone) => Some(Files { config: Some(config.to_owned()), zone: Some(zone.clone()) }),
        // Both are built in, or somebody has made them who knows them.
        ZoneSource::Fixed(_) => (config == Files::default().config_name()).then(Files::default),
    }
}

fn own_services(stacks: &[StackAddresses]) -> anyhow::Result<Vec<Service>> {
    let each = stacks.iter().flat_map(|stack| ServiceKind::ALL.map(|kind| (stack, kind)));
    each.map(|(stack, kind)| {
        let url = format!("http://{}", stack.required(kind.port_key())?);
        Ok(Service { stack: stack.stack.name.to_string(), kind, url })
    })
    .collect()
}
