//! Maildrop sessions: logging in, holding the lock, the UPDATE state.

use super::{
    Api,
    extract::{Json, Path, mailbox},
    lease,
};
use axum::{extract::State, http::StatusCode};
use mail_api::{MaildropSession, MaildropUpdate, OpenSession, Problem, ProblemKind, Renewal, text};
use std::sync::Arc;

/// Logs in, locks the maildrop and lists it.
#[utoipa::path(
    post, path = "/v1/mailboxes/{address}/sessions", operation_id = "open_session", tag = "sessions",
    params(("address" = text::Mailbox, Path)),
    request_body = OpenSession,
    responses(
        (status = 201, description = "The maildrop is locked", body = MaildropSession, links(
            ("renew" = (operation_id = "renew_session",
                parameters(("address" = "$request.path.address"), ("session" = "$response.body#/session")))),
            ("update" = (operation_id = "update_maildrop",
                parameters(("address" = "$request.path.address"), ("session" = "$response.body#/session")))),
            ("close" = (operation_id = "close_session",
                parameters(("address" = "$request.path.address"), ("session" = "$response.body#/session")))),
        )),
        (status = 403, description = "No such mailbox, or another password"),
        (status = 404, description = "The mailbox has just been removed"),
        (status = 409, description = "Another session holds this maildrop"),
    ),
)]
pub(super) async fn open(
    State(api): State<Arc<Api>>,
    Path(address): Path<String>,
    Json(open): Json<OpenSession>,
) -> Result<(StatusCode, axum::Json<MaildropSession>), Problem> {
    let lease = lease(open.lease_seconds)?;
    // What is no address is treated as an account that does not exist.
    let Ok(address) = mailbox(&address) else { return Err(ProblemKind::AuthenticationFailed.into()) };
    if !api.logins.verify(&*api.store, &address, &open.password).await? {
        return Err(ProblemKind::AuthenticationFailed.into());
    }
    Ok((StatusCode::CREATED, axum::Json(api.store.open_maildrop(&address, lease).await?)))
}

/// Keeps the lock.
#[utoipa::path(
    put, path = "/v1/mailboxes/{address}/sessions/{session}", operation_id = "renew_session", tag = "sessions",
    params(("address" = text::Mailbox, Path), ("session" = String, Path)),
    request_body = Renewal,
    responses(
        (status = 204, description = "The lock lives on"),
        (status = 404, description = "No such mailbox"),
        (status = 409, description = "The lock has been lost"),
    ),
)]
pub(super) async fn renew(
    State(api): State<Arc<Api>>,
    Path((address, session)): Path<(String, String)>,
    Json(renewal): Json<Renewal>,
) -> Result<StatusCode, Problem> {
    api.store.renew_maildrop(&mailbox(&address)?, &session, lease(renewal.lease_seconds)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes all of these messages or none, and unlocks.
#[utoipa::path(
    post, path = "/v1/mailboxes/{address}/sessions/{session}/update", operation_id = "update_maildrop", tag = "sessions",
    params(("address" = text::Mailbox, Path), ("session" = String, Path)),
    request_body = MaildropUpdate,
    responses(
        (status = 204, description = "Deleted and unlocked"),
        (status = 404, description = "No such mailbox"),
        (status = 409, description = "The lock has been lost; nothing is deleted"),
    ),
)]
pub(super) async fn update(
    State(api): State<Arc<Api>>,
    Path((address, session)): Path<(String, String)>,
    Json(update): Json<MaildropUpdate>,
) -> Result<StatusCode, Problem> {
    api.store.update_maildrop(&mailbox(&address)?, &session, update.delete).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Unlocks, and deletes nothing. Succeeds also when there is nothing to unlock.
#[utoipa::path(
    delete, path = "/v1/mailboxes/{address}/sessions/{session}", operation_id = "close_session", tag = "sessions",
    params(("address" = text::Mailbox, Path), ("session" = String, Path)),
    responses((status = 204, description = "This session holds no lock"), (status = 404, description = "No such mailbox")),
)]
pub(super) async fn close(
    State(api): State<Arc<Api>>,
    Path((address, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    api.store.close_maildrop(&mailbox(&address)?, &session).await?;
    Ok(StatusCode::NO_CONTENT)
}
