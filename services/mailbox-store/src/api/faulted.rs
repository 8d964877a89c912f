//! Requests that go wrong on purpose.

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use faults::{Action, Faults, Point};
use internal_api::{CALLER_HEADER, PROBLEM_MEDIA_TYPE};
use mail_net::{Hop, IoClock};
use serde_json::json;

/// What ends faults, whoever asks.
const SPARED: [&str; 2] = ["/v1/faults", "/v1/clock"];
/// Whose calls are no part of the mail system.
const SPARED_CALLER: &[u8] = b"console";

/// Lets requests go wrong while there are faults.
pub(crate) async fn go_wrong(State((faults, io)): State<(Faults, IoClock)>, request: Request, next: Next) -> Response {
    if !faults.is_on() {
        return next.run(request).await;
    }
    let path = request.uri().path();
    let caller = request.headers().get(CALLER_HEADER).map(HeaderValue::as_bytes);
    if SPARED.contains(&path) || caller == Some(SPARED_CALLER) {
        return next.run(request).await;
    }
    let verbs = [request.method().as_str()];
    let Some(outcome) = faults.at(&Point { name: Some(path), ..Point::of(Hop::GatewayToStore, &verbs) }) else {
        return next.run(request).await;
    };
    io.sleep(outcome.delay).await;
    match &outcome.action {
        Some(Action::Status(status)) => problem(*status, &outcome.names()),
        // Whoever asked gives up in its own time.
        Some(Action::Stall) => std::future::pending().await,
        _ => next.run(request).await,
    }
}

/// Problem details of a status for which there is no reason but the fault.
fn problem(status: u16, names: &str) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": "It goes wrong on purpose",
        "status": status,
        "detail": format!("the fault {names}"),
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    (status, [(header::CONTENT_TYPE, PROBLEM_MEDIA_TYPE)], Json(body)).into_response()
}
