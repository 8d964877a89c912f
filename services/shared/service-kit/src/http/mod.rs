//! The HTTP side of a service: health, metrics, description, and its API behind the bearer token.

mod clock;
pub mod event_stream;
pub mod extract;
mod listener;
mod origin;
mod room;
mod server;
mod write_timeout;

pub(crate) use clock::Description as ClockDescription;
pub use clock::Schedule;
pub use listener::{HttpListener, SocketError};

use crate::{
    description,
    shutdown::{CancellationToken, GRACE},
};
use axum::{
    Json, Router,
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use bytes::BytesMut;
use internal_api::{CONNECTION_HEADER, ConnectionId, InProcess, PROBLEM_MEDIA_TYPE, Problem, ProblemKind, StoreClient};
use mail_net::{Clock, IoClock};
use mail_proto::{Domain, Mailbox};
use prometheus_client::registry::Registry;
use serde::Serialize;
use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};
use town_config::Hosts;
use tracing::Instrument;
use utoipa::openapi::OpenApi;

/// The media type of `/metrics`.
const METRICS_MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long a store may take to show that it is there.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns whether the service can do its work now, and else why not.
pub type Readiness = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// A service that is ready as long as it runs.
pub fn always_ready() -> Readiness {
    Arc::new(|| Box::pin(async { Ok(()) }))
}

/// A service that is ready while its mailbox store answers; asked for the postmaster of `server`, who need not exist.
pub fn ready_with_store(store: StoreClient, server: Domain, io: IoClock) -> Readiness {
    let probe = Mailbox::postmaster(server);
    Arc::new(move || {
        let (store, probe) = (store.clone(), probe.clone());
        Box::pin(async move {
            match io.timeout(READINESS_TIMEOUT, store.mailbox(&probe)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("the mailbox store: {error}")),
                Err(_) => Err("the mailbox store does not answer".to_owned()),
            }
        })
    })
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
    /// The names that it may be called by; asked for each request.
    pub hosts: Hosts,
    /// Where others of this process call it without a connection.
    pub in_process: InProcess,
    /// Limits its connections with its I/O part. The wall part is shown and moved as `/v1/clock`.
    pub clock: Clock,
    /// What happens in it by itself at its time.
    pub schedule: Option<Arc<dyn Schedule>>,
}

/// Serves until `shutdown`, then lets requests in flight finish, those of its own process too, [`GRACE`] at most. How many
/// connections there are at once, in all HTTP services of a process, depends on its limit of descriptors. What comes over a
/// Unix socket is checked as what comes over TCP is.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(listener: HttpListener, service: HttpService, shutdown: CancellationToken) -> io::Result<()> {
    let (clock, in_process) = (service.clock.io, service.in_process.clone());
    let router = router(service);
    let served = in_process.serve(router.clone());
    let calls = async {
        shutdown.cancelled().await;
        // A call that takes longer goes on: it is its caller who makes it.
        let _ = clock.timeout(GRACE, served.finish()).await;
    };
    tokio::join!(server::serve(listener, clock, router, shutdown.clone()), calls);
    Ok(())
}

/// Serves a router such as that of [`pages_router`] until `shutdown`, in the way of [`serve`].
pub async fn serve_router(listener: HttpListener, router: Router, clock: IoClock, shutdown: CancellationToken) {
    server::serve(listener, clock, router, shutdown).await;
}

/// All the routes of a service, for those who serve them in another way.
pub fn router(mut service: HttpService) -> Router {
    service.api = service.api.merge(clock::routes(service.clock.wall.clone(), service.schedule.clone()));
    let (description, hosts) = (description::complete(service.description.clone()), Arc::clone(&service.hosts));
    let index = get(index_page).with_state(Arc::new(Index::of(&description)));
    assemble(service, description, index)
        .layer(middleware::from_fn_with_state(hosts, origin::guard))
        .layer(middleware::map_response(end_line))
}

/// The same for a service with pages for people. `home` answers at `/`. Links of other sites may lead to the pages; a page of
/// another site can neither read them nor change anything.
pub fn pages_router(service: HttpService, home: MethodRouter) -> Router {
    let (description, hosts) =
        (description::complete_for_pages(service.description.clone()), Arc::clone(&service.hosts));
    assemble(service, description, home)
        .layer(middleware::from_fn_with_state(hosts, origin::guard_pages))
        .layer(middleware::map_response(end_line))
}

fn assemble(service: HttpService, description: OpenApi, home: MethodRouter) -> Router {
    let api = service
        .api
        .route("/v1/openapi.json", get(openapi_json).with_state(Arc::new(description)))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(|| async { Problem::from(ProblemKind::NotFound) })
        .layer(middleware::from_fn(for_connection))
        .layer(middleware::from_fn_with_state(service.token, guard));
    Router::new()
        .route("/", home)
        .route("/livez", get(livez))
        .route("/readyz", get(readyz).with_state(service.readiness))
        .route("/metrics", get(metrics).with_state(service.metrics))
        .method_not_allowed_fallback(method_not_allowed)
        .merge(api)
}

/// Where to go from `/`.
#[derive(Debug, Serialize)]
pub(crate) struct Index {
    service: String,
    version: &'static str,
    /// All that can be read without knowing more than its path.
    links: Vec<String>,
}

impl Index {
    fn of(description: &OpenApi) -> Self {
        let readable = description.paths.paths.iter().filter(|(path, item)| item.get.is_some() && !path.contains('{'));
        let links = readable.map(|(path, _)| path.clone()).filter(|path| path != "/").collect();
        Self { service: description.info.title.clone(), version: env!("CARGO_PKG_VERSION"), links }
    }
}

/// The service's name, and the paths that can be read.
#[utoipa::path(
    get, path = "/", tag = "health", security(()),
    responses((status = 200, description = "Where to go on", body = Object)),
)]
pub(crate) async fn index_page(State(index): State<Arc<Index>>) -> Response {
    Json(&*index).into_response()
}

/// Ends JSON with a line feed, so that a shell's prompt does not follow it on its line.
async fn end_line(response: Response) -> Response {
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|media_type| {
        [&b"application/json"[..], PROBLEM_MEDIA_TYPE.as_bytes()].contains(&media_type.as_bytes())
    });
    // Only HEAD has no body here: the answer to it stays as it is.
    if !is_json || response.body().is_end_stream() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Every JSON body was made whole in memory.
    let Ok(json) = axum::body::to_bytes(body, usize::MAX).await else {
        return Problem::from(ProblemKind::Internal).into_response();
    };
    let mut json = BytesMut::from(json);
    json.extend_from_slice(b"\n");
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(json.freeze()))
}

/// This description.
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "description",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub(crate) async fn openapi_json(State(description): State<Arc<OpenApi>>) -> Json<OpenApi> {
    Json(OpenApi::clone(&description))
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

/// Handles a request under the id of the connection that a gateway makes it for.
async fn for_connection(request: Request, next: Next) -> Response {
    let id = request.headers().get(CONNECTION_HEADER);
    match id.and_then(|id| ConnectionId::from_header(id.as_bytes())) {
        Some(connection) => {
            let span = tracing::error_span!("call", %connection);
            connection.scope(next.run(request).instrument(span)).await
        }
        None => next.run(request).await,
    }
}

async fn method_not_allowed() -> Problem {
    ProblemKind::MethodNotAllowed.into()
}

/// Whether the service runs.
#[utoipa::path(
    get, path = "/livez", tag = "health", security(()),
    responses((status = 200, description = "It runs", body = String, content_type = "text/plain")),
)]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether the service can do its work now.
#[utoipa::path(
    get, path = "/readyz", tag = "health", security(()),
    responses(
        (status = 200, description = "It can", body = String, content_type = "text/plain"),
        (status = 503, description = "It cannot, for this reason", body = String, content_type = "text/plain"),
    ),
)]
pub(crate) async fn readyz(State(readiness): State<Readiness>) -> Response {
    match readiness().await {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response(),
    }
}

/// The service's counters.
#[utoipa::path(
    get, path = "/metrics", tag = "health", security(()),
    responses((status = 200, description = "OpenMetrics 1.0", body = String, content_type = METRICS_MEDIA_TYPE)),
)]
pub(crate) async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, METRICS_MEDIA_TYPE)], text).into_response(),
        Err(error) => Problem::new(ProblemKind::Internal, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::{DnsClient, Endpoint, Records, Resolution};
    use tokio::net::TcpListener;

    #[tokio::test(start_paused = true)]
    async fn calls_of_the_same_process_are_finished_too() {
        let (in_process, clock) = (InProcess::default(), Clock::system().io);
        let (started, shutdown) = (clock.instant(), CancellationToken::new());
        let (call, grace) = (GRACE / 2, shutdown.clone());
        let slow = async move || {
            grace.cancel();
            clock.sleep(call).await;
            Json(Resolution { name: "a.".to_owned(), records: Records::P(vec!["25".to_owned()]) })
        };
        let service = HttpService {
            api: Router::new().route("/v1/resolve", get(slow)),
            description: OpenApi::default(),
            metrics: Arc::default(),
            readiness: always_ready(),
            token: None,
            hosts: Arc::new(town_config::OwnHosts::default),
            in_process: in_process.clone(),
            clock: Clock::system(),
            schedule: None,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let serving = async {
            serve(listener.into(), service, shutdown).await.unwrap();
            clock.since(started)
        };
        let dns = DnsClient::new(Endpoint::new("http://127.0.0.1:9", None).unwrap().in_process(in_process), clock);
        let (served, ports) = tokio::join!(serving, dns.ports("a"));
        assert_eq!(ports.unwrap(), Some(vec!["25".to_owned()]));
        assert_eq!(served, call);
    }
}
