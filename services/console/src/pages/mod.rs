//! The pages for people, rendered on the server.
//!
//! A page is a [`Page`]: what stands between the bar and the end, and a stream of changes ([`stream`]). Its scripts build no
//! HTML: when something has changed, they fetch a fragment, which is a part of the page. See `assets/live.js`.

mod assets;
mod format;
mod icons;
mod layout;
mod stream;

use crate::{api::App, query::Query};
use axum::{
    Router,
    extract::{Query as UrlQuery, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use icons::{Icon, icon};
use layout::{Page, Section};
use maud::html;
use serde::Deserialize;
use std::sync::Arc;

/// All pages but the first.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/assets/{version}/{name}", get(assets::serve))
        .route("/events", get(events))
        .route("/mail", get(mail))
        .with_state(app)
}

/// `GET /`: to the mail.
pub(crate) async fn home() -> Redirect {
    Redirect::to("/mail")
}

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

async fn mail(State(app): State<Arc<App>>) -> Response {
    let Ok(place) = stream::place(&app).await else { return Redirect::to("/").into_response() };
    Page {
        title: "Mail".to_owned(),
        section: Section::Mail,
        stream: format!("/events?since={place}"),
        scripts: &[],
        keys: &[("?", "This help")],
        content: html! { main #main.page { h1 { (icon(Icon::Tray)) " Mail" } } },
    }
    .into_response()
}
