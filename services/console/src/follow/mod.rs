//! Follows all services of the town, and puts what they tell into the index.

mod catch_up;
pub(crate) mod clocks;
mod events;
mod fetch;
mod trace;
mod traces;

pub(crate) use fetch::raw;
pub(crate) use trace::urls;

use crate::{
    index::Index,
    model::MailSummary,
    services::{Service, ServiceKind},
};
use catch_up::CatchingUp;
use clocks::ClockClients;
use futures_util::future::join_all;
use internal_api::{ApiError, Endpoint, EventPosition, Problem, ProblemKind, StoreClient};
use mail_net::IoClock;
use serde::{Deserialize, Serialize};
use service_kit::{http::Token, shutdown::CancellationToken, telemetry};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, mpsc, watch};
use traces::Traces;
use utoipa::ToSchema;

/// How long a service may keep a follower waiting for something new.
const WAIT: Duration = Duration::from_secs(25);
/// How long a service may take to tell its metrics.
const METRICS: Duration = Duration::from_secs(2);
/// The pauses before another try: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What all followers of a town know. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Town {
    stores: Arc<Vec<FollowedStore>>,
    gateways: Arc<Vec<Service>>,
    services: Arc<Vec<Service>>,
    clock_clients: ClockClients,
    states: States,
    traces: Traces,
    catching_up: CatchingUp,
    metrics: reqwest::Client,
    token: Option<Token>,
    io: IoClock,
}

/// A store, and how far it was followed.
#[derive(Debug, Clone)]
pub(crate) struct FollowedStore {
    /// The server name of its stack.
    pub(crate) stack: String,
    /// Calls it.
    pub(crate) client: StoreClient,
    applied: watch::Receiver<EventPosition>,
}

/// What a caller is told of a store that has failed.
pub(crate) trait StoreFailure {
    fn problem(&self, error: ApiError) -> Problem;
}

impl StoreFailure for FollowedStore {
    fn problem(&self, error: ApiError) -> Problem {
        let stack = &self.stack;
        match error {
            ApiError::Problem(problem) if problem.detail.is_empty() => {
                Problem { detail: format!("the mailbox-store of {stack}"), ..problem }
            }
            ApiError::Problem(problem) => {
                Problem { detail: format!("the mailbox-store of {stack}: {}", problem.detail), ..problem }
            }
            error => Problem::new(ProblemKind::Overloaded, format!("the mailbox-store of {stack}: {error}")),
        }
    }
}

/// How a service is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct FollowedService {
    /// The server name of its stack.
    pub(crate) stack: String,
    /// What it is, such as `smtp-gateway`.
    pub(crate) service: String,
    /// Where it is called.
    pub(crate) url: String,
    /// How it goes.
    pub(crate) state: FollowState,
    /// What it said when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// How many of its records are missing here, because there was no memory for them.
    pub(crate) dropped: u64,
}

/// How following a service goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FollowState {
    /// It was not reached yet.
    Starting,
    /// It tells what happens.
    Following,
    /// It does not answer now.
    Unreachable,
    /// It keeps no records of its sessions.
    RecordsNothing,
}

/// The states by URL.
#[derive(Debug, Clone, Default)]
struct States {
    states: Arc<Mutex<BTreeMap<String, FollowedService>>>,
    /// Notified when a service answers that did not before.
    came: Arc<Notify>,
}

/// What a follower needs.
#[derive(Debug, Clone)]
struct Follower {
    index: Index,
    states: States,
    traces: Traces,
    token: Option<Token>,
    io: IoClock,
    shutdown: CancellationToken,
    /// Gets each new message.
    announcements: Option<mpsc::Sender<MailSummary>>,
}

impl Town {
    /// Follows these services until `shutdown`. Each new message is sent to `announcements`, unless that is full.
    ///
    /// # Errors
    /// When the platform gives no HTTP client.
    pub(crate) fn follow(
        services: Vec<Service>,
        index: &Index,
        token: Option<Token>,
        io: IoClock,
        shutdown: &CancellationToken,
        announcements: Option<mpsc::Sender<MailSummary>>,
    ) -> Result<Self, ApiError> {
        let (states, traces) = (States::default(), Traces::default());
        let gateways = services.iter().filter(|service| service.kind == ServiceKind::Smtp).cloned().collect();
        let all = Arc::new(services.clone());
        let reader = token.clone();
        let follower = Follower {
            index: index.clone(),
            states: states.clone(),
            traces: traces.clone(),
            token,
            io,
            shutdown: shutdown.clone(),
            announcements,
        };
        let mut stores = Vec::new();
        for service in services {
            let until = shutdown.clone();
            if service.kind == ServiceKind::Store {
                let client = StoreClient::new(follower.endpoint(&service.url)?, io);
                let (tell, applied) = watch::channel(EventPosition::default());
                stores.push(FollowedStore { stack: service.stack.clone(), client: client.clone(), applied });
                let following = events::follow(follower.clone(), service, client, tell);
                telemetry::spawn(async move { until.run_until_cancelled(following).await.unwrap_or_default() });
            } else {
                let following = trace::follow_all(follower.clone(), service);
                telemetry::spawn(async move { until.run_until_cancelled(following).await.unwrap_or_default() });
            }
        }
        let stores = Arc::new(stores);
        let catching_up = CatchingUp::start(Arc::clone(&stores), io, shutdown);
        let metrics = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        let gateways = Arc::new(gateways);
        let (services, clock_clients) = (all, ClockClients::default());
        Ok(Self { stores, gateways, services, clock_clients, states, traces, catching_up, metrics, token: reader, io })
    }

    /// The stores, one for each stack.
    pub(crate) fn stores(&self) -> &[FollowedStore] {
        &self.stores
    }

    /// The store of a stack.
    pub(crate) fn store(&self, stack: &str) -> Option<&FollowedStore> {
        self.stores.iter().find(|store| store.stack == stack)
    }

    /// How each service is followed.
    pub(crate) fn services(&self) -> Vec<FollowedService> {
        self.states.lock().values().cloned().collect()
    }

    /// What the service at this URL counts, in the text format of Prometheus; `None` when it does not answer in time.
    pub(crate) async fn metrics(&self, url: &str) -> Option<String> {
        let request = self.metrics.get(format!("{url}/metrics"));
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        let reading = async { request.send().await.ok()?.error_for_status().ok()?.text().await.ok() };
        self.io.timeout(METRICS, reading).await.ok()?
    }

    /// Waits until the index has all that has happened before this call, for a short time. A store that does not answer is not
    /// waited for.
    pub(crate) async fn caught_up(&self) {
        self.catching_up.wait().await;
    }

    /// Waits until the index has what the SMTP gateways have recorded before this call, for a short time. Returns those of
    /// which it has not: they do not answer, record nothing or have too much to tell.
    pub(crate) async fn traces_caught_up(&self) -> Vec<String> {
        let reached = self.gateways.iter().map(async |service| {
            let reached = self.traces.caught_up(service, self.io).await;
            (!reached).then(|| format!("{} of {}", service.kind.name(), service.stack))
        });
        join_all(reached).await.into_iter().flatten().collect()
    }
}

impl States {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, FollowedService>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, service: &Service, url: &str, state: FollowState, error: Option<String>) {
        let mut states = self.lock();
        let known = states.entry(url.to_owned()).or_insert_with(|| FollowedService {
            stack: service.stack.clone(),
            service: service.kind.name().to_owned(),
            url: url.to_owned(),
            state: FollowState::Starting,
            error: None,
            dropped: 0,
        });
        if known.state != state {
            if matches!(state, FollowState::Following | FollowState::RecordsNothing) {
                self.came.notify_one();
            }
            tracing::debug!(%service, url, ?state, error, "a service is followed in another way");
        }
        (known.state, known.error) = (state, error);
    }

    fn dropped(&self, url: &str, dropped: u64) {
        if let Some(known) = self.lock().get_mut(url) {
            known.dropped = dropped;
        }
    }

    fn forget(&self, url: &str) {
        self.lock().remove(url);
    }
}

impl Follower {
    fn endpoint(&self, url: &str) -> Result<Endpoint, ApiError> {
        crate::services::endpoint(url, self.token.as_ref())
    }
}

/// The pauses between tries: longer each time, up to a limit.
#[derive(Debug)]
struct Backoff(Duration);

impl Backoff {
    fn new() -> Self {
        Self(PAUSES.0)
    }

    async fn pause(&mut self, io: IoClock) {
        io.sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSES.1);
    }

    fn reset(&mut self) {
        *self = Self::new();
    }
}
