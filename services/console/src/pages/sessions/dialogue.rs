//! A session as a dialogue: both ends side by side where both are known.

use super::{
    marks,
    pair::{Row, pairs},
    protocol, text,
};
use crate::{
    api::App,
    duration::duration,
    pages::{
        Failure,
        format::{count, full_time, octets},
        icons::{Icon, icon},
        layout::{self, Page},
        stream,
        words::visible,
    },
    transcript::{Line, What, lines},
};
use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use internal_api::{RecordedSession, Role, SessionRecords};
use jiff::Timestamp;
use mail_proto::{Side, explain, remark};
use maud::{Markup, html};
use std::sync::Arc;

/// A body of more octets than these is folded.
const LONG: usize = 4096;

/// `GET /sessions/{id}`
pub(super) async fn page(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Page, Failure> {
    let place = stream::place(&app).await?;
    let session = text::session(&app, &id).await?;
    let state = session.session.clone();
    let other = app.index.other_end(state.id).await?;
    let (title, is_open) = (format!("{} session", protocol(state.protocol)), state.closed_at.is_none());
    let url = format!("/sessions/{id}/lines");
    let content = html! {
        main #main.page.wide {
            header.page-head {
                h1 { (title) " " span.quiet { (state.stack) } }
                div.downloads {
                    a.button href={ "/sessions/" (id) "/session.txt" } { (icon(Icon::Download)) "Text" }
                    a.button href={ "/sessions/" (id) "/dialogue.txt" } title="A file for the crate dialogue" { (icon(Icon::Download)) "Golden dialogue" }
                    a.button href={ "/v1/captures.pcapng?session=" (id) } title="For Wireshark" { (icon(Icon::Download)) "pcapng" }
                }
            }
            div data-fragment=[is_open.then_some(&url)] data-on="changed" { (content(session, other)) }
        }
    };
    Ok(super::page(title, format!("/events?since={place}"), content))
}

/// `GET /sessions/{id}/lines`
pub(super) async fn fragment(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Failure> {
    let session = text::session(&app, &id).await?;
    let other = app.index.other_end(session.session.id).await?;
    Ok(layout::fragment(&content(session, other)).into_response())
}

fn content(session: SessionRecords, other: Option<SessionRecords>) -> Markup {
    let here = session.session.clone();
    let there = other.as_ref().map(|other| other.session.clone());
    let this_is_client = here.role == Role::Client;
    let (client, server) = match this_is_client {
        true => (Some(session), other),
        false => (other, Some(session)),
    };
    let opened_at = [&client, &server].into_iter().flatten().map(|end| end.session.opened_at).min();
    let opened_at = opened_at.unwrap_or(here.opened_at);
    let names = [&client, &server].map(|end| end.as_ref().map(|end| end.session.clone()));
    let lines_of = |end: Option<SessionRecords>| end.as_ref().map(lines).unwrap_or_default();
    let rows = pairs(lines_of(client), lines_of(server));
    let [client, server] = &names;
    html! {
        (facts(&here, there.as_ref()))
        @if here.missing_records > 0 {
            p.notice.waiting { (here.missing_records) " records of this session are missing: there were too many. So there are no remarks." }
        }
        (remarks_notice(&rows, this_is_client))
        label.explain { input #explain type="checkbox" checked; " Explain each line" }
        section.talk.both[client.is_some() && server.is_some()].from-client[this_is_client] aria-label="Dialogue" {
            header.talk-head {
                (end_head(client.as_ref(), "Client")) (end_head(server.as_ref(), "Server"))
            }
            @for row in &rows { (row_of(row, opened_at, this_is_client, client.is_some() && server.is_some())) }
            @if rows.is_empty() { p.quiet.nothing { "Nothing was said." } }
            p.ended { (here.ended.as_deref().unwrap_or("The session is open.")) }
        }
    }
}

/// How many remarks there are, and where the first one is.
fn remarks_notice(rows: &[Row], this_is_client: bool) -> Markup {
    let remarks = |row: &Row| match row.best().map(|line| &line.what) {
        Some(What::Said { remarks, .. }) => remarks.clone(),
        _ => Vec::new(),
    };
    let all: Vec<_> = rows.iter().flat_map(remarks).collect();
    let advice = all.iter().filter(|remark| remark.weight == remark::Weight::Advice).count();
    let breaches = all.len() - advice;
    let first = rows.iter().filter(|row| !remarks(row).is_empty()).find_map(|row| row.anchor(this_is_client));
    html! {
        @if !all.is_empty() {
            p.notice.refused[breaches > 0].waiting[breaches == 0] {
                @if breaches > 0 { (count(breaches as u64, "breach of an RFC", "breaches of RFCs")) }
                @if breaches > 0 && advice > 0 { " and " }
                @if advice > 0 { (count(advice as u64, "unwise line", "unwise lines")) }
                ". Each is remarked at its line. "
                @if let Some(first) = first { a href={ "#" (first) } { "Go to the first" } }
            }
        }
    }
}

fn facts(session: &RecordedSession, other: Option<&RecordedSession>) -> Markup {
    let lasted = session.closed_at.map(|closed| since(session.opened_at, closed));
    let address = |address: Option<std::net::SocketAddr>| address.map_or("none".to_owned(), |it| it.to_string());
    html! {
        dl.facts {
            div { dt { "Opened" } dd { (full_time(session.opened_at)) } }
            div { dt { "Lasted" } dd { @match lasted { Some(lasted) => (lasted), None => { span.state.ok { "open" } } } } }
            div { dt { "Here" } dd.mono { (address(session.local)) } }
            div { dt { "Peer" } dd.mono { (address(session.remote)) } }
            div { dt { "TLS" } dd { (session.tls.as_deref().unwrap_or("none")) } }
            @if let Some(user) = &session.user { div { dt { "User" } dd { (user) } } }
            div { dt { "Octets" } dd { (octets(session.octets_received)) " in, " (octets(session.octets_sent)) " out" } }
            @if let Some(failure) = session.failure() {
                div { dt { "Failed" } dd.refusal { (failure) } }
            }
            @if !session.messages.is_empty() {
                div { dt { "Messages" } dd {
                    @for message in &session.messages { a.mono href={ "/journey/" (message) } { (message) } " " }
                } }
            }
            div { dt { "In the logs" } dd.mono { (session.connection) } }
            @if let Some(other) = other {
                div { dt { "Other end" } dd { a href={ "/sessions/" (other.id) } { (other.service) " of " (other.stack) } } }
            }
        }
    }
}

fn end_head(end: Option<&RecordedSession>, side: &str) -> Markup {
    html! {
        @match end {
            Some(end) => { div { strong { (side) } " " span.quiet { (end.service) " of " (end.stack) } } },
            None => { div.unknown { strong { (side) } " " span.quiet { "not recorded in this town" } } },
        }
    }
}

fn row_of(row: &Row, opened_at: Timestamp, this_is_client: bool, is_both: bool) -> Markup {
    let Some(best) = row.best() else { return html! {} };
    let anchor = row.anchor(this_is_client);
    match &best.what {
        What::Marked(mark) => {
            let at_server = row.server.is_some();
            html! {
                div.mark-row.at-server[at_server] id=[anchor] {
                    span.at { (since(opened_at, best.at)) } (marks::mark(mark))
                }
            }
        }
        What::Said { by, octets, is_body, missing, explained, remarks } => {
            let by_client = *by == Side::Client;
            let is_breach = remarks.iter().any(|remark| remark.weight != remark::Weight::Advice);
            html! {
                div.said.client[by_client].server[!by_client].breach[is_breach].unwise[!is_breach && !remarks.is_empty()] id=[anchor] {
                    (cell(row.client.as_ref(), best, opened_at, is_both))
                    (cell(row.server.as_ref(), best, opened_at, is_both))
                    @if !is_both { (alone(octets, explained, *is_body)) }
                    @if *missing > 0 { p.missing { (missing) " more octets were not kept." } }
                    @if !is_body { (explanation(octets, explained)) }
                    @for remark in remarks { (remark_of(remark)) }
                }
            }
        }
    }
}

/// What one end has seen of a line. Where there is one end only, its time alone.
fn cell(line: Option<&Line>, best: &Line, opened_at: Timestamp, is_both: bool) -> Markup {
    let Some(line) = line else {
        return html! { @if is_both { div.cell.none { "not seen here" } } };
    };
    let sent = std::ptr::eq(line, best);
    html! {
        div.cell.sent[sent] {
            span.at { (since(opened_at, line.at)) }
            @if let What::Said { octets, explained, is_body, .. } = &line.what {
                @if is_both { (alone(octets, explained, *is_body)) }
            }
        }
    }
}

fn alone(octets: &[u8], explained: &[explain::Part], is_body: bool) -> Markup {
    html! {
        @if is_body && octets.len() > LONG {
            details { summary { (octets.len()) " octets" } pre { (visible(octets)) } }
        } @else if is_body {
            pre { (visible(octets)) }
        } @else {
            code.line { (words(octets, explained)) }
        }
    }
}

/// The octets of a line, with its words explained in tooltips.
fn words(octets: &[u8], explained: &[explain::Part]) -> Markup {
    let mut at = 0;
    let mut pieces = Vec::new();
    for part in explained {
        let (from, until) = (part.octets.start.max(at), part.octets.end.min(octets.len()));
        if from < until {
            pieces.push((&octets[at..from], None));
            pieces.push((&octets[from..until], Some(part.explanation.to_string())));
            at = until;
        }
    }
    pieces.push((&octets[at..], None));
    html! {
        @for (octets, explanation) in pieces {
            @match explanation {
                Some(explanation) => { abbr title=(explanation) { (visible(octets)) } },
                None => (visible(octets)),
            }
        }
    }
}

/// What the line is about, in one sentence: its first word. Of a refusal, the last word says why; of an extension that a
/// server announces, the word behind the code.
fn explanation(octets: &[u8], explained: &[explain::Part]) -> Markup {
    let is_refusal = octets.starts_with(b"4") || octets.starts_with(b"5") || octets.starts_with(b"-ERR");
    // Not a status such as 2.1.5; an extension may begin with a digit.
    let is_word = |part: &&explain::Part| {
        octets.get(part.octets.clone()).is_some_and(|word| word.iter().any(u8::is_ascii_alphabetic))
    };
    let chosen = if is_refusal {
        explained.last()
    } else {
        explained.get(1).filter(is_word).filter(|_| octets.starts_with(b"250"))
    };
    let chosen = chosen.or(explained.first());
    html! { @if let Some(part) = chosen { p.explanation { (part.explanation.to_string()) } } }
}

fn remark_of(remark: &remark::Remark) -> Markup {
    let is_advice = remark.weight == remark::Weight::Advice;
    html! {
        p.remark.advice[is_advice] {
            strong { (if is_advice { "Unwise" } else { "Breach" }) " by the " (remark.by) ": " }
            (remark.text) " RFC " (remark.rfc) " §" (remark.section) "."
        }
    }
}

fn since(from: Timestamp, at: Timestamp) -> String {
    duration(u64::try_from(at.duration_since(from).as_micros()).unwrap_or(0))
}
