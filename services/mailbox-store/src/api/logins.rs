//! Logins that open nothing.

use super::{Api, extract::Json};
use crate::logins::User;
use axum::{extract::State, http::StatusCode};
use internal_api::{LoggedIn, Login, LoginSupport, Problem, ProblemKind, ProofOutcome, UserVerifier, VerifierRequest};
use mail_proto::Mailbox;
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(support, log_in)).routes(routes!(verifier)).routes(routes!(proof_ended))
}

/// What can be checked.
#[utoipa::path(
    get, path = "/v1/logins", operation_id = "show_login_support", tag = "logins",
    responses((status = 200, description = "What can be checked", body = LoginSupport)),
)]
pub(super) async fn support(State(api): State<Arc<Api>>) -> Result<axum::Json<LoginSupport>, Problem> {
    let scram = !api.takes_every_login() && api.logins.all_have_verifiers().await?;
    Ok(axum::Json(LoginSupport { scram, proved_sessions: true }))
}

/// Checks a password, and opens nothing. An unknown user is refused as a wrong password is, and takes as long.
#[utoipa::path(
    post, path = "/v1/logins", operation_id = "log_in", tag = "logins",
    request_body = Login,
    responses(
        (status = 200, description = "It is this user's password", body = LoggedIn),
        (status = 403, description = "No such user, or another password"),
    ),
)]
pub(super) async fn log_in(
    State(api): State<Arc<Api>>,
    Json(login): Json<Login>,
) -> Result<axum::Json<LoggedIn>, Problem> {
    let (stack, began) = (api.stack.current(), api.clock.io.instant());
    if let Some(mailbox) = stack.mailbox_of_user(&login.user) {
        api.logins.in_time(began, api.admission.admit_user(&mailbox, &login.password)).await?;
    }
    let mailbox = api.mailbox_of_user(&login.user).await?;
    if api.takes_every_login() {
        let somebody = || Mailbox::postmaster(stack.own_domain().clone());
        return Ok(axum::Json(LoggedIn { mailbox: mailbox.unwrap_or_else(somebody) }));
    }
    let user = User { name: &login.user, address: mailbox.as_ref(), client: login.client, began };
    let fits = api.logins.verify(&*api.accounts, user, &login.password).await?;
    let mailbox = mailbox.filter(|_| fits).ok_or(ProblemKind::AuthenticationFailed)?;
    Ok(axum::Json(LoggedIn { mailbox }))
}

/// What is known of a user's password, for SCRAM. A user that does not exist has a verifier too: always the same one,
/// which fits no password.
#[utoipa::path(
    post, path = "/v1/verifiers", operation_id = "find_verifier", tag = "logins",
    request_body = VerifierRequest,
    responses((status = 200, description = "The verifier", body = UserVerifier)),
)]
pub(super) async fn verifier(
    State(api): State<Arc<Api>>,
    Json(VerifierRequest { user: name, client }): Json<VerifierRequest>,
) -> Result<axum::Json<UserVerifier>, Problem> {
    let began = api.clock.io.instant();
    let mailbox = api.mailbox_of_user(&name).await?;
    let user = User { name: &name, address: mailbox.as_ref(), client, began };
    let verifier = api.logins.verifier(&*api.accounts, user).await?;
    if let (Some(mailbox), Some(verifier)) = (&mailbox, verifier) {
        return Ok(axum::Json(UserVerifier { mailbox: Some(mailbox.clone()), verifier }));
    }
    // Its mailbox is made once the password is proved.
    if let Some(mailbox) = &mailbox
        && let Some((mailbox, verifier)) = api.logins.in_time(began, api.admission.newcomer(mailbox)).await?
    {
        return Ok(axum::Json(UserVerifier { mailbox: Some(mailbox), verifier }));
    }
    let name = mailbox.map_or(name, |mailbox| mailbox.to_string());
    let verifier = api.logins.verifier_of_nobody(&*api.accounts, &name).await?;
    Ok(axum::Json(UserVerifier { mailbox: None, verifier }))
}

/// Takes what became of a proof by SCRAM, which the gateway has checked. Failures are counted, and delay the next logins.
#[utoipa::path(
    post, path = "/v1/verifiers/outcomes", operation_id = "report_proof", tag = "logins",
    request_body = ProofOutcome,
    responses((status = 204, description = "It is counted")),
)]
pub(super) async fn proof_ended(
    State(api): State<Arc<Api>>,
    Json(ProofOutcome { user: name, client, proved }): Json<ProofOutcome>,
) -> Result<StatusCode, Problem> {
    let began = api.clock.io.instant();
    if let (true, Some(mailbox)) = (proved, api.stack.current().mailbox_of_user(&name)) {
        api.logins.in_time(began, api.admission.admit([&mailbox])).await?;
    }
    let mailbox = api.mailbox_of_user(&name).await?;
    api.logins.proved(User { name: &name, address: mailbox.as_ref(), client, began }, proved);
    Ok(StatusCode::NO_CONTENT)
}
