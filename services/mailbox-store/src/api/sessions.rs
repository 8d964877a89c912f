//! Maildrop sessions: logging in, holding the lock, the UPDATE state.

use super::{
    Api,
    extract::{self, Json, Path, invalid},
    lease,
    listing::{self, Opened},
};
use crate::{
    logins::User,
    store::{Listing, Maildrops, StoreError},
};
use axum::{
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use internal_api::{
    MaildropSession, MaildropUpdate, OpenSession, Problem, ProblemKind, Renewal, SESSION_NAME_HEADER, text,
};
use mail_net::IoClock;
use mail_proto::Mailbox;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

/// How often it is tried to unlock a maildrop after its UPDATE has failed, and how long is waited in between.
const UNLOCK_TRIES: u32 = 600;
const UNLOCK_PAUSE: Duration = Duration::from_millis(500);

/// Enough to delete a million messages at once.
const UPDATE_OCTETS: usize = 32 * 1024 * 1024;

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(open))
        .routes(routes!(renew, close))
        .routes(routes!(update).layer(DefaultBodyLimit::max(UPDATE_OCTETS)))
}

/// Logs in, locks the maildrop and lists it. A repeat under the same name returns the same lock. A maildrop of many
/// messages is better asked for in lines: `Accept: application/vnd.mailtown.maildrop`.
#[utoipa::path(
    post, path = "/v1/mailboxes/{address}/sessions", operation_id = "open_session", tag = "sessions",
    params(
        ("address" = text::Mailbox, Path),
        ("mailtown-session" = Option<String>, Header, pattern = "^[!-~]{1,64}$",
            description = "Names the session; without it, the store does"),
    ),
    request_body = OpenSession,
    responses(
        (status = 201, description = "The maildrop is locked", content(
            (MaildropSession = "application/json"),
            (text::Octets = "application/vnd.mailtown.maildrop"),
        ), links(
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
        (status = 429, description = "The user has logged in less than pop3.login_delay ago"),
    ),
)]
pub(super) async fn open(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(open): Json<OpenSession>,
) -> Result<Response, Problem> {
    let (lease, session) = (lease(open.lease_seconds)?, session_name(&headers)?);
    // What is no address is treated as an account that does not exist.
    let Ok(address) = extract::address(&name) else { return Err(ProblemKind::AuthenticationFailed.into()) };
    let address = logged_in(&api, &name, address, &open).await?;
    if !api.login_delays.permits(&address) {
        return Err(ProblemKind::LoginTooSoon.into());
    }
    let listing = open_for_caller(&api.maildrops, &address, &session, lease).await?;
    api.login_delays.logged_in(&address);
    Ok(Opened { store: Arc::clone(&api.maildrops), address, session, listing }.answer(&headers).await?)
}

/// The mailbox of a user whose password is right, as it is spelled.
async fn logged_in(api: &Api, name: &str, address: Mailbox, open: &OpenSession) -> Result<Mailbox, Problem> {
    if open.proved {
        // The proof was counted, and a newcomer has got a mailbox by it.
        return Ok(api.spelled(address).await?);
    }
    let began = api.clock.io.instant();
    api.logins.in_time(began, api.admission.admit_user(&address, &open.password)).await?;
    let address = api.spelled(address).await?;
    if !api.takes_every_login() {
        let user = User { name, address: Some(&address), client: open.client, began };
        if !api.logins.verify(&*api.accounts, user, &open.password).await? {
            return Err(ProblemKind::AuthenticationFailed.into());
        }
    }
    Ok(address)
}

/// The name that the caller has chosen, or else a new one.
fn session_name(headers: &HeaderMap) -> Result<String, Problem> {
    let Some(name) = headers.get(SESSION_NAME_HEADER) else {
        return Ok(uuid::Uuid::new_v4().simple().to_string());
    };
    let name = name.to_str().ok().filter(|name| (1..=64).contains(&name.len()) && !name.contains([' ', '\t']));
    name.map(str::to_owned).ok_or_else(|| {
        invalid(format!("{SESSION_NAME_HEADER}: a session is named with 1 to 64 printable ASCII characters"))
    })
}

/// Opens a maildrop, and closes it again if the caller has gone meanwhile: nobody would renew the lock or use it.
async fn open_for_caller(
    store: &Arc<dyn Maildrops>,
    address: &Mailbox,
    session: &str,
    lease: Duration,
) -> Result<Listing, Problem> {
    let (answer, caller) = oneshot::channel();
    let (store, address, session) = (Arc::clone(store), address.clone(), session.to_owned());
    tokio::spawn(async move {
        let opened = store.open_maildrop(&address, &session, lease, listing::PAGE).await;
        if let Err(Ok(_)) = answer.send(opened)
            && let Err(error) = store.close_maildrop(&address, &session).await
        {
            facts::StoreUnlockFailed { error }.log();
        }
    });
    let opened = caller.await.map_err(|_| Problem::new(ProblemKind::Internal, "opening the maildrop panicked"))?;
    Ok(opened?)
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
    api.maildrops.renew_maildrop(&api.mailbox(&address).await?, &session, lease(renewal.lease_seconds)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes all of these messages or none, and unlocks. Succeeds without the lock, too, when none of them is in the
/// maildrop any more: a call whose response was lost can be repeated.
#[utoipa::path(
    post, path = "/v1/mailboxes/{address}/sessions/{session}/update", operation_id = "update_maildrop", tag = "sessions",
    params(("address" = text::Mailbox, Path), ("session" = String, Path)),
    request_body = MaildropUpdate,
    responses(
        (status = 204, description = "Deleted and unlocked"),
        (status = 404, description = "No such mailbox"),
        (status = 409, description = "The lock has been lost, and some of the messages are there; nothing is deleted"),
    ),
)]
pub(super) async fn update(
    State(api): State<Arc<Api>>,
    Path((address, session)): Path<(String, String)>,
    Json(update): Json<MaildropUpdate>,
) -> Result<StatusCode, Problem> {
    let address = api.mailbox(&address).await?;
    let updated = api.maildrops.update_maildrop(&address, &session, update.delete).await;
    if let Err(StoreError::Unavailable(_) | StoreError::Overloaded(_)) = &updated {
        // The session has ended all the same (RFC 1939 §6).
        tokio::spawn(api.shutdown.clone().run_until_cancelled_owned(unlock(
            Arc::clone(&api.maildrops),
            address,
            session,
            api.clock.io,
        )));
    }
    updated?;
    Ok(StatusCode::NO_CONTENT)
}

/// Unlocks a maildrop as soon as the storage takes changes again. After [`UNLOCK_TRIES`] its lease has mostly run out.
async fn unlock(store: Arc<dyn Maildrops>, address: Mailbox, session: String, io: IoClock) {
    for _ in 0..UNLOCK_TRIES {
        match store.close_maildrop(&address, &session).await {
            Err(StoreError::Unavailable(_) | StoreError::Overloaded(_)) => io.sleep(UNLOCK_PAUSE).await,
            _ => return,
        }
    }
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
    api.maildrops.close_maildrop(&api.mailbox(&address).await?, &session).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{Fixture, MINUTE, mailbox, manual_clock};
    use crate::{
        metrics::Metrics,
        store::sqlite::{Options, SqliteStore},
    };
    use futures_util::poll;
    use prometheus_client::registry::Registry;

    /// Its maildrop is opened all the same, and closed again.
    #[tokio::test]
    async fn a_caller_that_has_gone_leaves_no_lock() {
        let (directory, clock) = (tempfile::TempDir::new().unwrap(), manual_clock());
        let store = SqliteStore::open(Options {
            directory: directory.path().to_owned(),
            stack: "local.test".to_owned(),
            adds_return_path: false,
            clock: clock.clock(),
            metrics: Metrics::new(&mut Registry::default()),
        });
        let fixture = Fixture::new(Arc::new(store.unwrap()), clock, Box::new(directory)).await;
        let a = mailbox("a@local.test");
        {
            let maildrops: Arc<dyn Maildrops> = fixture.store.clone();
            let opening = open_for_caller(&maildrops, &a, "gone", MINUTE);
            tokio::pin!(opening);
            assert!(poll!(opening).is_pending());
        }
        let tasks = tokio::runtime::Handle::current().metrics();
        assert_eq!(tasks.num_alive_tasks(), 1, "the opening goes on without its caller");
        let ended = async {
            while tasks.num_alive_tasks() > 0 {
                tokio::task::yield_now().await;
            }
        };
        fixture.clock.clock().io.timeout(Duration::from_secs(10), ended).await.expect("the opening ends");
        let opened = fixture.store.open_maildrop(&a, "next", MINUTE, 1).await;
        assert!(opened.is_ok(), "{opened:?}");
    }
}
