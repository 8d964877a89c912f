//! The map of the town: stacks, services and agents, and the mail that moves between them.

mod clock;
mod drawing;
mod faults;
mod node;
mod town;

use super::layout::{self, Page, Section};
use crate::{
    api::App,
    pages::{Failure, stream},
};
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use maud::{Markup, html};
use std::sync::Arc;
use town::TownMap;

/// The routes of this module, `/` apart.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/map/town", get(fragment))
        .route("/map/clock", post(clock::change))
        .route("/map/faults", post(faults::change))
        .route("/town/{stack}/{service}", get(node::page))
}

/// `GET /`
pub(crate) async fn page(State(app): State<Arc<App>>) -> Result<Page, Failure> {
    let place = stream::place(&app).await?;
    let map = TownMap::of(&app).await?;
    Ok(Page {
        title: "Map".to_owned(),
        section: Section::Map,
        stream: format!("/events?since={place}"),
        scripts: &["map.js"],
        keys: &[("?", "This help")],
        content: html! {
            main #main.page.wide {
                h1.visually-hidden { "The town" }
                div.town-stage {
                    div #town data-fragment="/map/town" data-on="changed" { (town(&map)) }
                    // What moves stays when the map is drawn anew.
                    svg #moving.moving-layer aria-hidden="true" {}
                }
                // It stays open when the map is drawn anew.
                (faults::offer(&map))
            }
        },
    })
}

/// `GET /map/town`
async fn fragment(State(app): State<Arc<App>>) -> Result<Response, Failure> {
    let map = TownMap::of(&app).await?;
    Ok(layout::fragment(&town(&map)).into_response())
}

fn town(map: &TownMap) -> Markup {
    html! {
        @if map.is_silent() {
            p.notice { "No mail has moved yet. Send some, and watch it here: " a href="/mail" { "how to send" } "." }
        }
        (drawing::drawing(map))
        p.town-hint.small.quiet {
            "Each number counts the messages that have gone this way. Click a line for its sessions, and a service for its metrics and its queue."
        }
        (list(map))
        @if let Some(times) = map.stands_at { (clock::panel(times)) }
        (faults::list(&map.faults))
    }
}

/// The same for a narrow screen, and for those who do not see the drawing.
fn list(map: &TownMap) -> Markup {
    html! {
        div.town-list {
            @for stack in &map.stacks {
                section.panel {
                    h2 { (stack.name) }
                    ul {
                        @for node in &stack.nodes {
                            li.node-line.silent[!node.answers].faulty[node.faults > 0] {
                                a href=(node.url) { (node.name) }
                                @if node.answers { span.quiet.small { (node.says) } } @else { span.state.refused { (node.says) } }
                            }
                        }
                    }
                    ul.edges {
                        @for edge in map.edges.iter().filter(|edge| edge.stack == stack.name) {
                            li {
                                a href=(edge.url) { (edge.title) }
                                span.small.quiet { (edge.says()) }
                                @if edge.failed > 0 { span.state.refused { (edge.failed) " failed" } }
                            }
                        }
                    }
                }
            }
        }
    }
}
