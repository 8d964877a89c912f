//! The HTTP side of a service: health, metrics, description, and its API behind the bearer token.

use crate::shutdown::{CancellationToken, GRACE};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use mail_api::{Problem, ProblemKind};
use prometheus_client::registry::Registry;
use std::{future::Future, io, pin::Pin, sync::Arc};
use tokio::net::TcpListener;
use utoipa::openapi::OpenApi;

/// The media type of `/metrics`.
const METRICS_MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers whether the service can do its work now, and else why not.
pub type Readiness = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// A service that is ready as long as it runs.
pub fn always_ready() -> Readiness {
    Arc::new(|| Box::pin(async { Ok(()) }))
}

/// The secret that guards the API. Never displayed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<str>);

impl Token {
    /// The text that follows `Bearer `.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not tell how much of a guess was right.
    fn admits(&self, guess: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let difference = secret.iter().zip(guess).fold(0, |difference, (one, other)| difference | (one ^ other));
        secret.len() == guess.len() && difference == 0
    }
}

impl From<&str> for Token {
    fn from(secret: &str) -> Self {
        Self(secret.into())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What a service shows over HTTP.
pub struct HttpService {
    /// Its routes, all under `/v1`.
    pub api: Router,
    /// Describes those routes; served as `/v1/openapi.json`.
    pub description: OpenApi,
    /// Its counters; served as `/metrics`.
    pub metrics: Arc<Registry>,
    /// Asked by `/readyz`.
    pub readiness: Readiness,
    /// Guards everything under `/v1`; without one, anybody may call.
    pub token: Option<Token>,
}

/// Serves until `shutdown`, then lets requests in flight finish, [`GRACE`] at most.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, service: HttpService, shutdown: CancellationToken) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let graceful =
        axum::serve(listener, router(service)).with_graceful_shutdown(shutdown.clone().cancelled_owned()).into_future();
    tokio::select! {
        ended = graceful => ended,
        () = async { shutdown.cancelled().await; tokio::time::sleep(GRACE).await } => Ok(()),
    }
}

/// All the routes of a service, for those who serve them in another way.
pub fn router(service: HttpService) -> Router {
    let description = Json(service.description);
    let api = service
        .api
        .route("/v1/openapi.json", get(|| async { description }))
        .method_not_allowed_fallback(|| async { Problem::from(ProblemKind::MethodNotAllowed) })
        .fallback(|| async { Problem::from(ProblemKind::NotFound) })
        .layer(middleware::from_fn_with_state(service.token, guard));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(service.readiness))
        .route("/metrics", get(metrics).with_state(service.metrics))
        .merge(api)
}

async fn guard(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    let Some(token) = token else { return next.run(request).await };
    let guess = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    // The scheme's name is case-insensitive (RFC 9110 §11.1).
    let admitted = guess
        .split_at_checked("Bearer ".len())
        .is_some_and(|(scheme, guess)| scheme.eq_ignore_ascii_case(b"Bearer ") && token.admits(guess));
    if admitted { next.run(request).await } else { Problem::from(ProblemKind::Unauthorized).into_response() }
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    match readiness().await {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, METRICS_MEDIA_TYPE)], text).into_response(),
        Err(error) => Problem::new(ProblemKind::Internal, error.to_string()).into_response(),
    }
}
