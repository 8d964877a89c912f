//! Sessions: who spoke with the town, and what was said.

use super::{
    App,
    extract::{Path, Query, from_one, message},
    invalid,
};
use crate::index::SessionFilter;
use axum::{Json, extract::State};
use internal_api::{MessageId, Problem, ProblemKind, Protocol, RecordedSession, SessionId, SessionRecords};
use serde::{Deserialize, Serialize};
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
    limit: Option<u32>,
}

/// A page of sessions, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Sessions {
    /// The sessions of this page.
    sessions: Vec<RecordedSession>,
    /// Pass this as `before` to read on; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<SessionId>,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

/// The sessions of all services, the newest first.
#[utoipa::path(
    get, path = "/v1/sessions", operation_id = "list_sessions", tag = "sessions",
    params(
        ("stack" = Option<String>, Query, description = "Only those of this server's stack"),
        ("service" = Option<String>, Query, description = "Only those that this service has seen, such as smtp-gateway"),
        ("failed" = Option<bool>, Query, description = "true: only those in which something was refused, or that got no connection"),
        ("open" = Option<bool>, Query, description = "true: only those that last; false: only those that have ended"),
        ("protocol" = Option<Protocol>, Query, description = "Only those in this protocol"),
        ("peer" = Option<String>, Query, description = "Only those with a peer whose address begins so"),
        ("user" = Option<String>, Query, description = "Only those of a user whose name has this text"),
        ("message" = Option<MessageId>, Query, description = "Only those that have handled this message"),
        ("refused" = Option<String>, Query, description = "Only those in which this address was refused"),
        ("before" = Option<String>, Query, description = "The last page's next"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "100 unless given"),
    ),
    responses((status = 200, description = "A page of sessions", body = Sessions)),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(wanted): Query<SessionsQuery>,
) -> Result<Json<Sessions>, Problem> {
    let SessionsQuery { stack, service, failed, open, protocol, peer, user, message: of, refused, before, limit } =
        wanted;
    let protocol = protocol.map(protocol_name);
    let before = before.as_deref().map(str::parse).transpose();
    let before = before.map_err(|error| invalid(format!("before: {error}")))?;
    let message = of.as_deref().map(message).transpose()?;
    let failed = failed.unwrap_or(false);
    let filter =
        SessionFilter { stack, service, failed, open, role: None, protocol, peer, user, message, refused, before };
    let page = app.index.sessions(filter, from_one("limit", limit, PAGE, MOST)? as usize).await?;
    Ok(Json(Sessions { sessions: page.sessions, next: page.next_before }))
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
    let id = id.parse().map_err(|error| Problem::new(ProblemKind::NotFound, format!("{error}")))?;
    let found = app.index.session(id).await?;
    found.map(Json).ok_or_else(|| Problem::new(ProblemKind::NotFound, "no such session, or not any more"))
}

/// A protocol as it travels.
pub(crate) fn protocol_name(protocol: Protocol) -> String {
    let name = serde_json::to_value(protocol).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}
