//! A store that runs as it does in a town, on a port of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![allow(dead_code, reason = "not every file of tests needs all of it")]

pub(crate) mod admin;

use internal_api::{ClaimRequest, Endpoint, InProcess, Problem, ProblemKind, StoreClient, Submission};
use mail_net::{Clock, ManualClock};
use mail_proto::Mailbox;
use mailbox_store::{Config, Listeners, ServiceError, run};
use reqwest::{Method, StatusCode};
use service_kit::{http::Token, shutdown::CancellationToken};
use std::path::Path;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) const TOKEN: &str = "secret";
pub(crate) const ACCOUNTS: &str = r#""a@local.test" = "pass a"
"b@local.test" = "pass b""#;

/// What a gateway asks for that does not wait.
pub(crate) const NOW: ClaimRequest = ClaimRequest {
    lease_seconds: 60,
    wait_seconds: 0,
    limit: 10,
    except: Vec::new(),
    inline_octets: 0,
    requiretls: true,
    smtputf8: true,
};

/// A running store.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) client: StoreClient,
    pub(crate) data: TempDir,
    /// Its wall time, which stands still until the test moves it.
    pub(crate) time: ManualClock,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), ServiceError>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), ACCOUNTS).await
    }

    pub(crate) async fn start_in(data: TempDir, accounts: &str) -> Self {
        let config = configured(data.path(), accounts);
        Self::run(config, data).await
    }

    /// A store over this database.
    pub(crate) async fn start_over(database: &str) -> Self {
        let data = TempDir::new().unwrap();
        let config = Config { database: Some(database.parse().unwrap()), ..configured(data.path(), ACCOUNTS) };
        Self::run(config, data).await
    }

    pub(crate) async fn run(config: Config, data: TempDir) -> Self {
        let time = ManualClock::starting_at(config.clock.wall.now());
        let config = Config { clock: time.clock(), ..config };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(run(config, Listeners { http: listener.into() }, shutdown.clone()));
        let client = StoreClient::new(Endpoint::new(&url, Some(TOKEN)).unwrap(), Clock::system().io);
        Self { url, client, data, time, shutdown, running }
    }

    /// Stops it as SIGTERM does; returns its directory.
    pub(crate) async fn stop(self) -> TempDir {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        self.data
    }

    /// A request of any kind, with the token.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.request(method, format!("{}{path}", self.url)).bearer_auth(TOKEN)
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    /// The one number behind this name in `/metrics`.
    pub(crate) async fn metric(&self, name: &str) -> String {
        let text = self.get("/metrics").await.text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    }

    /// Waits until `/metrics` says so.
    pub(crate) async fn until_metric(&self, name: &str, value: &str) {
        while self.metric(name).await != value {
            tokio::task::yield_now().await;
        }
    }
}

/// The configuration of a store with these accounts, in the `rfc` profile.
pub(crate) fn configured(data: &Path, accounts: &str) -> Config {
    configured_with(data, accounts, "")
}

/// The same with more tables.
pub(crate) fn configured_with(data: &Path, accounts: &str, tables: &str) -> Config {
    let server = "[server.\"local.test\"]\nsmtp = 1\npop = 2\nstore = 3\n";
    let text = format!("{server}[accounts.\"local.test\"]\n{accounts}\n{tables}");
    let config = town_config::Config::parse(&text, Path::new("config.toml")).unwrap();
    let stack = config.stack("local.test").unwrap().clone().into();
    Config {
        stack,
        data: data.to_owned(),
        database: None,
        token: Some(Token::from(TOKEN)),
        in_process: InProcess::default(),
        faults: faults::Faults::none(),
        clock: Clock::system(),
    }
}

/// The problem in an answer, of which the status says the same.
pub(crate) async fn problem(response: reqwest::Response) -> ProblemKind {
    let status = response.status();
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{status}");
    let problem: Problem = response.json().await.unwrap();
    assert_eq!((problem.status, problem.kind.status().as_u16()), (status.as_u16(), status.as_u16()));
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{problem}");
    problem.kind
}

pub(crate) fn mailbox(address: &str) -> Mailbox {
    address.parse().unwrap()
}

pub(crate) fn submission(transaction: &str, recipients: &[&str]) -> Submission {
    Submission::new(
        transaction,
        "<sender@far.test>".parse().unwrap(),
        recipients.iter().map(|address| mailbox(address)),
    )
}
