//! Snapshots of the town.

use super::{
    App,
    extract::{Path, Query},
    invalid,
};
use crate::snapshots::{self, TownRestored, TownSnapshot};
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use internal_api::Problem;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long a seed may be, in octets.
const SEED_OCTETS: usize = 200;
/// The media type of tar archives; none is registered.
const MEDIA_TYPE: &str = "application/x-tar";

/// The snapshots of the town, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TownSnapshots {
    /// The snapshots.
    pub snapshots: Vec<TownSnapshot>,
}

/// What is kept with a snapshot.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TakeQuery {
    seed: Option<String>,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(take, show, remove))
        .routes(routes!(restore))
        .routes(routes!(export))
}

/// The snapshots of the town, by name.
#[utoipa::path(
    get, path = "/v1/snapshots", operation_id = "list_snapshots", tag = "snapshots",
    responses(
        (status = 200, description = "All snapshots", body = TownSnapshots),
        (status = 409, description = "The storage of the stores takes no snapshots"),
        (status = 503, description = "No store answers"),
    ),
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<TownSnapshots>, Problem> {
    Ok(Json(TownSnapshots { snapshots: app.snapshots().await? }))
}

/// Keeps what the whole town is at one moment: all stores with their accounts and queues, the time, the faults, and the text of
/// the zone. Attempts to relay end before, and all stores wait meanwhile, so a message is in exactly one queue or
/// maildrop.
#[utoipa::path(
    post, path = "/v1/snapshots/{name}", operation_id = "take_snapshot", tag = "snapshots",
    params(
        ("name" = String, Path, pattern = "^[a-z0-9][a-z0-9._-]{0,63}$"),
        ("seed" = Option<String>, Query, max_length = 200, description = "The seed of the test, to be kept with it"),
    ),
    responses(
        (status = 201, description = "It is durable in all stores", body = TownSnapshot),
        (status = 409, description = "There is one of this name, or too many, or attempts to relay have not ended in 10 s, or the storage takes none"),
        (status = 503, description = "A store does not answer; nothing was kept"),
    ),
)]
pub(super) async fn take(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    Query(TakeQuery { seed }): Query<TakeQuery>,
) -> Result<(StatusCode, Json<TownSnapshot>), Problem> {
    if seed.as_ref().is_some_and(|seed| seed.len() > SEED_OCTETS) {
        return Err(invalid(format!("seed has more than {SEED_OCTETS} octets")));
    }
    let taken = app.to_its_end(async move |app| app.take_snapshot(&name, seed).await).await?;
    Ok((StatusCode::CREATED, Json(taken)))
}

/// One snapshot.
#[utoipa::path(
    get, path = "/v1/snapshots/{name}", operation_id = "snapshot", tag = "snapshots",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    responses(
        (status = 200, description = "The snapshot", body = TownSnapshot),
        (status = 404, description = "No such snapshot"),
        (status = 409, description = "The storage of the stores takes no snapshots"),
        (status = 503, description = "No store answers"),
    ),
)]
pub(super) async fn show(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<TownSnapshot>, Problem> {
    Ok(Json(app.snapshot(&name).await?))
}

/// Removes a snapshot.
#[utoipa::path(
    delete, path = "/v1/snapshots/{name}", operation_id = "remove_snapshot", tag = "snapshots",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such snapshot"),
        (status = 409, description = "The storage of the stores takes no snapshots"),
        (status = 503, description = "A store does not answer"),
    ),
)]
pub(super) async fn remove(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    app.remove_snapshot(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the town what it was: its mail, accounts and queue, and its faults; a virtual clock shows the time of the snapshot,
/// which may be earlier than it is. The zone file is not written: the answer says whether it differs. Ids of messages that were given
/// since are not given again.
#[utoipa::path(
    post, path = "/v1/snapshots/{name}/restore", operation_id = "restore_snapshot", tag = "snapshots",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    responses(
        (status = 200, description = "The town is what it was then", body = TownRestored),
        (status = 404, description = "No such snapshot, or a store does not have it"),
        (status = 409, description = "Somebody else takes or restores one, or the storage takes none"),
        (status = 503, description = "A store does not answer; others may have been restored: repeat the call"),
    ),
)]
pub(super) async fn restore(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<TownRestored>, Problem> {
    Ok(Json(app.to_its_end(async move |app| app.restore_snapshot(&name).await).await?))
}

/// A snapshot as one file for another machine, with what was recorded so far: a tar archive of `manifest.json`, the snapshots
/// of the stores in `stores`, the sessions as JSON in `records` and for Wireshark in `captures`. `mailtown snapshot open` makes a
/// town of it. All mail of the town is in it.
#[utoipa::path(
    get, path = "/v1/snapshots/{name}/export", operation_id = "export_snapshot", tag = "snapshots",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    responses(
        (status = 200, description = "The archive", body = internal_api::text::Octets, content_type = MEDIA_TYPE),
        (status = 404, description = "No such snapshot"),
        (status = 409, description = "The storage of the stores takes no snapshots"),
        (status = 503, description = "No store answers"),
    ),
)]
pub(super) async fn export(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let file = format!("attachment; filename=\"{name}.tar\"");
    let pieces = snapshots::export(app, name).await?;
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE), (header::CONTENT_DISPOSITION, &file)];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
