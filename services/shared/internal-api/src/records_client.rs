//! The calls of those who look at what a service has recorded of its sessions.

use crate::{ApiError, Endpoint, SessionId, SessionPage, SessionRecords, TracePage};
use mail_net::IoClock;
use reqwest::Method;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How much longer than it was asked to wait the service may take.
const MARGIN: Duration = Duration::from_secs(15);

/// Calls a service that records its sessions. One of an earlier version answers with
/// [`ProblemKind::NotFound`](crate::ProblemKind::NotFound).
#[derive(Debug, Clone)]
pub struct RecordsClient {
    endpoint: Endpoint,
    io: IoClock,
}

impl RecordsClient {
    /// A client of the service at this endpoint. `io` limits how long it waits.
    pub fn new(endpoint: Endpoint, io: IoClock) -> Self {
        Self { endpoint, io }
    }

    /// What was seen after `after`; from the beginning without it. Without any, the service waits, at most `wait`, 60 s or
    /// less.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn trace(&self, after: Option<&str>, wait: Duration) -> Result<TracePage, ApiError> {
        let request = self.endpoint.streaming(Method::GET, &["v1", "trace"]).timeout(wait + MARGIN);
        let after: Vec<_> = after.map(|after| ("after", after)).into_iter().collect();
        self.read(request.query(&after).query(&[("wait", wait.as_secs())])).await
    }

    /// A page of the sessions, the newest first, before `before`.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn sessions(&self, before: Option<SessionId>) -> Result<SessionPage, ApiError> {
        let before: Vec<_> = before.map(|before| ("before", before.to_string())).into_iter().collect();
        self.read(self.endpoint.request(Method::GET, &["v1", "sessions"]).query(&before)).await
    }

    /// A session with what was seen of it.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::NotFound`](crate::ProblemKind::NotFound) when it is not known any more, among others.
    pub async fn session(&self, id: SessionId) -> Result<SessionRecords, ApiError> {
        self.read(self.endpoint.request(Method::GET, &["v1", "sessions", &id.to_string()])).await
    }

    async fn read<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, ApiError> {
        Ok(self.endpoint.call(request, self.io).await?.json().await?)
    }
}
