//! Messages: submitting and looking at them.

use super::{
    Api,
    extract::{Frame, PageQuery, Path, Query, message},
    frames,
};
use crate::store::StoredMessage;
use axum::{Json, extract::State, http::StatusCode};
use internal_api::{Accepted, Message, MessageId, MessagePage, Problem, Submission, text};
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list, submit)).routes(routes!(show)).routes(routes!(raw))
}

/// Submits a message: a line of JSON (a `Submission`), ended by LF, then the message's octets.
#[utoipa::path(
    post, path = "/v1/messages", operation_id = "submit_message", tag = "messages",
    request_body(content = text::Octets, content_type = "application/vnd.mailtown.frame",
        description = "A Submission as one line of JSON, a LF, then the message, in which CR and LF come only as CRLF"),
    responses(
        (status = 201, body = Accepted, description = "The message is durable", links(
            ("message" = (operation_id = "show_message", parameters(("id" = "$response.body#/id")))),
            ("raw" = (operation_id = "read_message", parameters(("id" = "$response.body#/id")))),
        )),
        (status = 200, body = Accepted, description = "It was so already: a repeat of the same transaction"),
    ),
)]
pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    Frame(body): Frame,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let (submission, message) = frames::read::<Submission>(body, api.message_octets()).await?;
    let transaction = submission.transaction.clone();
    let submitted = api.submit(submission, message).await?;
    facts::StoreSubmitted { message_id: submitted.id, transaction, repeated: submitted.repeated }.log();
    let status = if submitted.repeated { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(submitted.into())))
}

/// The messages here, in order of arrival.
#[utoipa::path(
    get, path = "/v1/messages", operation_id = "list_messages", tag = "messages",
    params(
        ("after" = Option<MessageId>, Query, description = "The last page's next_after"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1000 unless given"),
    ),
    responses((status = 200, description = "A page of messages", body = MessagePage, links(
        ("message" = (operation_id = "show_message", parameters(("id" = "$response.body#/messages/0/id")))),
        ("raw" = (operation_id = "read_message", parameters(("id" = "$response.body#/messages/0/id")))),
    ))),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(page): Query<PageQuery>,
) -> Result<Json<MessagePage>, Problem> {
    Ok(Json(api.messages.messages(page.after_message()?, page.limit()?).await?))
}

/// A message's envelope, and where it is.
#[utoipa::path(
    get, path = "/v1/messages/{id}", operation_id = "show_message", tag = "messages",
    params(("id" = MessageId, Path)),
    responses(
        (status = 200, description = "The message", body = Message),
        (status = 404, description = "No such message, or not any more"),
        (status = 500, description = "The message is damaged"),
    ),
)]
pub(super) async fn show(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Json<Message>, Problem> {
    Ok(Json(api.messages.message(message(&id)?).await?))
}

/// A message as it was received.
#[utoipa::path(
    get, path = "/v1/messages/{id}/raw", operation_id = "read_message", tag = "messages",
    params(("id" = MessageId, Path)),
    responses(
        (status = 200, description = "The message", body = text::Octets, content_type = "message/rfc822"),
        (status = 404, description = "No such message, or not any more"),
        (status = 500, description = "The message is damaged"),
    ),
)]
pub(super) async fn raw(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<StoredMessage, Problem> {
    Ok(api.messages.raw(message(&id)?).await?)
}
