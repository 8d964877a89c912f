//! The queue of all stacks: what waits, and what can be done about it.

use super::{
    App,
    extract::{Path, Query, message},
    invalid,
};
use crate::follow::FollowedStore;
use axum::{Json, extract::State, http::StatusCode};
use internal_api::{ApiError, Flushed, MessageId, Problem, ProblemKind, QueueEntry, QueuedMessage};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// A queue entry, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitingMail {
    /// The server name of the stack.
    pub stack: String,
    /// The entry.
    #[serde(flatten)]
    pub entry: QueueEntry,
}

/// A message that waits, and where it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct WaitingMessage {
    /// The server name of the stack.
    stack: String,
    /// The message with its recipients.
    #[serde(flatten)]
    message: QueuedMessage,
}

/// A page of `GET /v1/queue`, stack by stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct TownQueue {
    /// The entries of this page.
    items: Vec<WaitingMail>,
    /// The stacks whose store does not answer: what waits there is not known.
    unreachable: Vec<String>,
    /// Pass this as `after` to read on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Which entries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QueueQuery {
    stack: Option<String>,
    after: Option<String>,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, remove))
        .routes(routes!(retry))
        .routes(routes!(give_up))
        .routes(routes!(hold))
        .routes(routes!(release))
}

/// What waits to be sent on, and what waits for room in a mailbox: each recipient with the last reply and the next attempt.
#[utoipa::path(
    get, path = "/v1/queue", operation_id = "list_queue", tag = "queue",
    params(
        ("stack" = Option<String>, Query, description = "Only what waits at this server"),
        ("after" = Option<String>, Query, description = "The last page's next"),
    ),
    responses((status = 200, description = "A page of the queue", body = TownQueue)),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(wanted): Query<QueueQuery>,
) -> Result<Json<TownQueue>, Problem> {
    let stores = app.town.stores().iter().filter(|store| wanted.stack.as_ref().is_none_or(|it| *it == store.stack));
    let stores: Vec<_> = stores.collect();
    let (mut place, mut after) = place(wanted.after.as_deref())?;
    let mut page = TownQueue { items: Vec::new(), unreachable: Vec::new(), next: None };
    while let Some(store) = stores.get(place).filter(|_| page.items.is_empty()) {
        match store.client.queue(after.as_deref()).await {
            Ok(found) => {
                let entries = found.entries.into_iter();
                page.items.extend(entries.map(|entry| WaitingMail { stack: store.stack.clone(), entry }));
                after = found.next_after;
            }
            Err(error) if error.kind() == Some(ProblemKind::InvalidRequest) => return Err(problem(error)),
            Err(_) => {
                page.unreachable.push(store.stack.clone());
                after = None;
            }
        }
        if after.is_none() {
            place += 1;
        }
    }
    if place < stores.len() {
        page.next = Some(format!("{place}.{}", after.unwrap_or_default()));
    }
    Ok(Json(page))
}

/// Which store a page begins with, and after what.
fn place(after: Option<&str>) -> Result<(usize, Option<String>), Problem> {
    let Some(after) = after.filter(|after| !after.is_empty()) else { return Ok((0, None)) };
    let parts = after.split_once('.').and_then(|(place, after)| Some((place.parse().ok()?, after)));
    let (place, after) = parts.ok_or_else(|| invalid("after: no cursor; give a page's next"))?;
    Ok((place, Some(after.to_owned()).filter(|after| !after.is_empty())))
}

/// A message that waits, with all recipients for whom it does.
#[utoipa::path(
    get, path = "/v1/queue/{id}", operation_id = "show_queued", tag = "queue",
    params(("id" = MessageId, Path)),
    responses(
        (status = 200, description = "The message", body = WaitingMessage),
        (status = 404, description = "It is in no queue, or not any more"),
    ),
)]
pub(super) async fn show(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<WaitingMessage>, Problem> {
    let (store, message) = app.queued(&id).await?;
    Ok(Json(WaitingMessage { stack: store.stack.clone(), message }))
}

/// Tries a message now.
#[utoipa::path(
    post, path = "/v1/queue/{id}/retry", operation_id = "retry_queued", tag = "queue",
    params(("id" = MessageId, Path)),
    responses(
        (status = 200, description = "It is due for so many recipients that it was not due for before", body = Flushed),
        (status = 404, description = "It is in no queue, or not any more"),
        (status = 409, description = "It is on hold; release it first"),
    ),
)]
pub(super) async fn retry(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Flushed>, Problem> {
    let (store, message) = app.queued(&id).await?;
    store.client.retry_queued(message.message).await.map(Json).map_err(problem)
}

/// Gives a message up for all recipients that it waits for: its sender gets a failure message, as after the last attempt.
#[utoipa::path(
    post, path = "/v1/queue/{id}/give-up", operation_id = "give_up_queued", tag = "queue",
    params(("id" = MessageId, Path)),
    responses(
        (status = 204, description = "It is given up"),
        (status = 404, description = "It is in no queue, or not any more"),
        (status = 409, description = "A relay worker has it; try again soon"),
    ),
)]
pub(super) async fn give_up(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let (store, message) = app.queued(&id).await?;
    store.client.give_up_queued(message.message).await.map_err(problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts a message on hold: it is not tried and does not expire until it is released.
#[utoipa::path(
    post, path = "/v1/queue/{id}/hold", operation_id = "hold_queued", tag = "queue",
    params(("id" = MessageId, Path)),
    responses(
        (status = 204, description = "It is on hold"),
        (status = 404, description = "It is in no queue, or not any more"),
    ),
)]
pub(super) async fn hold(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let (store, message) = app.queued(&id).await?;
    done(store.client.hold_queued(message.message).await)
}

/// Releases a message that is on hold, and tries it now.
#[utoipa::path(
    post, path = "/v1/queue/{id}/release", operation_id = "release_queued", tag = "queue",
    params(("id" = MessageId, Path)),
    responses(
        (status = 204, description = "It is not on hold"),
        (status = 404, description = "It is in no queue, or not any more"),
    ),
)]
pub(super) async fn release(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let (store, message) = app.queued(&id).await?;
    done(store.client.release_queued(message.message).await)
}

/// Gives a message up: it is removed from the queue for all recipients, and its sender is not told. Maildrops keep it.
#[utoipa::path(
    delete, path = "/v1/queue/{id}", operation_id = "remove_queued", tag = "queue",
    params(("id" = MessageId, Path)),
    responses(
        (status = 204, description = "It is in no queue any more"),
        (status = 404, description = "It is in no queue, or not any more"),
        (status = 409, description = "A relay worker is trying it; try again soon"),
    ),
)]
pub(super) async fn remove(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let (store, message) = app.queued(&id).await?;
    done(store.client.remove_queued(message.message).await)
}

impl App {
    /// The store in whose queue a message is, and the message.
    async fn queued(&self, id: &str) -> Result<(&FollowedStore, QueuedMessage), Problem> {
        let id = message(id)?;
        let mut silent = None;
        for store in self.town.stores() {
            match store.client.queued(id).await {
                Ok(Some(message)) => return Ok((store, message)),
                Ok(None) => {}
                // Another may have it.
                Err(error) => silent = silent.or(Some(error)),
            }
        }
        Err(silent.map_or_else(|| ProblemKind::NotQueued.into(), problem))
    }
}

/// What a store has answered, for those who ask the console.
pub(super) fn problem(error: ApiError) -> Problem {
    match error {
        ApiError::Problem(problem) if problem.kind != ProblemKind::Unauthorized => problem,
        ApiError::Problem(_) => {
            Problem::new(ProblemKind::Internal, "the store does not take the token that the console has")
        }
        error => Problem::new(ProblemKind::DatabaseUnavailable, format!("the store does not answer: {error}")),
    }
}

fn done(outcome: Result<(), ApiError>) -> Result<StatusCode, Problem> {
    outcome.map(|()| StatusCode::NO_CONTENT).map_err(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_store_and_place() {
        assert_eq!(place(None).unwrap(), (0, None));
        assert_eq!(place(Some("")).unwrap(), (0, None));
        assert_eq!(place(Some("1.")).unwrap(), (1, None));
        assert_eq!(place(Some("1.a.b")).unwrap(), (1, Some("a.b".to_owned())));
        for text in ["1", "x.y", "-1.a"] {
            assert!(place(Some(text)).is_err(), "{text}");
        }
    }
}
