//! One message of the outbound queue, for the operator: looking at it, and deciding about it.

use super::{
    Api,
    extract::{Path, message},
    queue::tell_expiry,
};
use crate::store::{QueueAction, StoreError};
use axum::{Json, extract::State, http::StatusCode};
use internal_api::{Flushed, MessageId, Problem, QueuedMessage};
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(show, remove))
        .routes(routes!(retry))
        .routes(routes!(hold))
        .routes(routes!(release))
        .routes(routes!(give_up))
}

/// A message of the queue, and for whom it waits.
#[utoipa::path(
    get, path = "/v1/queue/{id}", operation_id = "show_queued", tag = "queue",
    params(("id" = MessageId, Path)),
    responses(
        (status = 200, description = "What waits", body = QueuedMessage),
        (status = 404, description = "No such message, or it is not in the queue"),
    ),
)]
pub(super) async fn show(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<QueuedMessage>, Problem> {
    let mut entries = api.queue.queued(message(&id)?).await?;
    tell_expiry(&api, &mut entries);
    let mut entries = entries.into_iter();
    let mut queued = entries.next().map(QueuedMessage::from).ok_or(StoreError::NotQueued)?;
    entries.for_each(|entry| queued.add(entry));
    Ok(Json(queued))
}

/// Removes a message from the queue, for all recipients for whom it waits. Its sender is not told. Maildrops keep it.
#[utoipa::path(
    delete, path = "/v1/queue/{id}", operation_id = "remove_queued", tag = "queue",
    params(("id" = MessageId, Path)),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "No such message, or it is not in the queue"),
        (status = 409, description = "A relay worker is trying to send it; nothing was changed"),
    ),
)]
pub(super) async fn remove(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    act(&api, &id, QueueAction::Remove).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a message due now, for all recipients that nobody is trying already. Attempts go on being counted.
#[utoipa::path(
    post, path = "/v1/queue/{id}/retry", operation_id = "retry_queued", tag = "queue",
    params(("id" = MessageId, Path)),
    responses(
        (status = 200, description = "Done", body = Flushed),
        (status = 404, description = "No such message, or it is not in the queue"),
        (status = 409, description = "It is on hold; release it first"),
    ),
)]
pub(super) async fn retry(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Flushed>, Problem> {
    Ok(Json(Flushed { entries: act(&api, &id, QueueAction::Retry).await? }))
}

/// Puts a message on hold: it is not tried, does not expire, and nobody is told of a delay, until it is released. An attempt
/// that has begun goes on.
#[utoipa::path(
    post, path = "/v1/queue/{id}/hold", operation_id = "hold_queued", tag = "queue",
    params(("id" = MessageId, Path)),
    responses(
        (status = 204, description = "It is on hold"),
        (status = 404, description = "No such message, or it is not in the queue"),
    ),
)]
pub(super) async fn hold(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    act(&api, &id, QueueAction::Hold).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Releases a message that is on hold: it is due now. One that is not on hold stays as it is.
#[utoipa::path(
    post, path = "/v1/queue/{id}/release", operation_id = "release_queued", tag = "queue",
    params(("id" = MessageId, Path)),
    responses(
        (status = 204, description = "It is not on hold"),
        (status = 404, description = "No such message, or it is not in the queue"),
    ),
)]
pub(super) async fn release(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    act(&api, &id, QueueAction::Release).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a message up, for all recipients for whom it waits, on hold or not. Nobody is asked any more: the next gateway that
/// claims it writes the failure message to its sender.
#[utoipa::path(
    post, path = "/v1/queue/{id}/give-up", operation_id = "give_up_queued", tag = "queue",
    params(("id" = MessageId, Path)),
    responses(
        (status = 204, description = "It is given up"),
        (status = 404, description = "No such message, or it is not in the queue"),
        (status = 409, description = "A relay worker is trying to send it; nothing was changed"),
    ),
)]
pub(super) async fn give_up(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    act(&api, &id, QueueAction::GiveUp).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Does it, and logs it; returns how many recipients it has changed.
async fn act(api: &Api, id: &str, action: QueueAction) -> Result<u64, Problem> {
    let message_id = message(id)?;
    let recipients = api.queue.act(message_id, action).await?;
    if recipients > 0 {
        facts::StoreQueueChanged { message_id, recipients, change: action.name() }.log();
    }
    Ok(recipients)
}
