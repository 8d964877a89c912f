//! Messages: submitting and looking at them.

use super::{
    Api,
    extract::{PageQuery, Path, Query, message},
    frames,
};
use crate::store::StoredMessage;
use axum::{Json, body::Body, extract::State, http::StatusCode};
use mail_api::{Accepted, Message, MessagePage, Problem, Submission};
use std::sync::Arc;

/// Submits a message: a line of JSON (a `Submission`), ended by LF, then the message's octets.
#[utoipa::path(
    post, path = "/v1/messages", tag = "messages",
    request_body(content = Vec<u8>, content_type = "application/vnd.mailtown.frame",
        description = "A Submission as one line of JSON, a LF, then the message, in which CR and LF come only as CRLF"),
    responses(
        (status = 201, body = Accepted, description = "The message is durable"),
        (status = 200, body = Accepted, description = "It was so already: a repeat of the same transaction"),
    ),
)]
pub(super) async fn submit(State(api): State<Arc<Api>>, body: Body) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let (submission, message) = frames::read::<Submission>(body, api.message_octets).await?;
    let submitted = api.store.submit(submission, message).await?;
    let status = if submitted.repeated { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(Accepted { id: submitted.id })))
}

/// The messages here, in order of arrival.
#[utoipa::path(
    get, path = "/v1/messages", tag = "messages",
    params(
        ("after" = Option<String>, Query, description = "The last page's next_after", pattern = "^[0-9a-f][0-9a-hjkmnp-tv-z]{12}$"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1000 unless given"),
    ),
    responses((status = 200, body = MessagePage)),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(page): Query<PageQuery>,
) -> Result<Json<MessagePage>, Problem> {
    Ok(Json(api.store.messages(page.after_message()?, page.limit()?).await?))
}

/// A message's envelope, and where it is.
#[utoipa::path(
    get, path = "/v1/messages/{id}", tag = "messages",
    params(("id" = String, Path, example = "06gk2w1s8n4qz")),
    responses((status = 200, body = Message)),
)]
pub(super) async fn show(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Message>, Problem> {
    Ok(Json(api.store.message(message(&id)?).await?))
}

/// A message as it was received.
#[utoipa::path(
    get, path = "/v1/messages/{id}/raw", tag = "messages",
    params(("id" = String, Path, example = "06gk2w1s8n4qz")),
    responses((status = 200, body = Vec<u8>, content_type = "message/rfc822")),
)]
pub(super) async fn raw(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StoredMessage, Problem> {
    Ok(api.store.raw(message(&id)?).await?)
}
