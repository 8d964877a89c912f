//! The outbound queue: looking at it, and the relay workers' claims.

use super::{
    Api,
    extract::{Frame, Json, PageQuery, Path, Query},
    frames, lease, within,
};
use crate::{
    metrics::Counted,
    store::{Abilities, ClaimOutcome, QueuePosition},
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use internal_api::{
    Claim, ClaimRequest, ClaimedMessage, FRAME_MEDIA_TYPE, Flushed, Problem, QueueEntry, QueuePage, Renewal,
    Settlement, frame, text,
};
use jiff::Timestamp;
use mail_net::Clock;
use std::{future, sync::Arc, time::Duration};
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long a waiting worker goes without looking: leases of dead workers run out without notice.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How long a claim waits for the octets that go with it: its lease has begun.
const BODIES_TIMEOUT: Duration = Duration::from_millis(300);

/// How long a failure message may be, however small the messages are that this store takes: a thousand
/// recipients, each with what their server said.
const FAILURE_MESSAGE_OCTETS: u64 = 4 * 1024 * 1024;

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(flush))
        .routes(routes!(claim))
        .routes(routes!(renew))
        .routes(routes!(settle))
}

/// What waits to be relayed, by message and recipient.
#[utoipa::path(
    get, path = "/v1/queue", operation_id = "list_queue", tag = "queue",
    params(
        ("after" = Option<String>, Query, description = "The last page's next_after", pattern = "^[0-9a-f][0-9a-hjkmnp-tv-z]{12},"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1000 unless given"),
    ),
    responses((status = 200, description = "A page of the queue", body = QueuePage, links(
        ("message" = (operation_id = "show_queued", parameters(("id" = "$response.body#/entries/0/message")))),
        ("retry" = (operation_id = "retry_queued", parameters(("id" = "$response.body#/entries/0/message")))),
        ("hold" = (operation_id = "hold_queued", parameters(("id" = "$response.body#/entries/0/message")))),
        ("release" = (operation_id = "release_queued", parameters(("id" = "$response.body#/entries/0/message")))),
        ("give_up" = (operation_id = "give_up_queued", parameters(("id" = "$response.body#/entries/0/message")))),
        ("remove" = (operation_id = "remove_queued", parameters(("id" = "$response.body#/entries/0/message")))),
    ))),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<QueuePage>, Problem> {
    let after = page.after().map(str::parse::<QueuePosition>).transpose()?;
    let mut page = api.queue.queue(after, page.limit()?).await?;
    tell_expiry(&api, &mut page.entries);
    Ok(axum::Json(page))
}

/// Says of entries when they expire, by the configuration of this moment.
pub(super) fn tell_expiry(api: &Api, entries: &mut [QueueEntry]) {
    let expiry = api.stack.current().relay.expiry;
    for entry in entries {
        entry.expires_at = Some(entry.queued_at.saturating_add(expiry).unwrap_or(Timestamp::MAX));
    }
}

/// Makes everything due that is neither on hold nor being tried already.
#[utoipa::path(
    post, path = "/v1/queue/flush", operation_id = "flush_queue", tag = "queue",
    responses((status = 200, description = "Done", body = Flushed)),
)]
pub(super) async fn flush(State(api): State<Arc<Api>>) -> Result<axum::Json<Flushed>, Problem> {
    Ok(axum::Json(api.queue.flush_queue().await?))
}

/// Leases due messages of one domain to a relay worker, or waits until there are some. Returns a line of JSON
/// (a `Claim`), ended by LF, then the octets of those messages that it says are inline; when none is, that is JSON.
#[utoipa::path(
    post, path = "/v1/queue/claims", operation_id = "claim_messages", tag = "queue", request_body = ClaimRequest,
    responses(
        (status = 200, description = "What was due", content(
            (Claim = "application/json"),
            (Vec<u8> = "application/vnd.mailtown.frame"),
        ), links(
            ("renew" = (operation_id = "renew_claim", parameters(("lease" = "$response.body#/lease")))),
            ("settle" = (operation_id = "settle_message", parameters(("lease" = "$response.body#/lease")))),
        )),
        (status = 204, description = "Nothing was due in time"),
    ),
)]
pub(super) async fn claim(State(api): State<Arc<Api>>, Json(request): Json<ClaimRequest>) -> Result<Response, Problem> {
    let lease = lease(request.lease_seconds)?;
    let limit = within("limit", request.limit, 1..=1000)?;
    let wait = within("wait_seconds", request.wait_seconds, 0..=60)?;
    let inline_octets = within("inline_octets", request.inline_octets, 0..=1024 * 1024)?;
    let abilities = Abilities::from(&request);
    let deadline = api.clock.io.instant() + Duration::from_secs(u64::from(wait));
    // From before the first look, so that no change falls between looking and waiting.
    let mut changes = api.queue.queue_changes();
    loop {
        let local = api.admission.local_mail().await?;
        let next_due_at = match api.queue.claim(lease, limit, request.except.clone(), local, abilities).await? {
            ClaimOutcome::Claimed(claim) => return Ok(claimed(&api, claim, inline_octets.into()).await),
            ClaimOutcome::NothingDue { next_due_at } => next_due_at,
        };
        let remaining = deadline.saturating_duration_since(api.clock.io.instant());
        if remaining.is_zero() || api.shutdown.is_cancelled() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let _waiting = Counted::new(&api.metrics.waiting_claims);
        tokio::select! {
            _ = changes.changed() => {}
            () = api.shutdown.cancelled() => {}
            () = due(&api.clock, next_due_at) => {}
            () = api.clock.io.sleep(remaining.min(LOOK_AGAIN)) => {}
        }
    }
}

/// The claim, with the octets of its first messages as far as `room` for them goes.
async fn claimed(api: &Api, mut claim: Claim, mut room: u64) -> Response {
    let fits = |message: &&ClaimedMessage| {
        let left = room.checked_sub(message.octets);
        room = left.unwrap_or(0);
        left.is_some()
    };
    let first = claim.messages.iter().take_while(fits).map(|message| message.id).collect();
    // What cannot be had here and now the worker asks for by itself, and hears why.
    let bodies = api
        .clock
        .io
        .timeout(BODIES_TIMEOUT, api.messages.inline_bodies(first))
        .await
        .ok()
        .and_then(Result::ok)
        .unwrap_or_default();
    claim.messages.iter_mut().for_each(|message| message.inline = bodies.contains_key(&message.id));
    let mut body = BytesMut::from(frame(&claim));
    claim
        .messages
        .iter()
        .filter_map(|message| bodies.get(&message.id))
        .for_each(|octets| body.extend_from_slice(octets));
    let media_type = if bodies.is_empty() { "application/json" } else { FRAME_MEDIA_TYPE };
    ([(header::CONTENT_TYPE, media_type)], body.freeze()).into_response()
}

/// Returns once it is worth looking again.
async fn due(clock: &Clock, next_due_at: Option<Timestamp>) {
    // A pause, so that the claim cannot spin, whatever the store says.
    clock.io.sleep(Duration::from_millis(1)).await;
    match next_due_at {
        Some(due_at) => clock.wall.sleep_until(due_at).await,
        None => future::pending().await,
    }
}

/// Keeps a claim.
#[utoipa::path(
    put, path = "/v1/queue/claims/{lease}", operation_id = "renew_claim", tag = "queue",
    params(("lease" = String, Path)), request_body = Renewal,
    responses((status = 204, description = "The claim lives on"), (status = 409, description = "The claim has been lost")),
)]
pub(super) async fn renew(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Json(renewal): Json<Renewal>,
) -> Result<StatusCode, Problem> {
    api.queue.renew_claim(&name, lease(renewal.lease_seconds)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says what became of claimed recipients: a line of JSON (a `Settlement`), ended by LF, then the octets of the
/// failure message if there is one.
#[utoipa::path(
    post, path = "/v1/queue/claims/{lease}/settlements", operation_id = "settle_message", tag = "queue",
    params(("lease" = String, Path)),
    request_body(content = text::Octets, content_type = "application/vnd.mailtown.frame",
        description = "A Settlement as one line of JSON, a LF, then the failure message, if any"),
    responses(
        (status = 204, description = "It is durable"),
        (status = 409, description = "The claim has been lost, or has no such recipients"),
    ),
)]
pub(super) async fn settle(
    State(api): State<Arc<Api>>,
    Path(lease): Path<String>,
    Frame(body): Frame,
) -> Result<StatusCode, Problem> {
    let limit_octets = api.message_octets().max(FAILURE_MESSAGE_OCTETS);
    let (settlement, failure_message) = frames::read::<Settlement>(body, limit_octets).await?;
    api.queue.settle(&lease, settlement, failure_message).await?;
    Ok(StatusCode::NO_CONTENT)
}
