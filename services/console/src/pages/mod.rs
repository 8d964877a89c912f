//! The pages for people, rendered on the server.
//!
//! A page is a [`Page`]: what stands between the bar and the end, and a stream of changes ([`stream`]). Its scripts build no
//! HTML: when something has changed, they fetch a fragment, which is a part of the page. See `assets/live.js`.

mod assets;
mod compose;
mod failure;
mod format;
pub(crate) mod hostile;
mod icons;
mod journey;
mod layout;
mod mail;
mod map;
mod queue;
mod servers;
mod sessions;
mod stream;
mod words;

pub(crate) use failure::Failure;

use crate::{api::App, query::Query};
use axum::{
    Router,
    extract::{Query as UrlQuery, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use std::sync::Arc;

/// All pages but the first.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/assets/{version}/{name}", get(assets::serve))
        .route("/events", get(events))
        .merge(mail::routes())
        .merge(compose::routes())
        .merge(journey::routes())
        .merge(map::routes())
        .merge(queue::routes())
        .merge(sessions::routes())
        .with_state(app)
}

/// `GET /`: the map.
pub(crate) use map::page as home;

/// Which changes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EventsQuery {
    query: String,
    since: Option<String>,
}

/// `GET /events`: the stream of a page. The query says which messages count as new.
async fn events(State(app): State<Arc<App>>, headers: HeaderMap, UrlQuery(wanted): UrlQuery<EventsQuery>) -> Response {
    let query = Query::lenient(&wanted.query);
    match stream::changes(app, query, &headers, wanted.since.as_deref()).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}
