//! Sessions: the list, and one as a dialogue.

mod dialogue;
mod list;
mod marks;
mod pair;
pub(crate) mod text;

use super::layout::{Page, Section};
use crate::api::App;
use axum::{Router, routing::get};
use internal_api::Protocol;
use maud::Markup;
use std::sync::Arc;

/// In the URL of a list: sessions whose other end is no stack of the town.
pub(super) const OUTSIDE: &str = "*";

/// The routes of this module.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/sessions", get(list::page))
        .route("/sessions/rows", get(list::rows))
        .route("/sessions/{id}", get(dialogue::page))
        .route("/sessions/{id}/lines", get(dialogue::fragment))
        .route("/sessions/{id}/dialogue.txt", get(text::golden))
        .route("/sessions/{id}/session.txt", get(text::plain))
}

fn page(title: String, stream: String, content: Markup) -> Page {
    let keys = &[("?", "This help")];
    Page { title, section: Section::Sessions, stream, scripts: &[], keys, content }
}

/// A protocol's name for people.
pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Smtp => "SMTP",
        Protocol::Submission => "Submission",
        Protocol::Submissions => "Submissions",
        Protocol::Pop3 => "POP3",
        Protocol::Pop3s => "POP3S",
        Protocol::DnsUdp => "DNS",
        Protocol::DnsTcp => "DNS over TCP",
    }
}
