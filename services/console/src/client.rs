//! The API of a console as a program calls it: a client, and what it gets.

pub use crate::{
    api::{
        dialogue::{DialogueLine, Explained, Remarked, SessionDialogue, Speaker},
        faults::{SetFault, TownFaults},
        queue::WaitingMail,
        sessions::Sessions,
        snapshots::TownSnapshots,
        trace::Trace,
        wait::{NearMiss, Waited, Why},
    },
    happenings::{Happening, HappeningKind},
    index::Refusal,
    journey::{Ends, Fate, Joined, Journey, Outcome, Stage, StageKind, Step, StepKind},
    message::{HeaderField, Part, Person},
    model::{Mail, MailRecipient, MailSummary},
    snapshots::{Manifest, TownRestored, TownSnapshot},
};

use ::faults::Fault;
use bytes::Bytes;
use internal_api::{MessageId, PROBLEM_MEDIA_TYPE, Problem, SessionId};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a call may take, besides the time for which the console is asked to wait.
const CALL: Duration = Duration::from_secs(15);
/// How long a snapshot may take, and a restore.
const SNAPSHOT: Duration = Duration::from_secs(120);
/// The user's name means nothing to a console; HTTP wants one.
const USER: &str = "mailtown";

/// Why a console has given no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It was not reached, or its answer broke off.
    #[error(transparent)]
    Silent(#[from] reqwest::Error),
    /// It wants a password, or another one.
    #[error("a password is required")]
    Locked,
    /// It says that it will not.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// What answers there is no console, or one of another version.
    #[error("the answer is none of a console: {0}")]
    Strange(String),
}

/// Calls a console.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    password: Option<String>,
    http: reqwest::Client,
}

/// Which messages are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'q> {
    /// The query, in the language of `GET /v1/mail`.
    pub query: &'q str,
    /// Only what has come after this.
    pub since: Option<&'q str>,
    /// How many.
    pub count: u32,
}

/// A file that is still arriving.
#[derive(Debug)]
pub struct CaptureStream(Response);

impl Client {
    /// A client of the console at this URL. A password in the URL counts, unless another is given.
    ///
    /// # Errors
    /// When it is no URL of HTTP, and when the platform gives no HTTP client.
    pub fn new(url: &str, password: Option<&str>) -> Result<Self, ClientError> {
        let strange = |reason: String| ClientError::Strange(format!("\"{url}\" is no URL of a console ({reason})"));
        let mut base = Url::parse(url).map_err(|error| strange(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(strange("it begins with http://".to_owned()));
        }
        let password = password.filter(|password| !password.is_empty()).or(base.password()).map(str::to_owned);
        // It is not to be shown in messages. Of a URL with a host, both can be removed.
        let (_, _) = (base.set_password(None), base.set_username(""));
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { base, password, http })
    }

    /// Where it is, without a password.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Whether it has a password to give.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// A page of the sessions, the newest first. `filter` has the parameters of `GET /v1/sessions`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sessions(&self, filter: &[(&str, String)]) -> Result<Sessions, ClientError> {
        self.read(self.get("v1/sessions", CALL).query(filter)).await
    }

    /// A session as a dialogue.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn dialogue(&self, id: SessionId) -> Result<SessionDialogue, ClientError> {
        self.read(self.get(&format!("v1/sessions/{id}/dialogue"), CALL)).await
    }

    /// What has happened. `filter` has the parameters of `GET /v1/trace`; the console waits at most `wait`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn trace(&self, filter: &[(&str, String)], wait: Duration) -> Result<Trace, ClientError> {
        let request = self.get("v1/trace", CALL + wait).query(filter);
        self.read(request.query(&[("wait", wait.as_secs())])).await
    }

    /// The journey of a message.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn journey(&self, message: MessageId) -> Result<Journey, ClientError> {
        self.read(self.get(&format!("v1/mail/{message}/journey"), CALL)).await
    }

    /// Waits for mail, at most `timeout`, which is 60 s or less.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn wait(&self, wanted: Wanted<'_>, timeout: Duration) -> Result<Waited, ClientError> {
        let Wanted { query, since, count } = wanted;
        let request = self.get("v1/mail/wait", CALL + timeout).query(&[("query", query)]);
        let request = request.query(&[("count", u64::from(count)), ("timeout", timeout.as_secs())]);
        let since: Vec<_> = since.map(|since| ("since", since)).into_iter().collect();
        self.read(request.query(&since)).await
    }

    /// Recorded sessions as pcapng. `filter` has the parameters of `GET /v1/captures.pcapng`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn capture(&self, filter: &[(&str, String)]) -> Result<CaptureStream, ClientError> {
        self.stream("v1/captures.pcapng", filter).await
    }

    /// The sessions that begin from now on as pcapng, which does not end.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn live_capture(&self) -> Result<CaptureStream, ClientError> {
        self.stream("v1/captures/live.pcapng", &[]).await
    }

    /// The time of the town, as `GET /v1/clock` tells it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn clock(&self) -> Result<Value, ClientError> {
        self.read(self.get("v1/clock", CALL)).await
    }

    /// Moves the time of the town forward, as `POST /v1/clock/advance` is told; it may take as long as `within`.
    ///
    /// # Errors
    /// [`ClientError`]; a [`Problem`] when its clock is that of the machine.
    pub async fn advance_clock(&self, advance: &Value, within: Duration) -> Result<Value, ClientError> {
        let request = self.to(Method::POST, "v1/clock/advance").timeout(CALL + within);
        self.read(request.json(advance)).await
    }

    /// What goes wrong on purpose.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn faults(&self) -> Result<TownFaults, ClientError> {
        self.read(self.get("v1/faults", CALL)).await
    }

    /// Lets something go wrong from now on.
    ///
    /// # Errors
    /// [`ClientError`]; a [`Problem`] when the fault makes no sense.
    pub async fn set_fault(&self, name: &str, fault: &Fault) -> Result<TownFaults, ClientError> {
        self.read(self.to(Method::PUT, &format!("v1/faults/{name}")).timeout(CALL).json(fault)).await
    }

    /// Lets this go wrong no more.
    ///
    /// # Errors
    /// [`ClientError`]; a [`Problem`] when no such fault is set.
    pub async fn remove_fault(&self, name: &str) -> Result<(), ClientError> {
        self.call(self.to(Method::DELETE, &format!("v1/faults/{name}")).timeout(CALL)).await.map(drop)
    }

    /// Lets nothing go wrong any more.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn clear_faults(&self) -> Result<TownFaults, ClientError> {
        self.read(self.to(Method::DELETE, "v1/faults").timeout(CALL)).await
    }

    /// All snapshots of the town.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn snapshots(&self) -> Result<TownSnapshots, ClientError> {
        self.read(self.get("v1/snapshots", CALL)).await
    }

    /// Takes a snapshot of the town.
    ///
    /// # Errors
    /// [`ClientError`]; a [`Problem`] when there is one of this name, among others.
    pub async fn take_snapshot(&self, name: &str, seed: Option<&str>) -> Result<TownSnapshot, ClientError> {
        let seed: Vec<_> = seed.map(|seed| ("seed", seed)).into_iter().collect();
        let request = self.to(Method::POST, &format!("v1/snapshots/{name}")).timeout(SNAPSHOT);
        self.read(request.query(&seed)).await
    }

    /// Makes the town what it was.
    ///
    /// # Errors
    /// [`ClientError`]; a [`Problem`] when there is no such snapshot, among others.
    pub async fn restore_snapshot(&self, name: &str) -> Result<TownRestored, ClientError> {
        self.read(self.to(Method::POST, &format!("v1/snapshots/{name}/restore")).timeout(SNAPSHOT)).await
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// [`ClientError`]; a [`Problem`] when there is no such snapshot, among others.
    pub async fn remove_snapshot(&self, name: &str) -> Result<(), ClientError> {
        self.call(self.to(Method::DELETE, &format!("v1/snapshots/{name}")).timeout(CALL)).await.map(drop)
    }

    /// A snapshot as one file, with what was recorded: a tar archive.
    ///
    /// # Errors
    /// [`ClientError`]; a [`Problem`] when there is no such snapshot, among others.
    pub async fn export_snapshot(&self, name: &str) -> Result<CaptureStream, ClientError> {
        self.stream(&format!("v1/snapshots/{name}/export"), &[]).await
    }

    async fn stream(&self, path: &str, filter: &[(&str, String)]) -> Result<CaptureStream, ClientError> {
        Ok(CaptureStream(self.call(self.request(path).query(filter)).await?))
    }

    fn request(&self, path: &str) -> RequestBuilder {
        self.to(Method::GET, path)
    }

    fn to(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/{path}", self.url()));
        match &self.password {
            Some(password) => request.basic_auth(USER, Some(password)),
            None => request,
        }
    }

    fn get(&self, path: &str, within: Duration) -> RequestBuilder {
        self.request(path).timeout(within)
    }

    async fn call(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(ClientError::Locked);
        }
        let media_type = response.headers().get(header::CONTENT_TYPE);
        if media_type.is_some_and(|value| value.as_bytes().starts_with(PROBLEM_MEDIA_TYPE.as_bytes())) {
            return Err(ClientError::Problem(response.json().await?));
        }
        Err(ClientError::Strange(status.to_string()))
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let octets = self.call(request).await?.bytes().await?;
        serde_json::from_slice(&octets).map_err(|error| ClientError::Strange(error.to_string()))
    }
}

impl CaptureStream {
    /// What comes next; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        Ok(self.0.chunk().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_no_message() {
        let client = Client::new("http://u:secret@127.0.0.1:8025/", None).unwrap();
        assert_eq!((client.url(), client.password.as_deref()), ("http://127.0.0.1:8025", Some("secret")));
        let client = Client::new("http://u:secret@127.0.0.1:8025", Some("other")).unwrap();
        assert_eq!(client.password.as_deref(), Some("other"));
        for url in ["127.0.0.1:8025", "ftp://x", "", "unix:/x"] {
            assert!(Client::new(url, None).unwrap_err().to_string().contains("is no URL of a console"), "{url}");
        }
    }
}
