//! Sessions: who spoke with the town, and what was said.

use super::{
    App,
    extract::{Path, Query, from_one, message},
    invalid, session_stream, trace,
};
use crate::index::SessionFilter;
use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use internal_api::{MessageId, Problem, Protocol, RecordedSession, SessionId, SessionRecords};
use serde::{Deserialize, Serialize};
use service_kit::http::event_stream;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How many sessions a page has, unless asked otherwise, and at most.
const PAGE: u32 = 100;
const MOST: u32 = 1000;

/// Which sessions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionsQuery {
    stack: Option<String>,
    service: Option<String>,
    failed: Option<bool>,
    open: Option<bool>,
    protocol: Option<Protocol>,
    peer: Option<String>,
    user: Option<String>,
    message: Option<String>,
    refused: Option<String>,
    before: Option<String>,
    since: Option<String>,
    limit: Option<u32>,
}

/// A page of sessions, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sessions {
    /// The sessions of this page.
    pub sessions: Vec<RecordedSession>,
    /// Pass this as `before` to read on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<SessionId>,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

/// The sessions of all services, the newest first. A caller that asks for `text/event-stream` gets each session that begins
/// (`opened`) or ends (`closed`) and matches then, after `since` or `Last-Event-ID`.
#[utoipa::path(
    get, path = "/v1/sessions", operation_id = "list_sessions", tag = "sessions",
    params(
        ("stack" = Option<String>, Query, description = "Only those of this server's stack"),
        ("service" = Option<String>, Query, description = "Only those that this service has seen, such as smtp-gateway"),
        ("failed" = Option<bool>, Query, description = "true: only those in which something was refused, that broke off, or in which nobody said anything. Whether one that lasts breaks off is known at its end"),
        ("open" = Option<bool>, Query, description = "true: only those that last; false: only those that have ended"),
        ("protocol" = Option<Protocol>, Query, description = "Only those in this protocol"),
        ("peer" = Option<String>, Query, description = "Only those with a peer whose address begins so"),
        ("user" = Option<String>, Query, description = "Only those of a user whose name has this text"),
        ("message" = Option<MessageId>, Query, description = "Only those that have handled this message"),
        ("refused" = Option<String>, Query, description = "Only those in which this address was refused"),
        ("before" = Option<String>, Query, description = "The last page's next"),
        ("since" = Option<String>, Query, description = "For a stream: the id of an event, or a cursor of /v1/trace"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "100 unless given"),
    ),
    responses((status = 200, description = "A page of sessions, or a stream of those that begin or end", content(
        (Sessions = "application/json"),
        (String = "text/event-stream"),
    ))),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(wanted): Query<SessionsQuery>,
) -> Result<Response, Problem> {
    let limit = from_one("limit", wanted.limit, PAGE, MOST)? as usize;
    let since = trace::place("since", event_stream::last_event_id(&headers).or(wanted.since.as_deref()))?;
    let filter = wanted.filter()?;
    if event_stream::accepts(&headers) {
        return session_stream::sessions(app, filter, since);
    }
    app.traces_caught_up().await;
    let page = app.index.sessions(filter, limit).await?;
    Ok(Json(Sessions { sessions: page.sessions, next: page.next_before }).into_response())
}

impl SessionsQuery {
    fn filter(self) -> Result<SessionFilter, Problem> {
        let Self { stack, service, failed, open, protocol, peer, user, message: of, refused, before, .. } = self;
        let protocol = protocol.map(protocol_name);
        let before = before.as_deref().map(str::parse).transpose();
        let before = before.map_err(|error| invalid(format!("before: {error}")))?;
        let message = of.as_deref().map(message).transpose()?;
        let failed = failed.unwrap_or(false);
        let all = SessionFilter::default();
        Ok(SessionFilter { stack, service, failed, open, protocol, peer, user, message, refused, before, ..all })
    }
}

/// A session with all that was said in it, as far as it is kept.
#[utoipa::path(
    get, path = "/v1/sessions/{id}", operation_id = "show_session", tag = "sessions",
    params(("id" = SessionId, Path)),
    responses(
        (status = 200, description = "The session", body = SessionRecords),
        (status = 404, description = "The console knows no such session, or not any more"),
    ),
)]
pub(super) async fn show(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<SessionRecords>, Problem> {
    app.session_records(&id).await.map(Json)
}

/// A protocol as it travels.
pub(crate) fn protocol_name(protocol: Protocol) -> String {
    let name = serde_json::to_value(protocol).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}
