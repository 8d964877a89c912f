//! What goes wrong on purpose at a service: from its start on, and as `PUT /v1/faults` says.

use crate::http::extract::{self, invalid};
use ::faults::{Counts, Faults, Settings};
use axum::{Json, extract::State, http::StatusCode};
use internal_api::{Problem, ServiceFaults};
use mail_net::WallClock;
use town_config::{FaultKeys, LiveStack};
use utoipa_axum::{router::OpenApiRouter, routes};

/// The faults of this service of a stack: those of the start.
pub fn of_stack(stack: &LiveStack, service: &'static str, clock: WallClock) -> Faults {
    let stack = stack.current();
    let faults = Faults::new(stack.name.as_str(), service, clock);
    if let Err(error) = faults.set(stack.faults.settings()) {
        // The configuration was checked when it was read.
        tracing::debug!(%error, "the faults of the start were not set");
    }
    faults
}

/// The routes of `/v1/faults`, and their description. There are none where the configuration does not let faults be set.
pub fn routes(faults: Faults, keys: &FaultKeys) -> OpenApiRouter {
    if !keys.api {
        return OpenApiRouter::new();
    }
    OpenApiRouter::new().routes(routes!(read, set)).routes(routes!(read_counts, set_counts)).with_state(faults)
}

/// What goes wrong on purpose, and how often it has.
#[utoipa::path(
    get, path = "/v1/faults", operation_id = "faults", tag = "faults",
    responses((status = 200, description = "All faults of the town, and what has happened here", body = ServiceFaults)),
)]
async fn read(State(faults): State<Faults>) -> Json<ServiceFaults> {
    let (settings, states) = faults.report();
    Json(ServiceFaults { settings, states })
}

/// Sets all faults of the town: the console does it. Those that stay as they were keep their counts.
#[utoipa::path(
    put, path = "/v1/faults", operation_id = "set_faults", tag = "faults", request_body = Settings,
    responses(
        (status = 204, description = "They are set"),
        (status = 400, description = "One of them makes no sense; nothing has changed"),
    ),
)]
async fn set(
    State(faults): State<Faults>,
    extract::Json(settings): extract::Json<Settings>,
) -> Result<StatusCode, Problem> {
    faults.set(settings).map_err(|error| invalid(error.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}

/// What was counted of the faults, in full: what a snapshot of the town keeps.
#[utoipa::path(
    get, path = "/v1/faults/counts", operation_id = "fault_counts", tag = "faults",
    responses((status = 200, description = "What was counted here", body = Counts)),
)]
async fn read_counts(State(faults): State<Faults>) -> Json<Counts> {
    Json(faults.counts())
}

/// Counts on from what was counted before: the console does it when a snapshot of the town is restored.
#[utoipa::path(
    put, path = "/v1/faults/counts", operation_id = "set_fault_counts", tag = "faults", request_body = Counts,
    responses(
        (status = 204, description = "It counts on from there"),
        (status = 400, description = "It is no count; nothing has changed"),
    ),
)]
async fn set_counts(State(faults): State<Faults>, extract::Json(counts): extract::Json<Counts>) -> StatusCode {
    faults.go_on_from(counts);
    StatusCode::NO_CONTENT
}
