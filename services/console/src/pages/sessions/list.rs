//! The list of sessions.

use super::{OUTSIDE, protocol};
use crate::{
    api::App,
    duration::duration,
    index::{IndexError, OtherEnd, SessionFilter},
    mail_servers::MailServer,
    pages::{
        Failure,
        format::{count, encoded, time},
        layout::{self, Page},
        stream,
    },
};
use axum::{
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use internal_api::{MessageId, RecordedSession, Role, SessionId, SessionPage};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use std::{collections::BTreeSet, sync::Arc};

/// How many sessions a page has.
const PAGE: usize = 100;
/// The protocols as they travel, and their names.
const PROTOCOLS: [(&str, &str); 7] = [
    ("smtp", "SMTP"),
    ("submission", "Submission"),
    ("submissions", "Submissions"),
    ("pop3", "POP3"),
    ("pop3s", "POP3S"),
    ("dns_udp", "DNS"),
    ("dns_tcp", "DNS over TCP"),
];

/// What is looked for. An empty text is nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    stack: String,
    service: String,
    role: String,
    protocol: String,
    state: String,
    peer: String,
    user: String,
    message: String,
    /// The stack at the other end, or [`OUTSIDE`].
    with: String,
    before: String,
}

impl Wanted {
    fn filter(&self, servers: &[MailServer]) -> SessionFilter {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        SessionFilter {
            stack: given(&self.stack),
            service: given(&self.service),
            failed: self.state == "failed",
            open: (self.state == "open").then_some(true),
            role: given(&self.role),
            protocol: given(&self.protocol),
            peer: given(&self.peer),
            user: given(&self.user),
            message: self.message.trim().parse().ok(),
            refused: None,
            with: self.other_end(servers),
            before: self.before.parse().ok(),
        }
    }

    fn other_end(&self, servers: &[MailServer]) -> Option<OtherEnd> {
        let own = |server: &&MailServer| self.with == OUTSIDE || server.stack == self.with;
        let domains = servers.iter().filter(own).flat_map(|server| server.domains.clone()).collect();
        match self.with.as_str() {
            "" => None,
            OUTSIDE => Some(OtherEnd::Outside(domains)),
            stack => Some(OtherEnd::Stack(stack.to_owned(), domains)),
        }
    }

    /// What the form has no field for, in words.
    fn rest(&self) -> Vec<String> {
        let with = if self.with == OUTSIDE { "others than the stacks of this town" } else { &self.with };
        let role = match self.role.as_str() {
            "client" => "it has called",
            "server" => "it was called",
            role => role,
        };
        let words = [("of the ", self.service.as_str()), ("", role), ("with ", with), ("message ", &self.message)];
        words.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}{value}")).collect()
    }

    fn fields(&self) -> [(&'static str, &str); 9] {
        [
            ("stack", &self.stack),
            ("service", &self.service),
            ("role", &self.role),
            ("protocol", &self.protocol),
            ("state", &self.state),
            ("peer", &self.peer),
            ("user", &self.user),
            ("message", &self.message),
            ("with", &self.with),
        ]
    }

    /// The URL of a page with the same filter.
    fn url(&self, path: &str, more: &[(&str, &str)]) -> String {
        let all = self.fields().into_iter().chain(more.iter().copied());
        let given = all.filter(|(_, value)| !value.is_empty());
        let pairs: Vec<_> = given.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
    }

    fn is_filtered(&self) -> bool {
        self.fields().iter().any(|(_, value)| !value.is_empty())
    }
}

/// `GET /sessions`
pub(super) async fn page(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Result<Page, Failure> {
    let place = stream::place(&app).await?;
    let found = find(&app, &wanted).await?;
    let stacks: BTreeSet<String> = app.town.services().into_iter().map(|service| service.stack).collect();
    let is_first = wanted.before.is_empty();
    let stream = if is_first { format!("/events?since={place}") } else { String::new() };
    let rows_url = wanted.url("/sessions/rows", &[]);
    let content = html! {
        main #main.page {
            header.page-head { h1 { "Sessions" } }
            (filter(&wanted, &stacks))
            div data-fragment=[is_first.then_some(&rows_url)] data-on="changed" {
                (table(&wanted, &found, app.clock.wall.now()))
            }
        }
    };
    Ok(super::page("Sessions".to_owned(), stream, content))
}

async fn find(app: &App, wanted: &Wanted) -> Result<SessionPage, IndexError> {
    // No session has handled what is no message, and none was before what is no session.
    let is_id = |id: &str, is_valid: bool| id.trim().is_empty() || is_valid;
    let is_possible = is_id(&wanted.message, wanted.message.trim().parse::<MessageId>().is_ok())
        && is_id(&wanted.before, wanted.before.parse::<SessionId>().is_ok());
    if !is_possible {
        return Ok(SessionPage { sessions: Vec::new(), next_before: None });
    }
    app.index.sessions(wanted.filter(&app.mail_servers), PAGE).await
}

/// `GET /sessions/rows`
pub(super) async fn rows(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Result<Response, Failure> {
    let found = find(&app, &wanted).await?;
    Ok(layout::fragment(&table(&wanted, &found, app.clock.wall.now())).into_response())
}

fn filter(wanted: &Wanted, stacks: &BTreeSet<String>) -> Markup {
    let rest = wanted.rest();
    let option = |value: &str, name: &str, chosen: &str| {
        html! { option value=(value) selected[value == chosen] { (name) } }
    };
    html! {
        form.filter method="get" action="/sessions" {
            label { span { "State" }
                select name="state" {
                    (option("", "All", &wanted.state)) (option("failed", "Failed", &wanted.state))
                    (option("open", "Open", &wanted.state))
                }
            }
            label { span { "Stack" }
                select name="stack" {
                    (option("", "All", &wanted.stack))
                    @for stack in stacks { (option(stack, stack, &wanted.stack)) }
                }
            }
            label { span { "Protocol" }
                select name="protocol" {
                    (option("", "All", &wanted.protocol))
                    @for (value, name) in PROTOCOLS { (option(value, name, &wanted.protocol)) }
                }
            }
            label { span { "User" } input type="text" name="user" value=(wanted.user) autocomplete="off"; }
            label { span { "Peer" } input type="text" name="peer" value=(wanted.peer) placeholder="127.0.0.1:50312" autocomplete="off"; }
            @if !wanted.service.is_empty() { input type="hidden" name="service" value=(wanted.service); }
            @if !wanted.role.is_empty() { input type="hidden" name="role" value=(wanted.role); }
            @if !wanted.message.is_empty() { input type="hidden" name="message" value=(wanted.message); }
            @if !wanted.with.is_empty() { input type="hidden" name="with" value=(wanted.with); }
            div.filter-buttons {
                button.primary type="submit" { "Filter" }
                @if wanted.is_filtered() { a.button.plain href="/sessions" { "Clear" } }
            }
            @if !rest.is_empty() { p.rest { "Only: " @for one in &rest { span.state { (one) } " " } } }
        }
    }
}

fn table(wanted: &Wanted, found: &SessionPage, now: Timestamp) -> Markup {
    if found.sessions.is_empty() {
        return html! {
            div.panel.empty {
                @if wanted.is_filtered() {
                    h2 { "No such session" } p.quiet { "Try another filter, or look at " a href="/sessions" { "all of them" } "." }
                } @else {
                    h2 { "No session yet" }
                    p.quiet { "Each connection to a service of the town is listed here, refused ones too. Records are off where " code { "trace.enabled" } " is " code { "false" } "." }
                }
            }
        };
    }
    html! {
        div.panel.sessions {
            ul data-keyed="sessions" {
                @for session in &found.sessions { (row(session, now)) }
            }
        }
        @if let Some(before) = &found.next_before {
            p.more { a.button href=(wanted.url("/sessions", &[("before", &before.to_string())])) { "Older sessions" } }
        }
    }
}

fn row(session: &RecordedSession, now: Timestamp) -> Markup {
    let failed = session.has_failed();
    let version = format!("{:?}-{}-{}", session.closed_at, session.refusals, session.messages.len());
    let peer = session.remote.map(|remote| remote.to_string()).unwrap_or_default();
    let lasted = session.closed_at.map(|closed| closed.duration_since(session.opened_at).as_micros());
    let lasted = lasted.and_then(|lasted| u64::try_from(lasted).ok()).map(duration);
    html! {
        li.session-row.failed[failed] data-key=(session.id) data-version=(version) {
            a href={ "/sessions/" (session.id) } {
                span.when { (time(session.opened_at, now)) }
                span.who {
                    strong { (protocol(session.protocol)) }
                    " " (arrow(session)) " " span.quiet { (session.stack) }
                }
                span.what {
                    @if let Some(user) = &session.user { span { (user) } }
                    @if !session.messages.is_empty() {
                        span.state { (count(session.messages.len() as u64, "message", "messages")) }
                    }
                    @if session.tls.is_some() { span.state { "TLS" } }
                    @if failed { span.refusal { (session.failure().unwrap_or("nobody said anything")) } }
                }
                span.peer.mono { (peer) }
                span.lasted {
                    @match lasted { Some(lasted) => (lasted), None => { span.state.ok { "open" } } }
                }
            }
        }
    }
}

/// Who has called whom.
fn arrow(session: &RecordedSession) -> Markup {
    html! {
        @match session.role {
            Role::Server => { span title="It was called" { "to" } },
            Role::Client => { span title="It has called" { "from" } },
        }
    }
}
