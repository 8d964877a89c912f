//! The command line that all services share, and the way each is started from it.

mod clock;

pub use clock::ClockArgs;

use crate::{
    http::{HttpListener, Token},
    shutdown::{self, CancellationToken, Signals},
    telemetry::{self, LogArgs},
};
use anyhow::Context;
use internal_api::{ApiError, DnsClient, Endpoint, StoreClient};
use ipnet::IpNet;
use mail_net::Clock;
use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use tokio::net::{TcpListener, UdpSocket};
use town_config::{
    Accept, Auth, Config, ConfigError, LiveConfig, LiveStack, Overrides, PortKey, RelayLookup, Reload, Stack,
    descriptors,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How many ports are tried until one is free for TCP and UDP.
const DNS_ATTEMPTS: usize = 32;

/// How long a health check waits for its answer.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// The flags of every service, and the subcommands of this one.
#[derive(Debug, Clone, clap::Args)]
pub struct ServiceArgs<C: clap::Subcommand = ServiceCommand> {
    /// The server whose stack this is: the NAME of a [server."NAME"] in the configuration; required
    // Not required by clap, which cannot do so for an option that may also stand after the subcommand.
    #[arg(long, env = "MAILTOWN_NAME", global = true)]
    pub name: Option<String>,
    /// The configuration file
    #[arg(long, env = "MAILTOWN_CONFIG", default_value = "data/config.toml", global = true)]
    pub config: PathBuf,
    /// Where SMTP, POP3 and DNS listen
    #[arg(long, env = "MAILTOWN_BIND", default_value_t = LOOPBACK, value_name = "ADDRESS", global = true)]
    pub bind: IpAddr,
    /// Where HTTP listens
    #[arg(long, env = "MAILTOWN_HTTP_BIND", default_value_t = LOOPBACK, value_name = "ADDRESS", global = true)]
    pub http_bind: IpAddr,
    /// Where HTTP listens as well: a Unix socket, for neighbours of the same user on this machine
    #[arg(long, env = "MAILTOWN_HTTP_SOCKET", value_name = "PATH", global = true)]
    pub http_socket: Option<PathBuf>,
    /// The bearer token of the HTTP API, required where it listens beyond loopback (better set in the environment)
    #[arg(long, env = "MAILTOWN_TOKEN", hide_env_values = true, global = true)]
    pub token: Option<String>,
    /// Whose logins are taken: accounts, or any for test-beds [default: auth of the configuration]
    #[arg(long, env = "MAILTOWN_AUTH", value_name = "WHOSE", global = true)]
    pub auth: Option<Auth>,
    /// Which addresses have a mailbox: accounts, or any for test-beds [default: accept of the configuration]
    #[arg(long, env = "MAILTOWN_ACCEPT", value_name = "WHOSE", global = true)]
    pub accept: Option<Accept>,
    /// From where proxies connect that tell their clients' addresses (PROXY protocol), comma separated [default: proxy_networks of the configuration]
    #[arg(long, env = "MAILTOWN_PROXY_NETWORKS", value_name = "NETWORKS", value_delimiter = ',', global = true)]
    pub proxy_networks: Option<Vec<IpNet>>,
    /// What time the service goes by.
    #[command(flatten)]
    pub clock: ClockArgs,
    /// What is logged.
    #[command(flatten)]
    pub log: LogArgs,
    /// Instead of running the service:
    #[command(subcommand)]
    pub command: Option<C>,
}

impl<C: clap::Subcommand> ServiceArgs<C> {
    /// The same flags with another subcommand.
    pub fn with_command<D: clap::Subcommand>(self, command: Option<D>) -> ServiceArgs<D> {
        let Self { name, config, bind, http_bind, http_socket, token, .. } = self;
        let Self { auth, accept, proxy_networks, clock, log, .. } = self;
        ServiceArgs {
            name,
            config,
            bind,
            http_bind,
            http_socket,
            token,
            auth,
            accept,
            proxy_networks,
            clock,
            log,
            command,
        }
    }

    /// The stack that they name.
    ///
    /// # Errors
    /// One line that names file, key and remedy.
    pub fn stack(&self) -> anyhow::Result<Stack> {
        let config = Config::load(&self.config)?;
        let Some(name) = &self.name else {
            let servers: Vec<_> = config.stacks().map(|stack| stack.name.as_str()).collect();
            anyhow::bail!("give --name NAME (MAILTOWN_NAME), which is one of {}", servers.join(", "));
        };
        Ok(config.stack(name)?.clone())
    }

    /// What guards the internal API.
    pub fn token(&self) -> Option<Token> {
        self.token.as_deref().filter(|token| !token.is_empty()).map(Token::from)
    }

    /// Where a service of this stack is reached on this machine.
    ///
    /// # Errors
    /// When the configuration does not say.
    pub fn neighbour(&self, stack: &Stack, key: PortKey) -> anyhow::Result<SocketAddr> {
        let bind = if key.is_http() { self.http_bind } else { self.bind };
        let host = if bind.is_unspecified() { LOOPBACK } else { bind };
        Ok(SocketAddr::new(host, known_port(stack, key)?))
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
    pub stack: LiveStack,
    /// The names of all servers of the town.
    pub servers: Vec<String>,
    /// Guards its API, and opens its neighbours'.
    pub token: Option<Token>,
    /// Cancelled when it is to stop.
    pub shutdown: CancellationToken,
    /// Requested when it is to read its files again.
    pub reload: Reload,
    /// Where SMTP, POP3 and DNS listen.
    pub bind: IpAddr,
    /// Where HTTP listens.
    pub http_bind: IpAddr,
    /// The Unix socket on which HTTP listens as well.
    pub http_socket: Option<PathBuf>,
    /// Its clocks.
    pub clock: Clock,
}

/// Runs a service's `main`: starts it with `start`, or carries out the subcommand. `health` is the key of its
/// HTTP port. A failure is printed as one line, and the exit code is then 1.
pub fn run<S, F>(args: &ServiceArgs, health: PortKey, start: S) -> ExitCode
where
    S: FnOnce(Launch) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    block_on(&args.log, async {
        match args.command {
            Some(ServiceCommand::Healthcheck) => healthcheck(args, health).await,
            None => {
                let (launch, config) = launch(args, health)?;
                let server = launch.stack.current().name.clone();
                let service = async {
                    telemetry::spawn(config.watch(launch.reload.clone(), launch.shutdown.clone()));
                    start(launch).await
                };
                telemetry::service(health.service(), server.as_str(), service).await
            }
        }
    })
}

/// Runs a program to its end, with logs and a runtime. A failure is printed as one line, and the exit code is then 1.
pub fn block_on(log: &LogArgs, program: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime");
    exit_code(log.start().map_err(Into::into).and_then(|()| runtime()).and_then(|runtime| {
        let outcome = runtime.block_on(program);
        // A thread that hangs in a file system keeps nobody from stopping.
        runtime.shutdown_background();
        outcome
    }))
}

/// Ends the log, and prints a failure as one line on standard error.
pub fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    telemetry::flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the service starts with, and the configuration to watch meanwhile.
fn launch(args: &ServiceArgs, health: PortKey) -> anyhow::Result<(Launch, LiveConfig)> {
    let name = args.stack()?.name;
    let system = Clock::system();
    let config = LiveConfig::open(&args.config, system.io)?.with_overrides(Overrides {
        auth: args.auth,
        accept: args.accept,
        proxy_networks: args.proxy_networks.clone(),
    });
    let clock = args.clock.clock(config.clock(), system);
    let servers = config.servers();
    let (config, stack) = config.only(name.as_str())?;
    let token = args.token();
    require_token(args.http_bind, token.as_ref())?;
    descriptors::raise();
    descriptors::expect(descriptors::needed(&stack.current(), health));
    let Signals { shutdown, reload } = shutdown::on_signal()?;
    let (bind, http_bind) = (args.bind, args.http_bind);
    let http_socket = args.http_socket.clone().filter(|path| !path.as_os_str().is_empty());
    let launch = Launch { stack, servers, token, shutdown, reload, bind, http_bind, http_socket, clock };
    Ok((launch, config))
}

/// Refuses to serve HTTP beyond loopback to everybody.
///
/// # Errors
/// When there is no token and `http_bind` is no loopback address.
pub fn require_token(http_bind: IpAddr, token: Option<&Token>) -> anyhow::Result<()> {
    anyhow::ensure!(
        token.is_some() || http_bind.is_loopback(),
        "refusing to serve HTTP on {http_bind} without a token; set MAILTOWN_TOKEN, or give --http-bind 127.0.0.1"
    );
    Ok(())
}

/// The port under `key` that others are to find; 0 is known only to who listens.
fn known_port(stack: &Stack, key: PortKey) -> anyhow::Result<u16> {
    let port = stack.require_port(key)?;
    let (name, key, file) = (&stack.name, key.as_str(), stack.config_path().display());
    anyhow::ensure!(
        port != 0,
        "{file}: server.\"{name}\".{key} is 0, so nobody else knows the port; give a number, or run mailtown"
    );
    Ok(port)
}

/// Binds the port of DNS on `address`, for TCP and UDP. Port 0 is a port that both have free.
///
/// # Errors
/// One line that names the port, its key and what to do.
pub async fn listen_dns(stack: &Stack, address: SocketAddr) -> anyhow::Result<(TcpListener, UdpSocket)> {
    let failed = |error: io::Error, address, protocol| {
        let message = cannot_listen(&error, stack, PortKey::Dns, address, protocol);
        anyhow::Error::new(error).context(message)
    };
    let mut attempts = if address.port() == 0 { DNS_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let tcp = TcpListener::bind(address).await.map_err(|error| failed(error, address, "TCP"))?;
        let bound = tcp.local_addr().map_err(|error| failed(error, address, "TCP"))?;
        match UdpSocket::bind(bound).await {
            Ok(udp) => return Ok((tcp, udp)),
            // The port that is free for TCP may be taken for UDP.
            Err(error) if attempts > 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(failed(error, bound, "UDP")),
        }
    }
}

/// Says why a socket cannot be bound, and what to do about it.
pub fn cannot_listen(error: &io::Error, stack: &Stack, key: PortKey, address: SocketAddr, protocol: &str) -> String {
    let (name, key, file) = (&stack.name, key.as_str(), stack.config_path().display());
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => "stop what listens there, or change the port".to_owned(),
        io::ErrorKind::PermissionDenied => "choose a port from 1024 on, or allow this program to use it".to_owned(),
        io::ErrorKind::AddrNotAvailable => "give an address of this machine".to_owned(),
        _ => descriptors::remedy(error).unwrap_or_else(|| "see the reason".to_owned()),
    };
    format!("cannot listen on {protocol} {address} (server.\"{name}\".{key} in {file}): {remedy}")
}

impl Launch {
    /// Listens on the TCP port under `key`.
    ///
    /// # Errors
    /// One line that names the port, its key and what to do.
    pub async fn listen(&self, key: PortKey) -> anyhow::Result<TcpListener> {
        let address = self.address(key)?;
        TcpListener::bind(address).await.map_err(|error| self.cannot_listen(error, key, address, "TCP"))
    }

    /// Listens on the TCP port under `key`, if the configuration has one.
    ///
    /// # Errors
    /// As [`Launch::listen`].
    pub async fn listen_if_configured(&self, key: PortKey) -> anyhow::Result<Option<TcpListener>> {
        match self.stack.current().port(key) {
            Some(_) => self.listen(key).await.map(Some),
            None => Ok(None),
        }
    }

    /// Listens on the TCP port under `key`, which is one of HTTP, and on the Unix socket if there is to be one.
    ///
    /// # Errors
    /// One line that names the port and its key, or the path, and what to do.
    pub async fn listen_http(&self, key: PortKey) -> anyhow::Result<HttpListener> {
        let listener = HttpListener::from(self.listen(key).await?);
        match &self.http_socket {
            Some(path) => Ok(listener.with_socket(path).await?),
            None => Ok(listener),
        }
    }

    /// Binds the port of DNS, for both of its transports.
    ///
    /// # Errors
    /// As [`Launch::listen`].
    pub async fn listen_dns(&self) -> anyhow::Result<(TcpListener, UdpSocket)> {
        listen_dns(&self.stack.current(), self.address(PortKey::Dns)?).await
    }

    fn address(&self, key: PortKey) -> Result<SocketAddr, ConfigError> {
        let host = if key.is_http() { self.http_bind } else { self.bind };
        Ok(SocketAddr::new(host, self.stack.current().require_port(key)?))
    }

    fn cannot_listen(&self, error: io::Error, key: PortKey, address: SocketAddr, protocol: &str) -> anyhow::Error {
        let message = cannot_listen(&error, &self.stack.current(), key, address, protocol);
        anyhow::Error::new(error).context(message)
    }

    /// The stack's mailbox store: at `url`, or else on this machine at the port of the configuration.
    ///
    /// # Errors
    /// When neither is given.
    pub fn store(&self, url: Option<&str>) -> anyhow::Result<StoreClient> {
        Ok(StoreClient::new(self.endpoint(url, PortKey::Store)?, self.clock.io))
    }

    /// The stack's pseudo-dns: at `url`, or else on this machine at the port of the configuration.
    ///
    /// # Errors
    /// When neither is given.
    pub fn dns(&self, url: Option<&str>) -> anyhow::Result<DnsClient> {
        Ok(DnsClient::new(self.endpoint(url, PortKey::DnsHttp)?, self.clock.io))
    }

    /// Where the stack's pseudo-dns speaks DNS, as `host:port`: on the host of its `url`, or else on this machine, where a
    /// Unix socket is too. `None`
    /// when the configuration does not tell the port and the relay does not need it.
    ///
    /// # Errors
    /// When the relay needs it.
    pub fn name_server(&self, url: Option<&str>) -> anyhow::Result<Option<String>> {
        let stack = self.stack.current();
        let port = match stack.relay.lookup {
            RelayLookup::Dns => known_port(&stack, PortKey::Dns)?,
            RelayLookup::Http => match known_port(&stack, PortKey::Dns) {
                Ok(port) => port,
                Err(_) => return Ok(None),
            },
        };
        let local = if self.bind.is_unspecified() { LOOPBACK } else { self.bind };
        let url = url.filter(|url| !url.starts_with("unix:")).map(reqwest::Url::parse).transpose()?;
        let host = url.as_ref().and_then(reqwest::Url::host_str);
        Ok(Some(host.map_or_else(|| SocketAddr::new(local, port).to_string(), |host| format!("{host}:{port}"))))
    }

    fn endpoint(&self, url: Option<&str>, key: PortKey) -> anyhow::Result<Endpoint> {
        let url = match url {
            Some(url) => {
                anyhow::ensure!(
                    url.starts_with("http://") || is_socket(url),
                    "\"{url}\" is no URL of a service; give one such as http://127.0.0.1:1080 or unix:/run/mailtown/store.sock"
                );
                url.to_owned()
            }
            None => format!("http://127.0.0.1:{}", known_port(&self.stack.current(), key)?),
        };
        Ok(endpoint(&url, self.token.as_ref())?)
    }
}

/// Whether a URL is that of a Unix socket: `unix:/path`, or `unix:///path`. With two slashes, `path` would begin with the
/// name of a host.
fn is_socket(url: &str) -> bool {
    url.starts_with("unix:/") && (!url.starts_with("unix://") || url.starts_with("unix:///"))
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
    ask(address, "readyz").await
}

/// Asks the service at an address whether it answers calls, ready or not.
///
/// # Errors
/// Says why it does not.
pub async fn alive(address: SocketAddr) -> anyhow::Result<()> {
    ask(address, "livez").await
}

async fn ask(address: SocketAddr, path: &str) -> anyhow::Result<()> {
    let url = format!("http://{address}/{path}");
    let http = reqwest::Client::builder().timeout(HEALTHCHECK_TIMEOUT).no_proxy().build()?;
    let response = http.get(&url).send().await.map_err(|error| {
        let silence = Silence::new(address, error);
        anyhow::anyhow!("{url} is silent: {silence}")
    })?;
    let status = response.status();
    anyhow::ensure!(status.is_success(), "{url} answered {status}: {}", response.text().await?.trim_end());
    Ok(())
}

/// Why nothing answers at an address. Of all causes, it tells the last alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}{}", if *.is_nobody { "; is the town running?" } else { "" })]
pub struct Silence {
    cause: String,
    is_nobody: bool,
}

impl Silence {
    /// What a call of `address` has failed with.
    pub fn new(address: SocketAddr, error: reqwest::Error) -> Self {
        let error = anyhow::Error::new(error);
        let cause = error.root_cause();
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let is_nobody = kind == Some(io::ErrorKind::ConnectionRefused) && address.ip().is_loopback();
        Self { cause: cause.to_string(), is_nobody }
    }
}

#[cfg(test)]
mod tests;
