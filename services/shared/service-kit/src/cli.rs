//! The command line that all services share, and the way each is started from it.

use crate::{
    config::{Config, ConfigError, PortKey, Stack},
    http::Token,
    shutdown::{self, CancellationToken},
    telemetry,
};
use anyhow::Context;
use mail_api::{ApiError, DnsClient, Endpoint, StoreClient};
use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use tokio::net::{TcpListener, UdpSocket};

/// How long a health check waits for its answer.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// The flags of every service, and the subcommands of this one.
#[derive(Debug, Clone, clap::Args)]
pub struct ServiceArgs<C: clap::Subcommand = ServiceCommand> {
    /// The server whose stack this is: the <NAME> of a [server."<NAME>"] in the configuration
    #[arg(long, env = "MAILTOWN_NAME")]
    pub name: String,
    /// The configuration file
    #[arg(long, env = "MAILTOWN_CONFIG", default_value = "data/config.toml")]
    pub config: PathBuf,
    /// The address to listen on
    #[arg(long, env = "MAILTOWN_BIND", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    pub bind: IpAddr,
    /// The bearer token of the internal API, required beyond loopback (better set in the environment)
    #[arg(long, env = "MAILTOWN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Instead of running the service:
    #[command(subcommand)]
    pub command: Option<C>,
}

impl<C: clap::Subcommand> ServiceArgs<C> {
    /// The same flags with another subcommand.
    pub fn with_command<D: clap::Subcommand>(self, command: Option<D>) -> ServiceArgs<D> {
        let Self { name, config, bind, token, command: _ } = self;
        ServiceArgs { name, config, bind, token, command }
    }

    /// The stack that they name.
    ///
    /// # Errors
    /// One line that names file, key and remedy.
    pub fn stack(&self) -> Result<Stack, ConfigError> {
        Config::load(&self.config)?.stack(&self.name).cloned()
    }

    /// What guards the internal API.
    pub fn token(&self) -> Option<Token> {
        self.token.as_deref().filter(|token| !token.is_empty()).map(Token::from)
    }

    /// Where a service of this stack is reached on this machine.
    ///
    /// # Errors
    /// When the configuration does not say.
    pub fn neighbour(&self, stack: &Stack, key: PortKey) -> Result<SocketAddr, ConfigError> {
        let host = if self.bind.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { self.bind };
        Ok(SocketAddr::new(host, stack.require_port(key)?))
    }
}

/// What a service's binary does besides serving.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub enum ServiceCommand {
    /// Ask the running service whether it is ready, and exit with 0 if so
    Healthcheck,
}

/// A service that is about to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Its stack.
    pub stack: Stack,
    /// Guards its API, and opens its neighbours'.
    pub token: Option<Token>,
    /// Cancelled when it is to stop.
    pub shutdown: CancellationToken,
    /// The address to listen on.
    pub bind: IpAddr,
}

/// Runs a service's `main`: starts it with `start`, or carries out the subcommand. `health` is the key of its
/// HTTP port. A failure is printed as one line, and the exit code is then 1.
pub fn run<S, F>(args: &ServiceArgs, health: PortKey, start: S) -> ExitCode
where
    S: FnOnce(Launch) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    telemetry::start();
    let outcome =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime").and_then(
            |runtime| {
                runtime.block_on(async {
                    match args.command {
                        Some(ServiceCommand::Healthcheck) => healthcheck(args, health).await,
                        None => start(launch(args)?).await,
                    }
                })
            },
        );
    exit_code(outcome)
}

/// Prints a failure as one line on standard error.
pub fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn launch(args: &ServiceArgs) -> anyhow::Result<Launch> {
    let stack = args.stack()?;
    let token = args.token();
    if token.is_none() && !args.bind.is_loopback() {
        let bind = args.bind;
        anyhow::bail!("refusing to listen on {bind} without a token; set MAILTOWN_TOKEN, or bind to 127.0.0.1");
    }
    Ok(Launch { stack, token, shutdown: shutdown::on_signal()?, bind: args.bind })
}

impl Launch {
    /// Listens on the TCP port under `key`.
    ///
    /// # Errors
    /// One line that names the port, its key and what to do.
    pub async fn listen(&self, key: PortKey) -> anyhow::Result<TcpListener> {
        let address = self.address(key)?;
        TcpListener::bind(address).await.with_context(|| self.cannot_listen(key, address, "TCP"))
    }

    /// Binds the UDP port under `key`.
    ///
    /// # Errors
    /// As [`Launch::listen`].
    pub async fn listen_udp(&self, key: PortKey) -> anyhow::Result<UdpSocket> {
        let address = self.address(key)?;
        UdpSocket::bind(address).await.with_context(|| self.cannot_listen(key, address, "UDP"))
    }

    fn address(&self, key: PortKey) -> Result<SocketAddr, ConfigError> {
        Ok(SocketAddr::new(self.bind, self.stack.require_port(key)?))
    }

    fn cannot_listen(&self, key: PortKey, address: SocketAddr, protocol: &str) -> String {
        let (name, key, file) = (&self.stack.name, key.as_str(), self.stack.config_path().display());
        format!(
            "cannot listen on {protocol} {address} (server.\"{name}\".{key} in {file}): \
             stop what listens there, or change the port"
        )
    }

    /// The stack's mailbox store: at `url`, or else on this machine at the port of the configuration.
    ///
    /// # Errors
    /// When neither is given.
    pub fn store(&self, url: Option<&str>) -> anyhow::Result<StoreClient> {
        Ok(StoreClient::new(self.endpoint(url, PortKey::Store)?))
    }

    /// The stack's pseudo-dns: at `url`, or else on this machine at the port of the configuration.
    ///
    /// # Errors
    /// When neither is given.
    pub fn dns(&self, url: Option<&str>) -> anyhow::Result<DnsClient> {
        Ok(DnsClient::new(self.endpoint(url, PortKey::DnsHttp)?))
    }

    fn endpoint(&self, url: Option<&str>, key: PortKey) -> anyhow::Result<Endpoint> {
        let url = match url {
            Some(url) => {
                let http = url.starts_with("http://");
                anyhow::ensure!(http, "\"{url}\" is no URL of a service; give one such as http://127.0.0.1:1080");
                url.to_owned()
            }
            None => format!("http://127.0.0.1:{}", self.stack.require_port(key)?),
        };
        Ok(endpoint(&url, self.token.as_ref())?)
    }
}

/// A neighbour at `url`, called with the stack's token.
///
/// # Errors
/// When the platform gives no HTTP client at all.
pub fn endpoint(url: &str, token: Option<&Token>) -> Result<Endpoint, ApiError> {
    Endpoint::new(url, token.map(Token::expose))
}

async fn healthcheck(args: &ServiceArgs, key: PortKey) -> anyhow::Result<()> {
    ready(args.neighbour(&args.stack()?, key)?).await
}

/// Asks the service whose HTTP side is at `address` whether it is ready.
///
/// # Errors
/// Says why it is not.
pub async fn ready(address: SocketAddr) -> anyhow::Result<()> {
    let url = format!("http://{address}/readyz");
    let http = reqwest::Client::builder().timeout(HEALTHCHECK_TIMEOUT).no_proxy().build()?;
    let response = http.get(&url).send().await.map_err(io::Error::other).with_context(|| format!("{url} is silent"))?;
    let status = response.status();
    anyhow::ensure!(status.is_success(), "{url} answered {status}: {}", response.text().await?.trim_end());
    Ok(())
}
