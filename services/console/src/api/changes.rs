//! What changes the town: deleting mail, and beginning anew.

use super::{
    App,
    extract::{Path, Query, mail_query, message},
    invalid,
};
use crate::{deletion::Deletion, query};
use axum::{Json, extract::State, http::StatusCode};
use internal_api::{MessageId, Problem, ProblemKind};
use serde::Deserialize;
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Which messages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    query: String,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(delete)).routes(routes!(delete_one)).routes(routes!(reset))
}

/// Deletes messages from maildrops and from the queue. Their senders are not told.
#[utoipa::path(
    delete, path = "/v1/mail", operation_id = "delete_mail", tag = "mail",
    params(("query" = String, Query, description = "Which messages; all when it is empty")),
    responses((status = 200, description = "What was deleted", body = Deletion)),
)]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Query(wanted): Query<DeleteQuery>,
) -> Result<Json<Deletion>, Problem> {
    let query = mail_query(Some(&wanted.query))?;
    if query.is_empty() && !wanted.query.trim().is_empty() {
        return Err(invalid("query: it means nothing; all mail is deleted only when it is empty"));
    }
    app.caught_up().await;
    Ok(Json(app.delete(app.places(&query).await?).await?))
}

/// Deletes a message from maildrops and from the queue. Its sender is not told.
#[utoipa::path(
    delete, path = "/v1/mail/{id}", operation_id = "delete_one_mail", tag = "mail",
    params(("id" = MessageId, Path)),
    responses(
        (status = 204, description = "No store has it any more"),
        (status = 404, description = "The console knows no such message"),
        (status = 409, description = "A user has the maildrop open, or a relay worker the message; try again soon"),
    ),
)]
pub(super) async fn delete_one(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let id = message(&id)?;
    app.mail(id).await?;
    let deletion = app.delete(app.index.places_of(vec![id]).await?).await?;
    match deletion.not_deleted.into_iter().next() {
        None => Ok(StatusCode::NO_CONTENT),
        Some(failed) => Err(Problem::new(ProblemKind::MaildropInUse, failed.reason)),
    }
}

/// Begins anew: deletes all mail and the whole queue, forgets the sessions that have ended, and lets nothing go
/// wrong on purpose. Accounts and zone stay.
#[utoipa::path(
    post, path = "/v1/reset", operation_id = "reset", tag = "town",
    responses((status = 200, description = "What was deleted", body = Deletion)),
)]
pub(super) async fn reset(State(app): State<Arc<App>>) -> Result<Json<Deletion>, Problem> {
    app.caught_up().await;
    let deletion = app.delete(app.places(&query::Query::default()).await?).await?;
    app.index.forget_gone().await?;
    if let Err(problem) = app.faults.begin_anew().await {
        // No service has told of any.
        tracing::debug!(%problem, "the faults were not cleared");
    }
    Ok(Json(deletion))
}
