//! One store, from its start to its end.

use crate::{
    accounts::{self, AccountError, Accounts},
    api::{self, Api},
    logins::Logins,
    metrics::Metrics,
    store::{
        Clock, Store, StoreError,
        postgres::{self, DatabaseUrl, PostgresStore},
        sqlite::{self, SqliteStore},
    },
};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use service_kit::{
    config::{Profile, Retention, Stack},
    http::{HttpService, Readiness, Token, serve},
    shutdown::CancellationToken,
    telemetry,
};
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// The trace headers that gateways add do not count against the limit of a message (RFC 5321 §4.4).
const TRACE_OCTETS: u64 = 64 * 1024;
/// How often what is past remembering is forgotten.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// What a store is to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// The stack whose store it is.
    pub stack: Stack,
    /// The directory that it keeps everything in, and has to itself. With a `database`, only what is on its way there.
    pub data: PathBuf,
    /// The PostgreSQL database that it keeps everything in instead, with other stores of the stack.
    pub database: Option<DatabaseUrl>,
    /// Guards its API.
    pub token: Option<Token>,
}

/// Why a store did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be opened.
    #[error(transparent)]
    Open(#[from] sqlite::OpenError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] postgres::OpenError),
    /// An account of the configuration is unusable.
    #[error("{}: {error}", config.display())]
    Account {
        /// The configuration file.
        config: PathBuf,
        /// What is wrong.
        error: AccountError,
    },
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The listener failed.
    #[error("cannot serve: {0}")]
    Serve(#[from] io::Error),
    /// A bug.
    #[error("a start-up task panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Serves the store of a stack until `shutdown`, then finishes what is in flight and closes the database.
///
/// # Errors
/// [`Error`], one line that names what to change.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> Result<(), Error> {
    let Config { stack, data, database, token } = config;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let announced_in = database.is_none().then(|| data.clone());
    let store = open(&stack, data.clone(), database, metrics.clone()).await?;
    let accounts = Accounts::new(Arc::clone(&store), &data);
    if let Some(directory) = announced_in {
        // A disk that is full for the moment keeps nobody from reading.
        if let Err(error) = sqlite::announce(&directory, listener.local_addr()?) {
            tracing::warn!(%error, "mail cannot be imported while this store runs");
        }
    }
    let message_octets = stack.limits.message_octets.saturating_add(TRACE_OCTETS);
    let retention = stack.retention.clone();
    let served = async {
        check_accounts(&stack)?;
        let accounts = Arc::new(accounts);
        accounts.synchronise(&stack).await?;
        let api = Api {
            store: Arc::clone(&store),
            logins: Logins::new(Arc::clone(&accounts), metrics.clone()),
            metrics,
            message_octets,
            shutdown: shutdown.clone(),
        };
        let service = HttpService {
            api: api::routes(Arc::new(api)),
            description: api::description(),
            metrics: Arc::new(registry),
            readiness: readiness(&store),
            token,
        };
        let maintenance = telemetry::spawn(maintain(Arc::clone(&store), retention, shutdown.clone()));
        let checking = accounts.check_all(shutdown.clone());
        let (served, ()) = tokio::join!(serve(listener, service, shutdown), checking);
        maintenance.abort();
        Ok(served?)
    };
    let served: Result<(), Error> = served.await;
    store.close().await;
    served
}

pub(crate) async fn open(
    stack: &Stack,
    data: PathBuf,
    database: Option<DatabaseUrl>,
    metrics: Metrics,
) -> Result<Arc<dyn Store>, Error> {
    let adds_return_path = stack.profile == Profile::Rfc;
    let clock: Clock = Arc::new(Timestamp::now);
    if let Some(database) = database {
        let stack = stack.name.to_string();
        let options = postgres::Options { database, stack, spool: data, adds_return_path, clock, metrics };
        return Ok(Arc::new(PostgresStore::open(options).await?));
    }
    let options = sqlite::Options { directory: data, adds_return_path, clock, metrics };
    Ok(Arc::new(telemetry::spawn_blocking(|| SqliteStore::open(options)).await??))
}

/// Refuses a configuration with a password that nobody could log in with.
pub(crate) fn check_accounts(stack: &Stack) -> Result<(), Error> {
    let unusable = stack.accounts.iter().find_map(|(address, password)| accounts::check(address, password).err());
    unusable.map_or(Ok(()), |error| Err(Error::Account { config: stack.config_path().to_owned(), error }))
}

fn readiness(store: &Arc<dyn Store>) -> Readiness {
    let store = Arc::clone(store);
    Arc::new(move || {
        let store = Arc::clone(&store);
        Box::pin(async move { store.probe().await.map_err(|error| error.to_string()) })
    })
}

async fn maintain(store: Arc<dyn Store>, retention: Retention, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval(MAINTENANCE_INTERVAL);
    while shutdown.run_until_cancelled(interval.tick()).await.is_some() {
        let maintained = async {
            if let Some(age) = retention.messages {
                store.expire(age).await?;
            }
            store.maintain().await
        };
        if let Err(error) = maintained.await {
            tracing::warn!(%error, "maintenance failed; it will be tried again");
        }
    }
}
