//! Snapshots of the store.

use super::{
    Api,
    extract::{Json, Path, invalid},
};
use crate::store::{SnapshotFile, SnapshotName};
use axum::{
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use internal_api::{
    Problem, RestoreRequest, SNAPSHOT_MEDIA_TYPE, SNAPSHOT_NOTE_OCTETS, SnapshotRequest, StoreSnapshot, StoreSnapshots,
    text,
};
use std::sync::Arc;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

/// The longest body with a note, in which JSON takes two octets for a quotation mark.
const BODY_OCTETS: usize = 2 * SNAPSHOT_NOTE_OCTETS + 1024;

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(take, file, remove).layer(DefaultBodyLimit::max(BODY_OCTETS)))
        .routes(routes!(restore))
}

/// All snapshots of the store, by name.
#[utoipa::path(
    get, path = "/v1/snapshots", operation_id = "list_snapshots", tag = "snapshots",
    responses(
        (status = 200, description = "The snapshots", body = StoreSnapshots),
        (status = 409, description = "The storage takes no snapshots"),
    ),
)]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<axum::Json<StoreSnapshots>, Problem> {
    Ok(axum::Json(StoreSnapshots { snapshots: api.snapshots.snapshots().await? }))
}

/// Keeps what the store is now. Changes wait meanwhile.
#[utoipa::path(
    post, path = "/v1/snapshots/{name}", operation_id = "take_snapshot", tag = "snapshots",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")), request_body = SnapshotRequest,
    responses(
        (status = 201, description = "It is durable", body = StoreSnapshot),
        (status = 409, description = "There is one of this name, or too many, or the storage takes none"),
        (status = 500, description = "A message has no body"),
        (status = 507, description = "The disk has no room"),
    ),
)]
pub(super) async fn take(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Json(SnapshotRequest { note }): Json<SnapshotRequest>,
) -> Result<(StatusCode, axum::Json<StoreSnapshot>), Problem> {
    if note.len() > SNAPSHOT_NOTE_OCTETS {
        return Err(invalid(format!("note has {} octets; give {SNAPSHOT_NOTE_OCTETS} at most", note.len())));
    }
    let taken = api.snapshots.take_snapshot(&read(&name)?, note).await?;
    facts::StoreSnapshotTaken { snapshot: &name, messages: taken.messages, octets: taken.octets }.log();
    Ok((StatusCode::CREATED, axum::Json(taken)))
}

/// A snapshot as a file: an SQLite database with all messages in it, from which `mailbox-store restore` fills a directory, too.
#[utoipa::path(
    get, path = "/v1/snapshots/{name}", operation_id = "read_snapshot", tag = "snapshots",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    responses(
        (status = 200, description = "The file", body = text::Octets, content_type = "application/vnd.sqlite3"),
        (status = 404, description = "No such snapshot"),
        (status = 409, description = "The storage takes no snapshots"),
    ),
)]
pub(super) async fn file(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let SnapshotFile { octets, chunks } = api.snapshots.snapshot_file(&read(&name)?).await?;
    let headers =
        [(header::CONTENT_TYPE, SNAPSHOT_MEDIA_TYPE.to_owned()), (header::CONTENT_LENGTH, octets.to_string())];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Removes a snapshot.
#[utoipa::path(
    delete, path = "/v1/snapshots/{name}", operation_id = "remove_snapshot", tag = "snapshots",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such snapshot"),
        (status = 409, description = "The storage takes no snapshots"),
    ),
)]
pub(super) async fn remove(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    api.snapshots.remove_snapshot(&read(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes the store what it was: messages, maildrops, queue, accounts and events. Ids that were given since are not given
/// again, and events go on with `restored`. Claims and locks end. Changes wait meanwhile. It happens as a whole or not at all.
#[utoipa::path(
    post, path = "/v1/snapshots/{name}/restore", operation_id = "restore_snapshot", tag = "snapshots",
    params(("name" = String, Path, pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")), request_body = RestoreRequest,
    responses(
        (status = 200, description = "The store is what it was then, or could be", body = StoreSnapshot),
        (status = 404, description = "No such snapshot"),
        (status = 409, description = "The storage takes no snapshots"),
        (status = 500, description = "The snapshot has a message without its body; nothing has changed"),
        (status = 507, description = "The disk has no room, or the snapshot is of another stack; nothing has changed"),
    ),
)]
pub(super) async fn restore(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    Json(RestoreRequest { now, check_only }): Json<RestoreRequest>,
) -> Result<axum::Json<StoreSnapshot>, Problem> {
    if check_only {
        return Ok(axum::Json(api.snapshots.check_snapshot(&read(&name)?).await?));
    }
    let restored = api.snapshots.restore_snapshot(&read(&name)?, now).await?;
    facts::StoreRestored { snapshot: &name, messages: restored.messages }.log();
    Ok(axum::Json(restored))
}

fn read(name: &str) -> Result<SnapshotName, Problem> {
    Ok(name.parse()?)
}
