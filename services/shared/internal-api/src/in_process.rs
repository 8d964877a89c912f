//! Calls to a service of the same process, without a connection: the same requests, checks and answers.

use crate::{ApiError, patience::patient};
use axum::{
    Router,
    body::Body,
    http::{self, HeaderValue, header},
};
use futures_util::FutureExt;
use mail_net::IoClock;
use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, PoisonError, RwLock},
};
use tower_service::Service;
use tracing::{Instrument, Span};

/// Where a service takes calls of its own process. The service and those who call it have clones of one.
///
/// While nobody serves there, callers use the service's address.
#[derive(Clone, Default)]
pub struct InProcess(Arc<RwLock<Option<Serving>>>);

#[derive(Clone)]
struct Serving {
    router: Router,
    /// Of the service, whose lines these are.
    span: Span,
}

/// Takes calls until it is dropped.
#[derive(Debug)]
pub struct Served(InProcess);

impl InProcess {
    /// Serves all that `router` serves. What is logged meanwhile is logged in the caller's span.
    #[must_use = "calls are taken until this is dropped"]
    pub fn serve(&self, router: Router) -> Served {
        self.set(Some(Serving { router, span: Span::current() }));
        Served(self.clone())
    }

    fn set(&self, serving: Option<Serving>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = serving;
    }

    /// Makes a call; gives the request back where nobody serves.
    pub(crate) async fn call(
        &self,
        request: reqwest::Request,
        io: IoClock,
    ) -> Result<Result<reqwest::Response, ApiError>, reqwest::Request> {
        let serving = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        match serving {
            Some(serving) => Ok(serving.call(request, io).await),
            None => Err(request),
        }
    }
}

impl Serving {
    async fn call(mut self, request: reqwest::Request, io: IoClock) -> Result<reqwest::Response, ApiError> {
        let limit = request.timeout().copied();
        let host = request.url().authority().to_owned();
        let mut request = http::Request::<reqwest::Body>::try_from(request)?.map(Body::new);
        if let Ok(host) = HeaderValue::from_str(&host) {
            request.headers_mut().insert(header::HOST, host);
        }
        let (router, request) = (&mut self.router, patient(request, io));
        let answering = async {
            let Ok(response) = router.call(request).await;
            if limit.is_none() {
                return Ok(response.map(|body| reqwest::Body::wrap_stream(body.into_data_stream())));
            }
            // The limit is for all of the answer, which is small.
            let (head, body) = response.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await;
            body.map(|octets| http::Response::from_parts(head, octets.into()))
        };
        // Over a connection, a handler that panics breaks the connection and nothing else.
        let answering = AssertUnwindSafe(answering).catch_unwind().instrument(self.span);
        let answered = match limit {
            Some(limit) => io.timeout(limit, answering).await.map_err(|_| ApiError::Late(limit))?,
            None => answering.await,
        };
        match answered {
            Ok(Ok(response)) => Ok(response.into()),
            Ok(Err(_)) | Err(_) => Err(ApiError::Panicked),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serves = self.0.read().unwrap_or_else(PoisonError::into_inner).is_some();
        f.debug_tuple("InProcess").field(&serves).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Endpoint, ProblemKind};
    use axum::{extract::Request, routing::post};
    use mail_net::Clock;
    use reqwest::Method;
    use std::time::Duration;

    fn endpoint(to: &InProcess) -> Endpoint {
        // Nobody listens there.
        Endpoint::new("http://127.0.0.1:1", Some("secret")).unwrap().in_process(to.clone())
    }

    fn routes() -> Router {
        let echo = async |request: Request| {
            let names = [header::HOST, header::AUTHORIZATION];
            let seen = names.map(|name| request.headers()[name].to_str().unwrap().to_owned()).join(" ");
            let body = axum::body::to_bytes(request.into_body(), 100).await.unwrap();
            format!("{seen} {}", String::from_utf8_lossy(&body))
        };
        let panics = async || -> &'static str { panic!("a bug") };
        let hangs = async || Clock::system().io.sleep(Duration::from_secs(3600)).await;
        Router::new().route("/echo", post(echo)).route("/panics", post(panics)).route("/hangs", post(hangs))
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_the_same_as_over_a_connection_and_stays_in_the_process() {
        let (to, io) = (InProcess::default(), Clock::system().io);
        let endpoint = endpoint(&to);
        let call = async |path| {
            let request = endpoint.request(Method::POST, &[path]).body("octets");
            endpoint.call(request, io).await
        };
        assert!(call("echo").await.unwrap_err().was_not_sent(), "nobody serves yet");
        let served = to.serve(routes());
        let answer = call("echo").await.unwrap().text().await.unwrap();
        assert_eq!(answer, "127.0.0.1:1 Bearer secret octets");
        assert!(call("panics").await.unwrap_err().is_unanswered(), "nobody knows what it has done");
        assert_eq!(call("nowhere").await.unwrap_err().kind(), Some(ProblemKind::NotFound));
        let late = call("hangs").await.unwrap_err();
        assert!(matches!(late, ApiError::Late(limit) if limit == Duration::from_secs(15)), "{late}");
        drop(served);
        assert!(call("echo").await.unwrap_err().was_not_sent(), "nobody serves any more");
    }
}
