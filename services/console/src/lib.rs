//! console: shows a whole town. It follows all services over the internal API, keeps an index in memory, and serves it to
//! people and tests.
//!
//! It holds nothing durable: started anew, it builds its index from what the services tell. The token of the internal API
//! stays in this process.

mod api;
mod args;
pub mod client;
mod deletion;
mod duration;
mod follow;
mod happenings;
mod index;
mod journey;
mod login;
mod mail_servers;
mod mailpit;
mod message;
mod metrics;
mod model;
mod pages;
pub mod priority;
mod query;
mod services;
mod snapshots;
mod spread;
mod town_clock;
mod transcript;
mod webhook;

pub use args::Args;
pub use login::Login;
pub use mail_servers::MailServer;
pub use services::{Service, ServiceKind, UnknownService, at_urls, on_this_machine};

use api::App;
use axum::routing::get;
use follow::Town;
use index::{Index, IndexError};
use internal_api::{ApiError, InProcess};
use mail_net::Clock;
use service_kit::{
    http::{HttpListener, HttpService, Readiness, Token},
    shutdown::CancellationToken,
};
use snapshots::Snapshots;
use spread::TownFaults;
use std::sync::Arc;
use town_clock::TownClock;
use town_config::{Console, Files, Hosts};

/// What a console must be told.
pub struct Config {
    /// The services that it follows.
    pub services: Vec<Service>,
    /// The names of all servers of the configuration.
    pub servers: Vec<String>,
    /// Where mail is sent to and read from: one for each stack.
    pub mail_servers: Vec<MailServer>,
    /// Opens their APIs. Nobody sees it.
    pub token: Option<Token>,
    /// `[console]` of the configuration.
    pub settings: Console,
    /// The names that it may be called by.
    pub hosts: Hosts,
    /// Who is let in.
    pub login: Login,
    /// Limits its calls, and says what is due.
    pub clock: Clock,
    /// The files of the town. Snapshots keep the text of the zone.
    pub files: Option<Files>,
}

/// Where it listens.
#[derive(Debug)]
pub struct Listeners {
    /// Pages and API.
    pub http: HttpListener,
}

/// Why a console could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is no memory for its index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The platform gives no HTTP client.
    #[error("no HTTP client: {0}")]
    Client(#[from] ApiError),
}

/// Serves the console until `shutdown`.
///
/// # Errors
/// [`ServiceError`].
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> Result<(), ServiceError> {
    let Config { services, servers, mail_servers, token, settings, hosts, login, clock, files } = config;
    // Whichever way this call ends, no follower outlives it.
    let _stop = shutdown.clone().drop_guard();
    let index = Index::open(settings.bounds, &clock)?;
    let announcements = settings.webhook.as_deref().map(|url| webhook::start(url, clock.io, &shutdown)).transpose()?;
    let faults = TownFaults::start((services.clone(), servers), token.clone(), &index, clock.io, &shutdown);
    let town = Town::follow(services, &index, token, clock.io, &shutdown, announcements)?;
    let mut registry = service_kit::metrics::registry("console");
    metrics::register(&mut registry, &town);
    let town_clock = TownClock::new(town.clone(), clock.clone());
    town_clock.keep_together(&shutdown);
    let app = Arc::new(App {
        index,
        town,
        faults,
        town_clock,
        snapshots: Snapshots::new(files),
        mail_servers,
        clock: clock.clone(),
        room: api::content::room(),
        streams: api::stream::room(),
        started: clock.io.instant(),
        shutdown: shutdown.clone(),
    });
    let readiness: Readiness = {
        let index = app.index.clone();
        Arc::new(move || {
            let index = index.clone();
            Box::pin(async move { index.ready().await.map_err(|error| error.to_string()) })
        })
    };
    let (routes, description) = api::routes(Arc::clone(&app));
    let service = HttpService {
        api: routes.merge(mailpit::routes(Arc::clone(&app))).merge(pages::routes(Arc::clone(&app))),
        description,
        metrics: Arc::new(registry),
        readiness,
        token: None,
        hosts,
        in_process: InProcess::default(),
        clock: clock.clone(),
        schedule: None,
    };
    let router = login.guard(service_kit::http::pages_router(service, get(pages::home).with_state(app)));
    service_kit::http::serve_router(listeners.http, router, clock.io, shutdown).await;
    Ok(())
}

#[cfg(test)]
mod tests;
