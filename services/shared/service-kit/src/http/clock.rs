//! The clock of a service: what it shows, and how a virtual one is moved.

use super::extract::{self, invalid};
use axum::{Json, Router, extract::State, routing::get};
use futures_util::future::BoxFuture;
use internal_api::{ClockMove, ClockState, Problem, ProblemKind};
use jiff::Timestamp;
use mail_net::{Immovable, WallClock};
use std::sync::Arc;

/// What happens by itself in a service, as the time of its wall clock comes.
pub trait Schedule: Send + Sync {
    /// When the next thing happens.
    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Problem>>;

    /// Does what is due now and what nobody else waits for. Called when the clock was moved, before that is answered.
    fn catch_up(&self) -> BoxFuture<'_, ()>;
}

#[derive(Clone)]
struct Served {
    wall: WallClock,
    schedule: Option<Arc<dyn Schedule>>,
}

/// The description of the routes.
#[derive(utoipa::OpenApi)]
#[openapi(paths(show_clock, move_clock), components(schemas(ClockState, ClockMove)))]
pub(crate) struct Description;

pub(super) fn routes(wall: WallClock, schedule: Option<Arc<dyn Schedule>>) -> Router {
    Router::new().route("/v1/clock", get(show_clock).put(move_clock)).with_state(Served { wall, schedule })
}

/// What the clock shows, and when the next thing happens by itself.
#[utoipa::path(
    get, path = "/v1/clock", operation_id = "show_clock", tag = "clock",
    responses((status = 200, description = "The clock", body = ClockState)),
)]
async fn show_clock(State(served): State<Served>) -> Result<Json<ClockState>, Problem> {
    served.state().await
}

/// Moves a virtual clock forward. One that is later already stays as it is, unless it is to go `back`.
#[utoipa::path(
    put, path = "/v1/clock", operation_id = "move_clock", tag = "clock", request_body = ClockMove,
    responses(
        (status = 200, description = "The clock after the move", body = ClockState),
        (status = 409, description = "The clock is that of the machine"),
    ),
)]
async fn move_clock(
    State(served): State<Served>,
    extract::Json(ClockMove { now, back }): extract::Json<ClockMove>,
) -> Result<Json<ClockState>, Problem> {
    let moved = if back { served.wall.set_to(now) } else { served.wall.move_to(now) };
    moved.map_err(|error| match error {
        Immovable::Real => ProblemKind::ClockReal.into(),
        Immovable::TooLate => invalid(format!("now: {error}")),
    })?;
    // A clock that goes back has reached nothing, and the stores may be held meanwhile.
    if let Some(schedule) = served.schedule.as_ref().filter(|_| !back) {
        schedule.catch_up().await;
    }
    served.state().await
}

impl Served {
    async fn state(&self) -> Result<Json<ClockState>, Problem> {
        let next_due = match &self.schedule {
            Some(schedule) => schedule.next_due().await?,
            None => None,
        };
        Ok(Json(ClockState { now: self.wall.now(), is_virtual: self.wall.is_virtual(), next_due }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, http::Request, response::Response};
    use mail_net::Clock;
    use tower_service::Service;

    async fn call(wall: &WallClock, method: &str, body: &'static str) -> (u16, serde_json::Value) {
        let request = Request::builder().method(method).uri("/v1/clock").header("content-type", "application/json");
        let mut routes = routes(wall.clone(), None);
        let response: Response = routes.call(request.body(Body::from(body)).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let octets = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&octets).unwrap())
    }

    #[tokio::test]
    async fn only_a_virtual_clock_is_moved() {
        let start = "2026-01-01T00:00:00Z";
        let wall = Clock::virtual_at(start.parse().unwrap()).wall;
        let shown = |now: &str| serde_json::json!({"now": now, "virtual": true, "next_due": null});
        assert_eq!(call(&wall, "GET", "").await, (200, shown(start)));
        let later = "2026-01-01T01:00:00Z";
        for (body, expected) in [
            (r#"{"now": "2026-01-01T01:00:00Z"}"#, later),
            (r#"{"now": "2026-01-01T00:00:00Z", "back": true}"#, start),
            (r#"{"now": "2026-01-01T01:00:00Z", "back": false}"#, later),
            (r#"{"now": "2026-01-01T00:30:00Z"}"#, later),
        ] {
            assert_eq!(call(&wall, "PUT", body).await, (200, shown(expected)));
        }
        for (body, status) in [(r#"{"now": "2089-01-01T00:00:00Z"}"#, 400), (r#"{"now": "soon"}"#, 400), ("", 400)] {
            let (refused, problem) = call(&wall, "PUT", body).await;
            assert_eq!((refused, &problem["type"]), (status, &"urn:mailtown:problem:invalid-request".into()), "{body}");
        }
        let (status, problem) = call(&Clock::system().wall, "PUT", r#"{"now": "2026-01-01T01:00:00Z"}"#).await;
        assert_eq!((status, &problem["type"]), (409, &"urn:mailtown:problem:clock-real".into()));
        assert_eq!(wall.now(), later.parse::<Timestamp>().unwrap());
    }
}
