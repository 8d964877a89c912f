//! The list of messages.

use super::{
    View,
    query::{self, Fault},
    sender, side, state, subject,
};
use crate::{
    api::App,
    index::SearchPage,
    model::{MailPage, MailSummary},
    pages::{
        Failure,
        format::{count, encoded, octets, time},
        icons::{Icon, icon},
        layout::{Page, Section, dialog, fragment},
        stream,
    },
    query::Query,
};
use axum::{
    extract::{Query as UrlQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use internal_api::Problem;
use jiff::Timestamp;
use maud::{Markup, html};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

/// How many messages a page has.
const PAGE: usize = 50;
/// The keys of the list.
const KEYS: &[(&str, &str)] = &[
    ("j k", "Down, up"),
    ("Enter", "Read the message"),
    ("x", "Select it"),
    ("#", "Delete what is selected, or the current one"),
    ("i o", "Mark as read, as unread"),
    ("/", "Search"),
    ("c", "Compose"),
    ("u", "To all mail"),
    ("Esc", "Select nothing; leave the field"),
    ("?", "These keys"),
];

/// What the list shows.
struct Listed {
    found: Result<MailPage, Fault>,
    total: u64,
    unread: u64,
    now: Timestamp,
    /// How to send mail, where there is none.
    servers: Markup,
}

/// `GET /mail`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    UrlQuery(view): UrlQuery<View>,
) -> Result<Response, Failure> {
    app.caught_up().await;
    let place = stream::place(&app).await?;
    let listed = Listed::of(&app, &view, &headers).await?;
    let side = side::render(&app, &view).await?;
    let fault = listed.found.as_ref().err();
    let name = if view.mailbox.is_empty() { "Mail" } else { &view.mailbox };
    let page = Page {
        title: if listed.unread > 0 { format!("({}) {name}", listed.unread) } else { name.to_owned() },
        section: Section::Mail,
        stream: format!("/events?query={}&since={place}", encoded(&view.whole_query())),
        scripts: &["mail.js"],
        keys: KEYS,
        content: html! {
            div.with-side {
                aside.side data-fragment=(view.url("/mail/side")) data-on="changed" { (side) }
                main #main.mail {
                    (query::field(&view, fault.is_some()))
                    @if let Some(fault) = fault { (fault.shown()) }
                    div #problem.notice.refused.query-fault role="alert" hidden {}
                    form #list method="post" action="/mail/actions" data-fragment=(view.url("/mail/list")) data-on="changed" {
                        (listed.render(&view))
                    }
                    (delete_all(&view))
                }
            }
        },
    };
    let status = if fault.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(page.with_status(status))
}

/// `GET /mail/list`
pub(super) async fn part(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    UrlQuery(view): UrlQuery<View>,
) -> Result<Response, Failure> {
    Ok(fragment(&Listed::of(&app, &view, &headers).await?.render(&view)))
}

impl Listed {
    async fn of(app: &App, view: &View, headers: &HeaderMap) -> Result<Self, Problem> {
        let now = app.clock.wall.now();
        let query: Query = match query::parse(view) {
            Ok(query) => query,
            Err(fault) => return Ok(Self { found: Err(fault), total: 0, unread: 0, now, servers: html! {} }),
        };
        // A place that is none is the first page.
        let before = view.before.parse().ok();
        let found = app.index.search(&query, SearchPage { before, ..SearchPage::first(PAGE) }).await?;
        let (total, unread) = app.index.count(&query, None).await?;
        let servers = if total == 0 {
            app.servers_for(headers).await
        } else {
            html! {}
        };
        Ok(Self { found: Ok(found), total, unread, now, servers })
    }

    fn render(&self, view: &View) -> Markup {
        let Ok(found) = &self.found else { return html! {} };
        let heading = match (view.mailbox.as_str(), view.query.trim()) {
            ("", "") => "All mail",
            (mailbox, "") => mailbox,
            _ => "Found",
        };
        html! {
            input type="hidden" name="back" value=(view.url("/mail"));
            input type="hidden" name="query" value=(view.whole_query());
            div.list-head {
                @if !found.mail.is_empty() {
                    input #select-all type="checkbox" aria-label="Select all of this page" autocomplete="off";
                }
                h1 { (heading) }
                span.count {
                    (count(self.total, "message", "messages"))
                    @if self.unread > 0 { ", " (self.unread) " unread" }
                }
                span #selected.count aria-live="polite" {}
                @if !found.mail.is_empty() { (actions()) }
            }
            @if found.mail.is_empty() {
                @if view.query.trim().is_empty() && view.before.is_empty() {
                    (super::empty::shown(view, &self.servers))
                } @else {
                    div.empty {
                        h2 { "Nothing matches" }
                        p.quiet { "What no store has any more is found with " code { "is:gone" } " or a " code { "state:" } "." }
                        a.button href=(View { query: String::new(), before: String::new(), ..view.clone() }.url("/mail")) { "Clear the search" }
                    }
                }
            } @else {
                ol.rows.one-mailbox[!view.mailbox.is_empty()] data-keyed="rows" aria-label="Messages, the newest first" {
                    @for mail in &found.mail { (row(mail, view, self.now)) }
                }
            }
            (pager(found, view))
        }
    }
}

/// What can be done with messages: with those that are selected, and while none is, with all of the list.
fn actions() -> Markup {
    let button = |value: &str, picture: Icon, name: &str| {
        html! {
            button.plain type="submit" name="action" value=(value) data-needs-selection { (icon(picture)) (name) }
        }
    };
    html! {
        div.actions role="group" aria-label="With these messages" {
            (button("read", Icon::Read, "Read"))
            (button("unread", Icon::Unread, "Unread"))
            (button("delete", Icon::Delete, "Delete"))
            button.plain.of-all type="submit" name="action" value="read-all" { (icon(Icon::Read)) "Mark all read" }
            button.plain.of-all type="button" data-dialog="delete-all" { (icon(Icon::Delete)) "Delete all…" }
        }
    }
}

/// Asks before all messages of a list are deleted.
fn delete_all(view: &View) -> Markup {
    dialog(
        "delete-all",
        "Delete all?",
        &html! {
            p {
                @if view.whole_query().is_empty() { "All mail of the town is deleted" } @else { "All messages that this search finds are deleted" }
                ", from maildrops and from queues. Their senders are not told."
            }
            form method="post" action="/mail/actions" {
                input type="hidden" name="query" value=(view.whole_query());
                input type="hidden" name="back" value=(view.url("/mail"));
                button.danger type="submit" name="action" value="delete-all" { (icon(Icon::Delete)) "Delete all" }
            }
        },
    )
}

fn pager(found: &MailPage, view: &View) -> Markup {
    if view.before.is_empty() && found.next.is_none() {
        return html! {};
    }
    html! {
        nav.pager aria-label="Pages" {
            @if view.before.is_empty() { span {} } @else {
                a.button href=(View { before: String::new(), ..view.clone() }.url("/mail")) { (icon(Icon::Back)) "Newest" }
            }
            @if let Some(next) = &found.next {
                a.button href=(View { before: next.clone(), ..view.clone() }.url("/mail")) { "Older" (icon(Icon::Next)) }
            }
        }
    }
}

/// One message. Its version changes with what it shows, so that a page keeps a row that is the same.
fn row(mail: &MailSummary, view: &View, now: Timestamp) -> Markup {
    let content = html! {
        input type="checkbox" name="id" value=(mail.id) aria-label={ "Select: " (mail.subject) } autocomplete="off";
        span.dot { @if !mail.read { span.visually-hidden { "Unread" } } }
        span.who title=[mail.from.as_ref().map(|from| from.address.as_str())] { (sender(mail)) }
        @if view.mailbox.is_empty() { (recipients(mail)) }
        span.what {
            a.open href=(view.url(&format!("/mail/{}", mail.id))) { span.subject { (subject(mail)) } }
            " " span.snippet { (mail.snippet) }
        }
        span.marks { (marks(mail)) }
        (time(mail.accepted_at, now))
    };
    let mut hash = DefaultHasher::new();
    content.0.hash(&mut hash);
    html! {
        li.row.unread[!mail.read] data-key=(mail.id) data-version={ (hash.finish()) } { (content) }
    }
}

/// Who a message is for: the first recipient of the envelope, and how many more.
fn recipients(mail: &MailSummary) -> Markup {
    let all: Vec<_> = mail.recipients.iter().map(|recipient| recipient.address.as_str()).collect();
    html! {
        span.whom title=(all.join(", ")) {
            @if let Some(first) = all.first() { span.visually-hidden { "to " } (first) }
            @if all.len() > 1 { " +" (all.len() - 1) }
        }
    }
}

/// What is worth seeing of a message: where it is not simply delivered, attachments, its size.
fn marks(mail: &MailSummary) -> Markup {
    let mut states: Vec<_> = mail.recipients.iter().map(|recipient| recipient.state.as_str()).collect();
    states.sort_unstable();
    states.dedup();
    let is_plain = states == ["delivered"];
    html! {
        @if mail.attachments > 0 {
            span title=(count(mail.attachments, "attachment", "attachments")) { (icon(Icon::Clip)) }
        }
        @if mail.mail_from.is_empty() { span.state.refused title="A failure message or a report: its sender is empty" { "bounce" } }
        @if !is_plain { @for one in states { @let (colour, word) = state(one); span class={ "state " (colour) } { (word) } } }
        span.small { (octets(mail.octets)) }
    }
}
