//! Maildrop sessions: logging in, holding the lock, the UPDATE state.

use super::{
    Api,
    extract::{Json, Path, mailbox},
    lease,
};
use axum::{extract::State, http::StatusCode};
use mail_api::{MaildropSession, MaildropUpdate, OpenSession, Problem, ProblemKind, Renewal};
use std::sync::Arc;

/// Logs in, locks the maildrop and lists it.
#[utoipa::path(
    post, path = "/v1/mailboxes/{address}/sessions", tag = "sessions",
    params(("address" = String, Path, example = "usr1@mail.sustech.edu.cn")),
    request_body = OpenSession,
    responses((status = 201, body = MaildropSession)),
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
    put, path = "/v1/mailboxes/{address}/sessions/{session}", tag = "sessions",
    params(("address" = String, Path), ("session" = String, Path)),
    request_body = Renewal,
    responses((status = 204)),
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
    post, path = "/v1/mailboxes/{address}/sessions/{session}/update", tag = "sessions",
    params(("address" = String, Path), ("session" = String, Path)),
    request_body = MaildropUpdate,
    responses((status = 204)),
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
    delete, path = "/v1/mailboxes/{address}/sessions/{session}", tag = "sessions",
    params(("address" = String, Path), ("session" = String, Path)),
    responses((status = 204)),
)]
pub(super) async fn close(
    State(api): State<Arc<Api>>,
    Path((address, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    api.store.close_maildrop(&mailbox(&address)?, &session).await?;
    Ok(StatusCode::NO_CONTENT)
}
