//! The API for tests, described by `/v1/openapi.json`.

mod accounts;
pub(crate) mod captures;
mod changes;
pub(crate) mod clock;
pub(crate) mod content;
pub(crate) mod dialogue;
pub(crate) mod extract;
pub(crate) mod faults;
mod idle;
mod journey;
mod lessons;
mod mail;
pub(crate) mod queue;
mod session_stream;
pub(crate) mod sessions;
pub(crate) mod snapshots;
pub(crate) mod stream;
pub(crate) mod trace;
pub(crate) mod wait;

use crate::{
    follow::Town, index::Index, mail_servers::MailServer, snapshots::Snapshots, spread::TownFaults,
    town_clock::TownClock,
};
use axum::{Json, Router, extract::State};
use mail_net::Clock;
use serde::{Deserialize, Serialize};
pub(crate) use service_kit::http::extract::invalid;
use service_kit::shutdown::CancellationToken;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use utoipa::{OpenApi, ToSchema, openapi::OpenApi as Description};
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long those who look at sessions wait for what was just recorded.
const SOON: Duration = Duration::from_millis(500);

/// What all handlers share.
pub(crate) struct App {
    pub(crate) index: Index,
    pub(crate) town: Town,
    /// What goes wrong on purpose.
    pub(crate) faults: TownFaults,
    /// Where mail is sent to and read from.
    pub(crate) mail_servers: Vec<MailServer>,
    pub(crate) clock: Clock,
    /// Moves the clocks of all services.
    pub(crate) town_clock: TownClock,
    /// Takes snapshots of the town.
    pub(crate) snapshots: Snapshots,
    /// The memory for messages that are taken apart, in KiB.
    pub(crate) room: Arc<Semaphore>,
    /// How many streams of new mail may begin yet.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) started: tokio::time::Instant,
    /// Ends those who wait.
    pub(crate) shutdown: CancellationToken,
}

impl App {
    /// How long the console has been running.
    pub(crate) fn uptime(&self) -> Duration {
        self.clock.io.since(self.started)
    }

    /// Waits until what was accepted before this call is in the index, for a short time.
    pub(crate) async fn caught_up(&self) {
        self.town.caught_up().await;
    }

    /// Waits until what SMTP gateways have recorded before this call is in the index, for a shorter time: under load there is
    /// always more.
    pub(crate) async fn traces_caught_up(&self) {
        let _ = self.clock.io.timeout(SOON, self.town.traces_caught_up()).await;
    }
}

#[derive(OpenApi)]
#[openapi(info(title = "console", description = "Mail, sessions and queue of a whole town"))]
struct Frame;

/// All routes under `/v1`, and their description.
pub(crate) fn routes(app: Arc<App>) -> (Router, Description) {
    OpenApiRouter::with_openapi(Frame::openapi())
        .routes(routes!(services))
        .merge(wait::routes())
        .merge(mail::routes())
        .merge(content::routes())
        .merge(changes::routes())
        .merge(idle::routes())
        .merge(clock::routes())
        .merge(sessions::routes())
        .merge(dialogue::routes())
        .merge(trace::routes())
        .merge(queue::routes())
        .merge(accounts::routes())
        .merge(captures::routes())
        .merge(journey::routes())
        .merge(faults::routes())
        .merge(lessons::routes())
        .merge(snapshots::routes())
        .with_state(app)
        .split_for_parts()
}

/// The services of the town, and how each is followed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct FollowedServices {
    /// By URL.
    services: Vec<crate::follow::FollowedService>,
}

/// The services that the console follows, and how that goes.
#[utoipa::path(
    get, path = "/v1/services", operation_id = "list_services", tag = "town",
    responses((status = 200, description = "The services", body = FollowedServices)),
)]
pub(crate) async fn services(State(app): State<Arc<App>>) -> Json<FollowedServices> {
    Json(FollowedServices { services: app.town.services() })
}
