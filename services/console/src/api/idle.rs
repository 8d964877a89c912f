//! Checkpoints, and when nothing is under way.

use super::{
    App,
    extract::{Query, within},
};
use crate::services::ServiceKind;
use axum::{Json, extract::State};
use futures_util::future::join_all;
use internal_api::{ApiError, EventPosition, Problem, QueueEntry, StoreClient};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long a call waits unless told otherwise, and at most, in seconds.
const TIMEOUT: u32 = 10;
const LONGEST: u32 = 60;
/// How long a change is waited for before it is looked again: a lease that ends changes nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A place in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Checkpoint {
    /// Pass this as `since`: all that was accepted before this call is left out.
    cursor: String,
}

/// How long to wait.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdleQuery {
    timeout: Option<u32>,
}

/// What is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Idle {
    /// Whether nothing is: no transaction is open, and nothing is claimed or due.
    idle: bool,
    /// SMTP transactions that clients have begun and not ended, as far as the gateways keep records.
    open_transactions: usize,
    /// Recipients in a queue that a relay worker is trying now.
    claimed: usize,
    /// Recipients in a queue that are tried as soon as a worker is free.
    due: usize,
    /// Recipients in a queue that are tried later. They keep nothing from being idle.
    deferred: usize,
    /// Recipients in a queue that an operator has put on hold.
    held: usize,
    /// The stores that do not answer, and the SMTP gateways that do not answer or keep no records: what is under way there is
    /// not known. It keeps the town from being idle.
    unknown: Vec<String>,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(checkpoint)).routes(routes!(idle))
}

/// Returns a cursor behind all mail that was accepted before. A test that passes it as `since` sees its own mail only, and
/// needs to delete none.
#[utoipa::path(
    post, path = "/v1/checkpoint", operation_id = "checkpoint", tag = "town",
    responses((status = 200, description = "The place", body = Checkpoint)),
)]
pub(super) async fn checkpoint(State(app): State<Arc<App>>) -> Result<Json<Checkpoint>, Problem> {
    app.caught_up().await;
    Ok(Json(Checkpoint { cursor: app.index.checkpoint().await?.to_string() }))
}

/// Waits until nothing is under way: then no more mail comes of what was sent, except what is deferred.
#[utoipa::path(
    get, path = "/v1/idle", operation_id = "wait_until_idle", tag = "town",
    params(
        ("timeout" = Option<u32>, Query, minimum = 0, maximum = 60, description = "How many seconds; 10 unless given"),
    ),
    responses((status = 200, description = "Nothing is under way, or the time is up", body = Idle)),
)]
pub(super) async fn idle(State(app): State<Arc<App>>, Query(wanted): Query<IdleQuery>) -> Result<Json<Idle>, Problem> {
    let timeout = Duration::from_secs(within("timeout", wanted.timeout, TIMEOUT, LONGEST)?.into());
    let deadline = app.clock.io.instant() + timeout;
    let mut changes = app.index.changes();
    loop {
        changes.mark_unchanged();
        let (mut state, before) = app.under_way().await?;
        if state.is_quiet() {
            // Mail goes from one store to another while they are asked. It is at rest when nothing has happened from one look
            // to the next.
            let (again, after) = app.under_way().await?;
            state = Idle { idle: again.is_quiet() && before == after, ..again };
        }
        if state.idle {
            return Ok(Json(state));
        }
        tokio::select! {
            _ = app.clock.io.timeout(LOOK_AGAIN, changes.changed()) => {}
            () = app.clock.io.sleep_until(deadline) => return Ok(Json(state)),
            () = app.shutdown.cancelled() => return Ok(Json(state)),
        }
    }
}

impl App {
    /// What is under way, and the positions of the stores' last events before it was looked.
    pub(super) async fn under_way(&self) -> Result<(Idle, Vec<Option<EventPosition>>), Problem> {
        let unknown = self.town.traces_caught_up().await;
        let mut state = Idle { unknown, ..Idle::default() };
        let positions = self.last_events().await;
        self.caught_up().await;
        state.open_transactions = self.index.open_transactions().await?;
        self.look_at_queues(&mut state).await;
        Ok((state, positions))
    }

    /// Whether no attempt to send is under way or due, whatever clients do. Mail goes from one store to another while they are
    /// asked, so nothing may happen meanwhile.
    pub(super) async fn queues_are_at_rest(&self) -> bool {
        let (before, mut state) = (self.last_events().await, Idle::default());
        self.look_at_queues(&mut state).await;
        state.is_quiet() && before == self.last_events().await
    }

    /// The positions of the stores' last events.
    async fn last_events(&self) -> Vec<Option<EventPosition>> {
        join_all(self.town.stores().iter().map(async |store| store.client.last_event().await.ok())).await
    }

    async fn look_at_queues(&self, state: &mut Idle) {
        let queues = self.town.stores().iter().map(async |store| (&store.stack, queue(&store.client).await));
        let now = self.clock.wall.now();
        for (stack, entries) in join_all(queues).await {
            match entries {
                Ok(entries) => entries.iter().for_each(|entry| state.add(entry, now)),
                Err(_) => state.unknown.push(format!("{} of {stack}", ServiceKind::Store.name())),
            }
        }
    }
}

/// All that waits in the queue of a store.
async fn queue(store: &StoreClient) -> Result<Vec<QueueEntry>, ApiError> {
    let (mut entries, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = store.queue(after.as_deref()).await?;
        entries.extend(page.entries);
        after = page.next_after;
        if after.is_none() {
            return Ok(entries);
        }
    }
}

impl Idle {
    /// The same of queues that are known to be at rest.
    pub(super) fn at_rest(self) -> Self {
        Self { idle: self.is_quiet(), ..self }
    }

    /// Whether nothing is known to be under way, and nothing is unknown.
    fn is_quiet(&self) -> bool {
        self.open_transactions + self.claimed + self.due == 0 && self.unknown.is_empty()
    }

    fn add(&mut self, entry: &QueueEntry, now: Timestamp) {
        let counter = match entry {
            entry if entry.leased => &mut self.claimed,
            entry if entry.held => &mut self.held,
            entry if entry.next_attempt_at <= now => &mut self.due,
            _ => &mut self.deferred,
        };
        *counter += 1;
    }
}
