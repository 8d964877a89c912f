//! Mail: listing and reading.

use super::{
    App,
    extract::{Path, Query, from_one, mail_query, message, since},
    invalid, stream,
};
use crate::{
    index::SearchPage,
    model::{Mail, MailPage},
};
use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use internal_api::{MessageId, Problem};
use serde::Deserialize;
use service_kit::http::event_stream;
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How many messages a page has, unless asked otherwise, and at most.
const PAGE: u32 = 50;
const MOST: u32 = 1000;
/// Which messages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MailQuery {
    query: Option<String>,
    since: Option<String>,
    before: Option<String>,
    limit: Option<u32>,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

/// The mail of all stacks, the newest first. A caller that asks for `text/event-stream` gets each new message, after `since`
/// or `Last-Event-ID`.
#[utoipa::path(
    get, path = "/v1/mail", operation_id = "list_mail", tag = "mail",
    params(
        ("query" = Option<String>, Query, description = "Which messages, in Mailpit's language and a town's"),
        ("since" = Option<String>, Query, description = "Only what has come after this checkpoint or message"),
        ("before" = Option<String>, Query, description = "The last page's next"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "50 unless given"),
    ),
    responses((status = 200, description = "A page of mail, or a stream of new mail", content(
        (MailPage = "application/json"),
        (String = "text/event-stream"),
    ))),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(wanted): Query<MailQuery>,
) -> Result<Response, Problem> {
    let query = mail_query(wanted.query.as_deref())?;
    let limit = from_one("limit", wanted.limit, PAGE, MOST)? as usize;
    let before = wanted.before.as_deref().map(str::parse).transpose();
    let before = before.map_err(|error| invalid(format!("before: {error}")))?;
    let resumed = event_stream::last_event_id(&headers);
    let since = since(resumed.or(wanted.since.as_deref()))?;
    if event_stream::accepts(&headers) {
        return stream::mail(app, query, since).await;
    }
    app.caught_up().await;
    let page = app.index.search(&query, SearchPage { since, before, offset: 0, limit }).await?;
    Ok(Json(page).into_response())
}

/// A message with all that is in it, and all that has happened to it.
#[utoipa::path(
    get, path = "/v1/mail/{id}", operation_id = "show_mail", tag = "mail",
    params(("id" = MessageId, Path)),
    responses(
        (status = 200, description = "The message", body = Mail),
        (status = 404, description = "The console knows no such message"),
    ),
)]
pub(super) async fn show(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Mail>, Problem> {
    Ok(Json(app.mail(message(&id)?).await?))
}
