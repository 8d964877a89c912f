//! One store, from its start to its end.

mod maintenance;

use crate::{
    accounts::{self, AccountError, Accounts},
    admission::Admission,
    api::{self, Api, EVENT_STREAMS},
    logins::Logins,
    metrics::Metrics,
    store::{
        Backlog, Lifecycle, Queue, Snapshots, Store, StoreError,
        postgres::{self, DatabaseUrl, PostgresStore},
        sqlite::{self, SqliteStore},
    },
    throttle::{LoginDelays, Throttle},
};
use axum::{Router, middleware};
use faults::Faults;
use internal_api::InProcess;
use mail_net::{Clock, IoClock};
use maintenance::{MAINTENANCE_INTERVAL, Maintenance};
use prometheus_client::registry::Registry;
use service_kit::{
    http::{HttpListener, HttpService, Readiness, Schedule, Token, serve},
    shutdown::CancellationToken,
    telemetry,
};
use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use town_config::{Accept, Auth, LiveStack, Profile, Stack};
use utoipa::openapi::OpenApi;

/// How long to wait when nothing could be removed.
const SWEEP_PAUSE: Duration = Duration::from_secs(30);
/// How often the age of the queue is looked at.
const QUEUE_INTERVAL: Duration = Duration::from_secs(15);

/// How long to wait after accounts could not be written.
const ACCOUNTS_PAUSE: Duration = Duration::from_secs(5);

/// What a store is to do.
#[derive(Debug, Clone)]
pub struct Config {
    /// The stack whose store it is.
    pub stack: LiveStack,
    /// The directory that it keeps everything in, and has to itself. With a `database`, only what is on its way there.
    pub data: PathBuf,
    /// The PostgreSQL database that it keeps everything in instead, with other stores of the stack.
    pub database: Option<DatabaseUrl>,
    /// Guards its API.
    pub token: Option<Token>,
    /// Where others of its process call it.
    pub in_process: InProcess,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// Measures its leases, retention and dates, and limits its calls.
    pub clock: Clock,
}

/// The sockets of a store, already bound.
#[derive(Debug)]
pub struct Listeners {
    /// Its API, health and metrics.
    pub http: HttpListener,
}

/// Why a store did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
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
/// [`ServiceError`], one line that names what to change.
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> Result<(), ServiceError> {
    let mut registry = service_kit::metrics::registry("mailbox-store");
    let metrics = Metrics::new(&mut registry);
    let Config { stack, data, database, clock, .. } = &config;
    let store = open(&stack.current(), data.clone(), database.clone(), clock.clone(), metrics.clone()).await?;
    if clock.wall.is_virtual()
        && let Some(newest) = store.newest_event_at().await?
    {
        // Time does not go back, also when the store was stopped later than it starts now. Beyond the range of the clock, it stays.
        let _ = clock.wall.move_to(newest);
    }
    let announced_in = database.is_none().then(|| data.clone());
    let announcing = telemetry::spawn(announce(announced_in, listeners.http.local_addr()?, clock.io));
    let served = serve_store(Arc::clone(&store), config, (registry, metrics), listeners, shutdown).await;
    announcing.abort();
    store.close().await;
    served
}

/// Serves an open store until `shutdown`.
async fn serve_store(
    store: Arc<dyn Store>,
    Config { stack, data, token, in_process, faults, clock, .. }: Config,
    (registry, metrics): (Registry, Metrics),
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), ServiceError> {
    let at_start = stack.current();
    check_accounts(&at_start)?;
    log_test_bed(&at_start, None);
    let accounts = Arc::new(Accounts::new(Arc::clone(&store), &data, clock.io));
    let known = synchronise_at_start(&accounts, &*store, Arc::clone(&at_start)).await?;
    let admission = Arc::new(Admission::new(Arc::clone(&accounts), stack.clone()));
    let throttle = Throttle::new(stack.clone(), clock.clone(), metrics.clone(), shutdown.clone());
    let maintenance = Arc::new(Maintenance {
        store: store.clone(),
        admission: admission.clone(),
        stack: stack.clone(),
        wall: clock.wall.clone(),
    });
    let tasks = [
        telemetry::spawn(watch_queue(store.clone(), metrics.clone(), clock.clone())),
        telemetry::spawn(maintain(Arc::clone(&maintenance), shutdown.clone())),
        telemetry::spawn(sweep(store.clone(), clock.io)),
        telemetry::spawn(watch_test_bed(stack.clone(), at_start)),
        telemetry::spawn(follow_accounts(Arc::clone(&accounts), stack.clone(), known, store.restores(), clock.io)),
        telemetry::spawn(stop_waiting(store.clone(), shutdown.clone())),
    ];
    let (api, description) = api::routes(Arc::new(Api {
        accounts: store.clone(),
        messages: store.clone(),
        events: store.clone(),
        maildrops: store.clone(),
        queue: store.clone(),
        snapshots: store.clone(),
        admission,
        logins: Logins::new(Arc::clone(&accounts), throttle, metrics.clone()),
        login_delays: LoginDelays::new(stack.clone(), clock.wall.clone()),
        metrics,
        event_streams: Arc::new(Semaphore::new(EVENT_STREAMS)),
        stack: stack.clone(),
        clock: clock.clone(),
        shutdown: shutdown.clone(),
    }));
    let (api, description) = with_faults((api, description), faults, &stack, clock.io);
    let metrics = Arc::new(registry);
    let (readiness, hosts) = (readiness(store), stack.http_hosts());
    let schedule = Some(maintenance as Arc<dyn Schedule>);
    let service = HttpService { api, description, metrics, readiness, token, hosts, in_process, clock, schedule };
    let checking = accounts.check_all(shutdown.clone());
    let (served, ()) = tokio::join!(serve(listeners.http, service, shutdown), checking);
    tasks.iter().for_each(JoinHandle::abort);
    Ok(served?)
}

/// The routes, of which requests can go wrong on purpose where the configuration does not forbid it.
fn with_faults(
    (api, mut description): (Router, OpenApi),
    faults: Faults,
    stack: &LiveStack,
    io: IoClock,
) -> (Router, OpenApi) {
    let stack = stack.current();
    if !stack.faults.api && stack.faults.at_start.is_empty() {
        return (api, description);
    }
    let (routes, of_faults) = service_kit::faults::routes(faults.clone(), &stack.faults).split_for_parts();
    description.merge(of_faults);
    (api.merge(routes).layer(middleware::from_fn_with_state((faults, io), api::go_wrong)), description)
}

/// Tells of what the configuration allows that is for tests only, as far as the one before did not.
fn log_test_bed(stack: &Stack, before: Option<&Stack>) {
    if stack.auth == Auth::Any && before.is_none_or(|before| before.auth != stack.auth) {
        facts::StoreEveryLogin {}.log();
    }
    let addresses = |stack: &Stack| (stack.accept, stack.takes_every_domain());
    if stack.accept == Accept::Any && before.is_none_or(|before| addresses(before) != addresses(stack)) {
        facts::StoreEveryAddress {}.log();
    }
}

/// Tells of it after each change, too.
async fn watch_test_bed(mut stack: LiveStack, mut before: Arc<Stack>) {
    loop {
        let changed = stack.changed().await;
        log_test_bed(&changed, Some(&before));
        before = changed;
    }
}

pub(crate) async fn open(
    stack: &Stack,
    data: PathBuf,
    database: Option<DatabaseUrl>,
    clock: Clock,
    metrics: Metrics,
) -> Result<Arc<dyn Store>, ServiceError> {
    let adds_return_path = stack.profile == Profile::Rfc;
    if let Some(database) = database {
        let stack = stack.name.to_string();
        let options = postgres::Options { database, stack, spool: data, adds_return_path, clock, metrics };
        return Ok(Arc::new(PostgresStore::open(options).await?));
    }
    let options = sqlite::Options { directory: data, stack: stack.name.to_string(), adds_return_path, clock, metrics };
    Ok(Arc::new(telemetry::spawn_blocking(|| SqliteStore::open(options)).await??))
}

/// Refuses a configuration with a password that nobody could log in with.
pub(crate) fn check_accounts(stack: &Stack) -> Result<(), ServiceError> {
    let unusable = stack.accounts.iter().find_map(|(address, password)| accounts::check(address, password).err());
    unusable.map_or(Ok(()), |error| Err(ServiceError::Account { config: stack.config_path().to_owned(), error }))
}

/// Takes over the accounts of the first configuration, and returns it. `None` where the storage takes no changes now, and
/// the store has all the mailboxes from before: then it can serve.
async fn synchronise_at_start(
    accounts: &Accounts,
    store: &dyn Store,
    stack: Arc<Stack>,
) -> Result<Option<Arc<Stack>>, ServiceError> {
    let error = match accounts.synchronise(&stack).await {
        Err(error @ StoreError::Unavailable(_)) => error,
        synchronised => return Ok(synchronised.map(|()| Some(stack))?),
    };
    for address in stack.accounts.keys() {
        // Mail for it would be refused for good.
        if let Err(StoreError::MailboxUnknown) = store.mailbox(address).await {
            return Err(error.into());
        }
    }
    facts::StoreAccountsKept { error }.log();
    Ok(None)
}

/// Brings the store's accounts in line with each new configuration, and after each restore. `known` is the configuration that
/// they are in line with.
async fn follow_accounts(
    accounts: Arc<Accounts>,
    mut stack: LiveStack,
    mut known: Option<Arc<Stack>>,
    mut restores: Option<watch::Receiver<()>>,
    io: IoClock,
) {
    let mut wanted = stack.current();
    let mut is_told = known.is_none();
    loop {
        while known.as_ref().is_some_and(|known| wanted.has_mailboxes_of(known)) {
            tokio::select! {
                changed = stack.changed() => wanted = changed,
                () = restored(&mut restores) => known = None,
            }
            is_told = false;
        }
        let synchronised = async {
            check_accounts(&wanted)?;
            Ok(accounts.synchronise(&wanted).await?)
        };
        match synchronised.await {
            Ok(()) => {
                facts::StoreAccountsRead { accounts: wanted.accounts.len() }.log();
                known = Some(Arc::clone(&wanted));
            }
            Err::<(), ServiceError>(error) => {
                if !is_told {
                    facts::StoreAccountsKept { error }.log();
                    is_told = true;
                }
                if let Ok(changed) = io.timeout(ACCOUNTS_PAUSE, stack.changed()).await {
                    wanted = changed;
                    is_told = false;
                }
            }
        }
    }
}

/// At the end of the service, whoever waits under a hold is told to come again.
async fn stop_waiting(store: Arc<dyn Snapshots>, shutdown: CancellationToken) {
    shutdown.cancelled().await;
    store.stop_waiting();
}

/// Returns once the store was restored.
async fn restored(restores: &mut Option<watch::Receiver<()>>) {
    if let Some(restores) = restores
        && restores.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// Says in the directory of a store where it can be asked, as soon as the storage allows.
async fn announce(directory: Option<PathBuf>, address: SocketAddr, io: IoClock) {
    let Some(directory) = directory else { return };
    let mut is_told = false;
    while let Err(error) = sqlite::announce(&directory, address) {
        if !is_told {
            facts::StoreMaintenanceFailed { task: "announce for imports", error }.log();
            is_told = true;
        }
        io.sleep(ACCOUNTS_PAUSE).await;
    }
}

fn readiness(store: Arc<dyn Lifecycle>) -> Readiness {
    Arc::new(move || {
        let store = Arc::clone(&store);
        Box::pin(async move { store.probe().await.map_err(|error| error.to_string()) })
    })
}

async fn maintain(maintenance: Arc<Maintenance>, shutdown: CancellationToken) {
    let wall = &maintenance.wall;
    let mut due_at = wall.now();
    while shutdown.run_until_cancelled(wall.sleep_until(due_at)).await.is_some() {
        due_at = wall.now() + MAINTENANCE_INTERVAL;
        maintenance.carry_out().await;
    }
}

/// Shows how long the queue has been waiting. While it cannot be read, the last numbers stay.
async fn watch_queue(store: Arc<dyn Queue>, metrics: Metrics, clock: Clock) {
    loop {
        if let Ok(Backlog { oldest, held }) = store.backlog().await {
            let age = oldest.map(|oldest| clock.wall.now().duration_since(oldest));
            metrics.queue_oldest.set(age.map_or(0, |age| age.as_secs().max(0)));
            metrics.queue_held.set(i64::try_from(held).unwrap_or(i64::MAX));
        }
        clock.io.sleep(QUEUE_INTERVAL).await;
    }
}

/// Removes what was deleted, portion by portion. Rests for as long as each took, so that others get to write.
async fn sweep(store: Arc<dyn Lifecycle>, io: IoClock) {
    let mut deletions = store.deletions();
    loop {
        let started = io.instant();
        match store.sweep().await {
            Ok(true) => io.sleep(io.since(started)).await,
            Ok(false) => {
                // Another store of the same database may have left something.
                let changed = io.timeout(MAINTENANCE_INTERVAL, deletions.changed()).await;
                if matches!(changed, Ok(Err(_))) {
                    return;
                }
            }
            Err(error) => {
                facts::StoreMaintenanceFailed { task: "remove deleted messages", error }.log();
                io.sleep(SWEEP_PAUSE).await;
            }
        }
    }
}
