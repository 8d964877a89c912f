//! Holds: what a console keeps back in all stores of a town, so that their snapshots are of one moment.

use super::{
    Api,
    extract::{Json, Path, invalid},
    within,
};
use axum::{extract::State, http::StatusCode};
use internal_api::{Held, HoldRequest, Problem};
use std::{ops::RangeInclusive, sync::Arc, time::Duration};
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long a hold lasts without being renewed, in seconds: long enough for a large store, and short enough that mail waits
/// no longer than its senders do when the console has died.
const LEASE_SECONDS: RangeInclusive<u32> = 1..=60;
/// How long the name of a holder may be.
const HOLDER_CHARACTERS: RangeInclusive<usize> = 1..=64;

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(hold, release))
}

/// Holds the store, or renews this hold: keeps back new claims, or every change, too. Returns when what was begun before has
/// ended, except attempts to relay, of which it tells the number. Only one holder has the store at a time.
#[utoipa::path(
    put, path = "/v1/holds/{holder}", operation_id = "hold_store", tag = "snapshots",
    params(("holder" = String, Path, description = "A name of the caller's choice", min_length = 1, max_length = 64)),
    request_body = HoldRequest,
    responses(
        (status = 200, description = "The store is held", body = Held),
        (status = 409, description = "Somebody else holds it, or its storage takes no snapshots"),
    ),
)]
pub(super) async fn hold(
    State(api): State<Arc<Api>>,
    Path(holder): Path<String>,
    Json(HoldRequest { stage, lease_seconds }): Json<HoldRequest>,
) -> Result<axum::Json<Held>, Problem> {
    if !HOLDER_CHARACTERS.contains(&holder.chars().count()) {
        return Err(invalid("the name of a holder has 1 to 64 characters"));
    }
    let seconds = within("lease_seconds", lease_seconds, LEASE_SECONDS)?;
    let claimed = api.snapshots.hold(&holder, stage, Duration::from_secs(seconds.into())).await?;
    Ok(axum::Json(Held { claimed }))
}

/// Ends a hold.
#[utoipa::path(
    delete, path = "/v1/holds/{holder}", operation_id = "release_store", tag = "snapshots",
    params(("holder" = String, Path, min_length = 1, max_length = 64)),
    responses(
        (status = 204, description = "The store goes on"),
        (status = 409, description = "The hold has ended before, or the storage takes no snapshots"),
    ),
)]
pub(super) async fn release(State(api): State<Arc<Api>>, Path(holder): Path<String>) -> Result<StatusCode, Problem> {
    api.snapshots.release_hold(&holder).await?;
    Ok(StatusCode::NO_CONTENT)
}
