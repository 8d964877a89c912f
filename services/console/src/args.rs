//! The command line.

use crate::{Config, Listeners, Login, MailServer, at_urls, on_this_machine, priority, run};
use anyhow::Context;
use clap::Parser;
use mail_net::Clock;
use service_kit::{
    cli::{self, ClockArgs},
    http::{HttpListener, Token},
    shutdown::{self, Signals},
    telemetry::{self, LogArgs},
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};
use tokio::net::TcpListener;
use town_config::{Files, LiveConfig, OwnHosts, descriptors};

/// Shows a whole town: its mail, its sessions and its queue, to people and to tests.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:\n  console --config data/config.toml\n  console --services http://exmail-store:1080,http://gmail-store:2080"
)]
pub struct Args {
    /// The configuration file
    #[arg(long, env = "MAILTOWN_CONFIG", default_value = "data/config.toml", global = true)]
    config: PathBuf,
    /// Where it listens, on the port of [console]
    #[arg(long, env = "MAILTOWN_CONSOLE_BIND", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS", global = true)]
    bind: IpAddr,
    /// The base URLs of the services, comma separated [default: console.services of the configuration, or else this machine
    /// with the ports of the configuration]
    #[arg(long, env = "MAILTOWN_CONSOLE_SERVICES", value_name = "URLS", value_delimiter = ',')]
    services: Vec<String>,
    /// The bearer token of the services' HTTP APIs (better set in the environment)
    #[arg(long, env = "MAILTOWN_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// The password of the console, required where it listens beyond loopback (better set in the environment)
    #[arg(long, env = "MAILTOWN_CONSOLE_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    password: Option<String>,
    /// none: everybody is let in, wherever the console listens
    #[arg(long, env = "MAILTOWN_CONSOLE_AUTH", value_name = "HOW")]
    auth: Option<String>,
    #[command(flatten)]
    clock: ClockArgs,
    #[command(flatten)]
    log: LogArgs,
    /// Instead of running the console:
    #[command(subcommand)]
    command: Option<Command>,
}

/// What it does besides serving.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum Command {
    /// Ask the running console whether it is ready, and exit with 0 if so
    Healthcheck,
}

impl Args {
    /// Runs the console until a signal ends it.
    pub fn run(self) -> ExitCode {
        priority::give_way();
        cli::block_on(&self.log.clone(), async {
            match self.command {
                Some(Command::Healthcheck) => self.healthcheck().await,
                None => telemetry::program("console", self.serve()).await,
            }
        })
    }

    async fn healthcheck(self) -> anyhow::Result<()> {
        let port = LiveConfig::open(&self.config, Clock::system().io)?.console().port;
        let host = if self.bind.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { self.bind };
        cli::ready(SocketAddr::new(host, port)).await
    }

    async fn serve(self) -> anyhow::Result<()> {
        let system = Clock::system();
        let config = LiveConfig::open(&self.config, system.io)?;
        let clock = self.clock.follower(config.clock(), system);
        let login = Login::at(self.bind, self.password.as_deref(), self.auth.as_deref())?;
        descriptors::raise();
        let settings = config.console();
        let stacks: Vec<_> = config.stacks().map(|stack| stack.current()).collect();
        let stacks: Vec<_> = stacks.iter().map(Arc::as_ref).collect();
        let urls: Vec<_> = self.services.iter().filter(|url| !url.is_empty()).cloned().collect();
        let urls = if urls.is_empty() { settings.services.clone() } else { urls };
        let services = if urls.is_empty() { on_this_machine(stacks.iter().copied()) } else { at_urls(&urls, &stacks)? };
        let address = SocketAddr::new(self.bind, settings.port);
        let http = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on TCP {address} (console.port in {}): change the port", self.config.display())
        })?;
        let Signals { shutdown, reload } = shutdown::on_signal()?;
        let hosts = match config.stacks().next() {
            Some(stack) => stack.http_hosts(),
            None => Arc::new(OwnHosts::default) as town_config::Hosts,
        };
        let token = self.token.as_deref().filter(|token| !token.is_empty()).map(Token::from);
        let mail_servers = stacks.iter().map(|stack| MailServer::of(stack, &services, |key| stack.port(key))).collect();
        let files = Some(Files { zone: Some(self.config.with_file_name("fdns.toml")), config: Some(self.config) });
        let servers = config.servers();
        let configured = Config { services, servers, mail_servers, token, settings, hosts, login, clock, files };
        telemetry::spawn(config.watch(reload, shutdown.clone()));
        Ok(run(configured, Listeners { http: HttpListener::from(http) }, shutdown).await?)
    }
}
