//! The faults of a service, over the internal API.

use crate::{ApiError, Endpoint};
use ::faults::{Counts, FaultState, Settings};
use mail_net::IoClock;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The answer to `GET /v1/faults` of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceFaults {
    /// The faults of the whole town, as they were set.
    pub settings: Settings,
    /// How often those that concern the service have happened there, by their names.
    pub states: BTreeMap<String, FaultState>,
}

/// Sets the faults of a service. One that takes none, or is of an earlier version, answers with
/// [`ProblemKind::NotFound`](crate::ProblemKind::NotFound).
#[derive(Debug, Clone)]
pub struct FaultsClient {
    endpoint: Endpoint,
    io: IoClock,
}

impl FaultsClient {
    /// A client of the service at this endpoint. `io` limits how long it waits.
    pub fn new(endpoint: Endpoint, io: IoClock) -> Self {
        Self { endpoint, io }
    }

    /// What was set there, and what has happened.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn faults(&self) -> Result<ServiceFaults, ApiError> {
        let request = self.endpoint.request(Method::GET, &["v1", "faults"]);
        Ok(self.endpoint.call(request, self.io).await?.json().await?)
    }

    /// Sets all faults of the town. Those that stay as they were keep their counts.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn set_faults(&self, settings: &Settings) -> Result<(), ApiError> {
        let request = self.endpoint.request(Method::PUT, &["v1", "faults"]).json(settings);
        self.endpoint.call(request, self.io).await?;
        Ok(())
    }

    /// What was counted there.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn counts(&self) -> Result<Counts, ApiError> {
        let request = self.endpoint.request(Method::GET, &["v1", "faults", "counts"]);
        Ok(self.endpoint.call(request, self.io).await?.json().await?)
    }

    /// Counts on from what was counted before.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn set_counts(&self, counts: &Counts) -> Result<(), ApiError> {
        let request = self.endpoint.request(Method::PUT, &["v1", "faults", "counts"]).json(counts);
        self.endpoint.call(request, self.io).await?;
        Ok(())
    }
}
