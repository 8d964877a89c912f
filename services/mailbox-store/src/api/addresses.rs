//! What addresses mean, for the gateways' checks.

use super::{
    Api,
    extract::{self, Path},
};
use axum::{Json, extract::State};
use internal_api::{Problem, Resolved, text};
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(resolve))
}

/// What mail for this address would do here. An address that means nothing is no error.
#[utoipa::path(
    get, path = "/v1/addresses/{address}", operation_id = "resolve_address", tag = "addresses",
    params(("address" = text::Mailbox, Path)),
    responses(
        (status = 200, description = "What it means", body = Resolved),
        (status = 404, description = "It is no address"),
    ),
)]
pub(super) async fn resolve(
    State(api): State<Arc<Api>>,
    Path(address): Path<String>,
) -> Result<Json<Resolved>, Problem> {
    Ok(Json(api.admission.resolve(&extract::address(&address)?).await?))
}
