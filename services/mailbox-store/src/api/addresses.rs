//! What addresses mean, for the gateways' checks.

use super::{Api, extract::Path};
use axum::{Json, extract::State};
use internal_api::{Problem, Resolved, text};
use mail_proto::Mailbox;
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(resolve))
}

/// What mail for this address would do here. An address that means nothing is no error, nor is a text that is no address.
#[utoipa::path(
    get, path = "/v1/addresses/{address}", operation_id = "resolve_address", tag = "addresses",
    params(("address" = text::Mailbox, Path)),
    responses((status = 200, description = "What it means", body = Resolved)),
)]
pub(super) async fn resolve(
    State(api): State<Arc<Api>>,
    Path(address): Path<String>,
) -> Result<Json<Resolved>, Problem> {
    let Ok(address) = address.parse::<Mailbox>() else { return Ok(Json(Resolved::Unknown)) };
    Ok(Json(api.accounts.resolve(&address).await?))
}
