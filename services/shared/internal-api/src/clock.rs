//! The clock of a service, and the calls that move it.

use crate::{ApiError, Endpoint};
use jiff::Timestamp;
use mail_net::IoClock;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the clock of a service shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClockState {
    /// The time.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// Whether the clock is virtual: it stands still until it is moved. Otherwise it is that of the machine.
    #[serde(rename = "virtual")]
    pub is_virtual: bool,
    /// When the next thing happens by itself, as far as the service knows: the attempt to send queued mail that is not on
    /// hold, the end of the lease of such an attempt, or the end of mail's retention.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_due: Option<Timestamp>,
}

/// Where a virtual clock is to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClockMove {
    /// The time that it is to show. A clock that is later already stays as it is.
    #[schema(value_type = String, format = DateTime)]
    pub now: Timestamp,
    /// Whether a clock that is later is set back: when a snapshot of the town is restored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub back: bool,
}

/// Calls a service for its clock. One of an earlier version answers with
/// [`ProblemKind::NotFound`](crate::ProblemKind::NotFound).
#[derive(Debug, Clone)]
pub struct ClockClient {
    endpoint: Endpoint,
    io: IoClock,
}

impl ClockClient {
    /// A client of the service at this endpoint. `io` limits how long it waits.
    pub fn new(endpoint: Endpoint, io: IoClock) -> Self {
        Self { endpoint, io }
    }

    /// What the clock shows.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn state(&self) -> Result<ClockState, ApiError> {
        let request = self.endpoint.request(Method::GET, &["v1", "clock"]);
        Ok(self.endpoint.call(request, self.io).await?.json().await?)
    }

    /// Moves a virtual clock forward, and returns what it shows then.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::ClockReal`](crate::ProblemKind::ClockReal) among others.
    pub async fn move_to(&self, now: Timestamp) -> Result<ClockState, ApiError> {
        self.set(ClockMove { now, back: false }).await
    }

    /// Sets a virtual clock, also back, and returns what it shows then. A service of an earlier version does not set it back.
    ///
    /// # Errors
    /// [`ApiError`] with [`ProblemKind::ClockReal`](crate::ProblemKind::ClockReal) among others.
    pub async fn set_to(&self, now: Timestamp) -> Result<ClockState, ApiError> {
        self.set(ClockMove { now, back: true }).await
    }

    async fn set(&self, wanted: ClockMove) -> Result<ClockState, ApiError> {
        let request = self.endpoint.request(Method::PUT, &["v1", "clock"]).json(&wanted);
        Ok(self.endpoint.call(request, self.io).await?.json().await?)
    }
}
