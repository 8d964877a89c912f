//! What became of a submission whose response was lost.

use super::{Api, extract::Path};
use axum::{Json, extract::State};
use internal_api::{Accepted, Problem, ProblemKind, Submission};
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(show))
}

/// The outcome of the submission that this transaction has named. Known for a day. A submission that still arrives is
/// not known yet.
#[utoipa::path(
    get, path = "/v1/transactions/{name}", operation_id = "show_transaction", tag = "messages",
    params(("name" = String, Path, description = "As the submission was named")),
    responses(
        (status = 200, description = "It was committed", body = Accepted, links(
            ("message" = (operation_id = "show_message", parameters(("id" = "$response.body#/id")))),
        )),
        (status = 404, description = "No submission of this name was committed"),
    ),
)]
pub(super) async fn show(State(api): State<Arc<Api>>, Path(name): Path<String>) -> Result<Json<Accepted>, Problem> {
    // What cannot name a transaction names none.
    let submitted = match Submission::is_transaction(&name) {
        true => api.messages.transaction(&name).await?,
        false => None,
    };
    let id = submitted.ok_or(ProblemKind::TransactionUnknown)?;
    Ok(Json(Accepted { id, repeated: true }))
}
