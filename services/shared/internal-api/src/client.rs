//! What the clients of the internal API share.

use crate::{CALLER_HEADER, CONNECTION_HEADER, ConnectionId, InProcess, Problem, ProblemKind};
use mail_net::IoClock;
use reqwest::{Method, Request, RequestBuilder, Response, StatusCode, header};
use std::{fmt, sync::Arc, time::Duration};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// After so long without an answer from its machine, a service counts as gone. The next call looks for another one of its
/// name, soon enough to repeat a submission there.
#[cfg(target_os = "linux")]
const SILENCE: Duration = Duration::from_secs(10);
/// How long an unused connection is kept: less than the service keeps it.
const POOL_IDLE: Duration = Duration::from_secs(30);
/// How long a call without a body of its own may take: far below what a mail client waits.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// What the URL of a Unix socket begins with; its path follows.
const UNIX_SCHEME: &str = "unix:";
/// The base of URLs that are asked for over a Unix socket. Every service takes this name for its own.
const LOCAL_BASE: &str = "http://localhost";

/// Why a call brought no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The service answered that it would not.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The service could not be reached, hung, or answered something that is no answer.
    #[error("{}", chain(.0))]
    Unavailable(#[from] reqwest::Error),
    /// A service of this process has failed over the call, which is a bug.
    #[error("the service failed over the call")]
    Panicked,
    /// The answer of a service of this process has ended before its end, for this reason.
    #[error("the answer broke off: {0}")]
    BrokeOff(String),
    /// A service of this process has not answered within this time.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
}

impl ApiError {
    /// What went wrong, where the service said so.
    pub fn kind(&self) -> Option<ProblemKind> {
        match self {
            Self::Problem(problem) => Some(problem.kind),
            Self::Unavailable(_) | Self::Late(_) | Self::Panicked | Self::BrokeOff(_) => None,
        }
    }

    /// Whether it is unknown what became of the request: there was no answer.
    pub fn is_unanswered(&self) -> bool {
        self.kind().is_none()
    }

    /// Whether the service cannot have got the request: there was no connection.
    pub fn was_not_sent(&self) -> bool {
        matches!(self, Self::Unavailable(error) if error.is_connect())
    }
}

/// reqwest hides the reason ("connection refused") behind "error sending request".
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Where a service listens, and how to be let in.
#[derive(Debug, Clone)]
pub struct Endpoint {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
    in_process: InProcess,
    caller: Option<&'static str>,
    observer: Option<Observer>,
}

/// A call that is over, except for the body of its answer.
#[derive(Debug)]
pub struct Call<'c> {
    /// The method of the request.
    pub method: &'c Method,
    /// The path of the request, percent-encoded.
    pub path: &'c str,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// How long it took until the answer began.
    pub took: Duration,
}

/// Is told of calls.
#[derive(Clone)]
struct Observer(Arc<dyn Fn(Call<'_>) + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl Endpoint {
    /// The service at `base`, called with this bearer token: `http://127.0.0.1:1080`, say, or
    /// `unix:/run/mailtown/store.sock`, which is a Unix socket. Requests and answers are the same over both.
    ///
    /// # Errors
    /// When the platform gives no HTTP client at all.
    pub fn new(base: &str, token: Option<&str>) -> Result<Self, ApiError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .pool_idle_timeout(POOL_IDLE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        #[cfg(target_os = "linux")]
        let http = http.tcp_user_timeout(SILENCE).tcp_keepalive(SILENCE / 2).tcp_keepalive_interval(SILENCE / 2);
        let (base, http) = match base.strip_prefix(UNIX_SCHEME) {
            Some(path) => (LOCAL_BASE, http.unix_socket(path)),
            None => (base.trim_end_matches('/'), http),
        };
        let (base, token, http) = (base.to_owned(), token.map(str::to_owned), http.build()?);
        Ok(Self { base, token, http, in_process: InProcess::default(), caller: None, observer: None })
    }

    /// The same endpoint; while the service serves there, calls need no connection.
    pub fn in_process(self, in_process: InProcess) -> Self {
        Self { in_process, ..self }
    }

    /// The same endpoint, called in the name of this service: faults of the store do not concern the console.
    pub fn called_by(self, caller: &'static str) -> Self {
        Self { caller: Some(caller), ..self }
    }

    /// The same endpoint; `observer` is told of each call once its answer begins.
    pub fn observed(self, observer: impl Fn(Call<'_>) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Observer(Arc::new(observer))), ..self }
    }

    /// Calls as [`Endpoint::call`] does, and tells the observer.
    pub(crate) async fn observed_call(&self, request: RequestBuilder, io: IoClock) -> Result<Response, ApiError> {
        let Some(Observer(observe)) = &self.observer else { return self.call(request, io).await };
        let started = io.instant();
        let request = request.build()?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let answer = self.execute(request, io).await;
        let status = match &answer {
            Ok(response) => Some(response.status()),
            Err(error) => error.kind().map(ProblemKind::status),
        };
        let status = status.map(|status| status.as_u16());
        observe(Call { method: &method, path: &path, status, took: io.since(started) });
        answer
    }

    /// Sends a request, and turns an error status into the problem it carries. `io` limits a call in the process.
    pub(crate) async fn call(&self, request: RequestBuilder, io: IoClock) -> Result<Response, ApiError> {
        self.execute(request.build()?, io).await
    }

    async fn execute(&self, request: Request, io: IoClock) -> Result<Response, ApiError> {
        match self.in_process.call(request, io).await {
            Ok(answer) => checked(answer?).await,
            Err(request) => checked(self.http.execute(request).await?).await,
        }
    }

    /// A request that may take as long as its body does.
    pub(crate) fn streaming(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        for segment in path {
            url.push('/');
            push_segment(&mut url, segment);
        }
        let mut request = self.http.request(method, url);
        if let Some(id) = ConnectionId::current() {
            request = request.header(CONNECTION_HEADER, id.as_str());
        }
        if let Some(caller) = self.caller {
            request = request.header(CALLER_HEADER, caller);
        }
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// A request that is over soon or has failed.
    pub(crate) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.streaming(method, path).timeout(CALL_TIMEOUT)
    }
}

/// Percent-encodes all but RFC 3986 §2.3 unreserved characters and `@`: an address may hold a `/`.
fn push_segment(url: &mut String, segment: &str) {
    for octet in segment.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~@".contains(&octet) {
            url.push(char::from(octet));
        } else {
            url.push_str(&format!("%{octet:02X}"));
        }
    }
}

/// Turns an error status into the problem that the response carries.
async fn checked(response: Response) -> Result<Response, ApiError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let from_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|media_type| media_type.as_bytes().starts_with(crate::PROBLEM_MEDIA_TYPE.as_bytes()));
    if from_problem {
        return Err(ApiError::Problem(response.json().await?));
    }
    let kind = if status == StatusCode::NOT_FOUND { ProblemKind::NotFound } else { ProblemKind::Internal };
    Err(ApiError::Problem(Problem::new(kind, format!("answered {status} without saying why"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, extract::Request, routing::get};
    use mail_net::Clock;
    use tokio::net::UnixListener;

    #[tokio::test]
    async fn calls_go_over_a_unix_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.sock");
        let endpoint = Endpoint::new(&format!("unix:{}", path.display()), Some("secret")).unwrap();
        let call = async || endpoint.call(endpoint.request(Method::GET, &["echo"]), Clock::system().io).await;
        assert!(call().await.unwrap_err().was_not_sent(), "there is no socket yet");
        let listener = UnixListener::bind(&path).unwrap();
        let echo = async |request: Request| {
            let names = [header::HOST, header::AUTHORIZATION];
            names.map(|name| request.headers()[name].to_str().unwrap().to_owned()).join(" ")
        };
        let serving = tokio::spawn(async move { axum::serve(listener, Router::new().route("/echo", get(echo))).await });
        assert_eq!(call().await.unwrap().text().await.unwrap(), "localhost Bearer secret");
        serving.abort();
        drop(serving.await);
    }
}
