//! Mail: the list, a message, and what is done with them.

mod actions;
mod empty;
mod list;
mod message;
mod query;
mod recipients;
mod side;
mod tabs;
mod text;

pub(super) use text::linked;

use super::format::encoded;
use crate::{api::App, model::MailSummary};
use axum::{
    Router,
    routing::{get, post},
};
use maud::{Markup, html};
use serde::Deserialize;
use std::sync::Arc;

/// Which messages a page is about. It goes along with the links, so that there is a way back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct View {
    /// What stands in the search field.
    query: String,
    /// The maildrop that is looked at; empty for all mail.
    mailbox: String,
    /// Only older messages than this place: a page's `next`.
    before: String,
}

impl View {
    /// The URL of a path with this view.
    fn url(&self, path: &str) -> String {
        let pairs = [("query", &self.query), ("mailbox", &self.mailbox), ("before", &self.before)];
        let given: Vec<_> = pairs
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        if given.is_empty() { path.to_owned() } else { format!("{path}?{}", given.join("&")) }
    }

    /// The query of both, in the language of queries.
    fn whole_query(&self) -> String {
        match (self.mailbox.as_str(), self.query.trim()) {
            ("", query) => query.to_owned(),
            (mailbox, query) => format!("mailbox:{} {query}", mailbox.replace(['"', ' '], "")).trim().to_owned(),
        }
    }
}

/// The routes of mail.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/mail", get(list::page))
        .route("/mail/list", get(list::part))
        .route("/mail/side", get(side::part))
        .route("/mail/actions", post(actions::act))
        .route("/mail/{id}", get(message::page))
        .route("/mail/{id}/recipients", get(message::part))
        .route("/mail/{id}/view", get(message::view))
}

/// Who a message is from, as a list shows it.
fn sender(mail: &MailSummary) -> &str {
    match &mail.from {
        Some(from) if !from.name.trim().is_empty() => &from.name,
        Some(from) if !from.address.is_empty() => &from.address,
        _ if mail.mail_from.is_empty() => "<>",
        _ => &mail.mail_from,
    }
}

/// A subject, or a word for none.
fn subject(mail: &MailSummary) -> Markup {
    if mail.subject.trim().is_empty() {
        return html! { span.quiet { "(no subject)" } };
    }
    html! { (mail.subject) }
}

/// How a state of a recipient is shown: the colour, and the word.
fn state(state: &str) -> (&'static str, &str) {
    match state {
        "delivered" | "relayed" | "finished" => ("ok", state),
        "queued" | "deferred" | "held" => ("waiting", state),
        "failed" => ("refused", state),
        other => ("", other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_goes_along_in_urls() {
        let view = View { query: "a&b \"c d\"".to_owned(), mailbox: "x@y.test".to_owned(), before: String::new() };
        assert_eq!(view.url("/mail"), "/mail?query=a%26b%20%22c%20d%22&mailbox=x%40y.test");
        assert_eq!(view.whole_query(), "mailbox:x@y.test a&b \"c d\"");
        assert_eq!(View::default().url("/mail"), "/mail");
        let other = View { mailbox: "a b\" c@y".to_owned(), ..View::default() };
        assert_eq!(other.whole_query(), "mailbox:abc@y");
    }
}
