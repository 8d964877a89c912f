//! A message's way through the town.

use super::{
    App,
    extract::{Path, message},
};
use crate::journey::{self, Journey};
use axum::{Json, extract::State};
use internal_api::{MessageId, Problem, ProblemKind};
use std::sync::Arc;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(show))
}

impl App {
    /// The journey of a message.
    ///
    /// # Errors
    /// When the message is not known.
    pub(crate) async fn journey(&self, id: MessageId) -> Result<Journey, Problem> {
        let known = self.index.journey(id).await?.ok_or(ProblemKind::MessageUnknown)?;
        Ok(journey::of(&known, self.clock.wall.now()))
    }
}

/// A message's journey: from the session that brought it, over each hop to other servers, to the sessions that read it.
#[utoipa::path(
    get, path = "/v1/mail/{id}/journey", operation_id = "show_journey", tag = "mail",
    params(("id" = MessageId, Path)),
    responses(
        (status = 200, description = "The journey, from the first message of which this one is a copy", body = Journey),
        (status = 404, description = "The console knows no such message"),
    ),
)]
pub(super) async fn show(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Json<Journey>, Problem> {
    app.caught_up().await;
    Ok(Json(app.journey(message(&id)?).await?))
}
