//! What goes wrong on purpose.

use super::{
    App,
    extract::{self, Path},
    invalid,
};
use crate::spread::Report;
use ::faults::{Fault, FaultState, check_name};
use axum::{Json, extract::State, http::StatusCode};
use internal_api::{Problem, ProblemKind};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The faults of the town.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TownFaults {
    /// By their names.
    pub faults: BTreeMap<String, SetFault>,
    /// Whether recipients such as `bounce+550-5.1.1@domain` make faults.
    pub magic_recipients: bool,
    /// The services that could not be told yet, by their URLs, and why.
    pub untold: BTreeMap<String, String>,
}

/// A fault, and how often it has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetFault {
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
    /// How often, and in which sessions.
    #[serde(flatten)]
    pub state: FaultState,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list, clear)).routes(routes!(one, set, remove))
}

impl From<Report> for TownFaults {
    fn from(mut report: Report) -> Self {
        let faults = report.settings.faults.into_iter().map(|(name, fault)| {
            let state = report.states.remove(&name).unwrap_or_default();
            (name, SetFault { fault, state })
        });
        Self { faults: faults.collect(), magic_recipients: report.settings.magic_recipients, untold: report.untold }
    }
}

/// What goes wrong on purpose, and how often it has.
#[utoipa::path(
    get, path = "/v1/faults", operation_id = "list_faults", tag = "faults",
    responses((status = 200, description = "All faults", body = TownFaults)),
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<TownFaults> {
    Json(app.faults.report().await.into())
}

/// Lets nothing go wrong any more.
#[utoipa::path(
    delete, path = "/v1/faults", operation_id = "clear_faults", tag = "faults",
    responses((status = 200, description = "No faults, and who could not be told yet", body = TownFaults)),
)]
pub(super) async fn clear(State(app): State<Arc<App>>) -> Result<Json<TownFaults>, Problem> {
    change(&app, |faults| faults.clear()).await
}

/// One fault.
#[utoipa::path(
    get, path = "/v1/faults/{name}", operation_id = "fault", tag = "faults",
    params(("name" = String, Path)),
    responses((status = 200, description = "It is set", body = SetFault), (status = 404, description = "No such fault is set")),
)]
pub(super) async fn one(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<SetFault>, Problem> {
    let mut all = TownFaults::from(app.faults.report().await);
    all.faults.remove(&name).map(Json).ok_or_else(|| unknown(&name))
}

/// Lets something go wrong from now on. When the call returns, all services know it but those in `untold`. A fault that is
/// set again as it was keeps its counts.
#[utoipa::path(
    put, path = "/v1/faults/{name}", operation_id = "set_fault", tag = "faults",
    params(("name" = String, Path, pattern = "^[A-Za-z0-9._-]{1,64}$")),
    request_body = Fault,
    responses(
        (status = 200, description = "It is set", body = TownFaults),
        (status = 400, description = "It makes no sense; nothing has changed"),
    ),
)]
pub(super) async fn set(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    extract::Json(fault): extract::Json<Fault>,
) -> Result<Json<TownFaults>, Problem> {
    check_name(&name).and_then(|()| fault.check()).map_err(|error| invalid(error.to_string()))?;
    change(&app, |faults| drop(faults.insert(name, fault))).await
}

/// Lets this go wrong no more.
#[utoipa::path(
    delete, path = "/v1/faults/{name}", operation_id = "remove_fault", tag = "faults",
    params(("name" = String, Path)),
    responses((status = 204, description = "It is gone"), (status = 404, description = "No such fault is set")),
)]
pub(super) async fn remove(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    let mut removed = None;
    drop(change(&app, |faults| removed = faults.remove(&name)).await?);
    removed.map(|_| StatusCode::NO_CONTENT).ok_or_else(|| unknown(&name))
}

async fn change(app: &App, change: impl FnOnce(&mut BTreeMap<String, Fault>)) -> Result<Json<TownFaults>, Problem> {
    Ok(Json(app.faults.change(|settings| change(&mut settings.faults)).await?.into()))
}

fn unknown(name: &str) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("no fault {name} is set; see /v1/faults"))
}
