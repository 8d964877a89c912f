//! Calls to a service of the same process, without a connection: the same requests, checks and answers.

use crate::{ApiError, patience::patient};
use axum::{
    Error, Router,
    body::{Body, Bytes, HttpBody},
    http::{self, HeaderValue, header},
};
use futures_util::FutureExt;
use http_body::{Frame, SizeHint};
use mail_net::IoClock;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
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
    /// The calls that are under way.
    calls: TaskTracker,
}

/// Takes calls until it is dropped or finished.
#[derive(Debug)]
pub struct Served {
    to: InProcess,
    calls: TaskTracker,
}

impl Served {
    /// Takes no more calls, and waits until those under way are answered to the last octet, or given up by their callers.
    pub async fn finish(&self) {
        self.to.set(None);
        self.calls.close();
        self.calls.wait().await;
    }
}

impl InProcess {
    /// Serves all that `router` serves. What is logged meanwhile is logged in the caller's span.
    #[must_use = "calls are taken until this is dropped"]
    pub fn serve(&self, router: Router) -> Served {
        let calls = TaskTracker::new();
        self.set(Some(Serving { router, span: Span::current(), calls: calls.clone() }));
        Served { to: self.clone(), calls }
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
        // Counted before the lock is given up: from then on, nobody may serve any more.
        let taken = self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(Serving::take);
        match taken {
            Some((serving, under_way)) => Ok(serving.call(request, io, under_way).await),
            None => Err(request),
        }
    }
}

impl Serving {
    /// Itself, and what is dropped when a call is over.
    fn take(&self) -> (Self, TaskTrackerToken) {
        (self.clone(), self.calls.token())
    }

    async fn call(
        mut self,
        request: reqwest::Request,
        io: IoClock,
        under_way: TaskTrackerToken,
    ) -> Result<reqwest::Response, ApiError> {
        let limit = request.timeout().copied();
        let host = request.url().authority().to_owned();
        let mut request = http::Request::<reqwest::Body>::try_from(request)?.map(Body::new);
        if let Ok(host) = HeaderValue::from_str(&host) {
            request.headers_mut().insert(header::HOST, host);
        }
        let (router, request, span) = (&mut self.router, patient(request, io), self.span.clone());
        let answering = async {
            let Ok(response) = router.call(request).await;
            let response = response.map(|body| Body::new(Answer { body, span, _under_way: under_way }));
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
            Ok(Err(error)) if is_a_panic(&error) => Err(ApiError::Panicked),
            Ok(Err(error)) => Err(ApiError::BrokeOff(error.to_string())),
            Err(_) => Err(ApiError::Panicked),
        }
    }
}

/// The body of an answer, with which its call ends. Its caller does not panic with it.
struct Answer {
    body: Body,
    span: Span,
    _under_way: TaskTrackerToken,
}

/// Why a body that has panicked breaks.
#[derive(Debug, thiserror::Error)]
#[error("the service failed over the answer")]
struct Panicked;

fn is_a_panic(error: &Error) -> bool {
    let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    chain.into_iter().any(|error| error.is::<Panicked>())
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { body, span, .. } = &mut *self;
        let polling = AssertUnwindSafe(|| span.in_scope(|| Pin::new(&mut *body).poll_frame(context)));
        catch_unwind(polling).unwrap_or_else(|_| {
            *body = Body::empty();
            Poll::Ready(Some(Err(Error::new(Panicked))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.to.set(None);
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
    use futures_util::{StreamExt, stream};
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
        let broken = || Body::from_stream(stream::iter([Ok("octets"), Err(std::io::Error::other("no more"))]));
        let panicking = || {
            Body::from_stream(stream::iter(0..2).map(|number| match number {
                0 => Ok::<_, std::io::Error>("octets"),
                _ => panic!("a bug"),
            }))
        };
        let hangs = async || Clock::system().io.sleep(Duration::from_secs(3600)).await;
        Router::new()
            .route("/echo", post(echo))
            .route("/panics", post(panics))
            .route("/hangs", post(hangs))
            .route("/broken", post(async move || broken()))
            .route("/panicking", post(async move || panicking()))
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
        let broken = call("broken").await.unwrap_err();
        assert!(matches!(&broken, ApiError::BrokeOff(why) if why == "no more") && broken.is_unanswered(), "{broken}");
        assert!(matches!(call("panicking").await, Err(ApiError::Panicked)));
        drop(served);
        assert!(call("echo").await.unwrap_err().was_not_sent(), "nobody serves any more");
    }

    /// A body that is streamed is read when the call has long returned.
    #[tokio::test]
    async fn a_body_that_panics_is_an_error_for_its_reader() {
        let (to, io) = (InProcess::default(), Clock::system().io);
        let endpoint = endpoint(&to);
        let _served = to.serve(routes());
        for path in ["broken", "panicking"] {
            let mut answer = endpoint.call(endpoint.streaming(Method::POST, &[path]), io).await.unwrap();
            assert_eq!(answer.chunk().await.unwrap().unwrap(), "octets", "{path}");
            assert!(answer.chunk().await.is_err(), "{path}");
        }
    }

    #[tokio::test]
    async fn calls_are_finished_to_their_last_octet() {
        let (to, io) = (InProcess::default(), Clock::system().io);
        let endpoint = endpoint(&to);
        let served = to.serve(routes());
        let answer = endpoint.call(endpoint.streaming(Method::POST, &["echo"]).body("octets"), io).await.unwrap();
        let mut finishing = Box::pin(served.finish());
        assert!(futures_util::poll!(&mut finishing).is_pending());
        let other = endpoint.call(endpoint.streaming(Method::POST, &["echo"]), io).await;
        assert!(other.unwrap_err().was_not_sent(), "no more calls are taken");
        assert!(futures_util::poll!(&mut finishing).is_pending());
        answer.text().await.unwrap();
        finishing.await;
    }
}
