//! The queue of all stacks: what waits, why, and until when.

use super::{
    Failure,
    format::{encoded, octets, time},
    layout::{self, Page, Section},
    stream,
};
use crate::{api::App, duration::relative};
use axum::{
    Form, Router,
    extract::{Path, Query, State},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use futures_util::future::join_all;
use internal_api::{MessageId, Problem, ProblemKind, QueueEntry, StoreClient, reports::is_final};
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How many entries of each stack are shown.
const MOST: usize = 1000;

/// The routes of this module.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/queue", get(page))
        .route("/queue/entries", get(fragment))
        .route("/queue/{stack}/{id}", post(act))
}

/// Which stack.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wanted {
    stack: String,
}

/// What is to be done.
#[derive(Debug, Deserialize)]
struct Action {
    action: String,
    /// The only stack that the page showed; empty for all.
    #[serde(default)]
    only: String,
}

/// The stack of a message.
#[derive(Clone, Copy)]
struct Of<'s> {
    name: &'s str,
    /// The page shows no other.
    is_only: bool,
}

type Subjects = BTreeMap<MessageId, String>;

/// What waits in a stack; an error says why it is not known.
struct StackQueue {
    stack: String,
    entries: Result<Vec<QueueEntry>, String>,
    has_more: bool,
}

async fn page(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Result<Page, Failure> {
    let place = stream::place(&app).await?;
    let url = if wanted.stack.is_empty() {
        "/queue/entries".to_owned()
    } else {
        format!("/queue/entries?stack={}", encoded(&wanted.stack))
    };
    let content = current(&app, &wanted).await?;
    Ok(Page {
        title: "Queue".to_owned(),
        section: Section::Queue,
        stream: format!("/events?since={place}"),
        scripts: &["queue.js"],
        keys: &[("?", "This help")],
        content: html! {
            main #main.page {
                header.page-head {
                    h1 { "Queue" }
                    @if !wanted.stack.is_empty() { a.button.plain href="/queue" { "All stacks" } }
                }
                div data-fragment=(url) data-on="changed" { (content) }
            }
        },
    })
}

async fn fragment(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Result<Response, Failure> {
    Ok(layout::fragment(&current(&app, &wanted).await?).into_response())
}

/// What waits now, with the subjects that the index knows.
async fn current(app: &App, wanted: &Wanted) -> Result<Markup, Failure> {
    let queues = queues(app, wanted).await;
    let entries = queues.iter().filter_map(|queue| queue.entries.as_ref().ok()).flatten();
    let messages: BTreeSet<_> = entries.map(|entry| entry.message).collect();
    let subjects = app.index.subjects(messages).await?;
    Ok(content(&queues, !wanted.stack.is_empty(), &subjects, app.clock.wall.now()))
}

/// `POST /queue/{stack}/{id}`
async fn act(
    State(app): State<Arc<App>>,
    Path((stack, id)): Path<(String, String)>,
    Form(Action { action, only }): Form<Action>,
) -> Result<Redirect, Failure> {
    let id: MessageId = id.parse().map_err(|_| Problem::from(ProblemKind::MessageUnknown))?;
    let store = app.town.store(&stack).ok_or_else(|| Problem::new(ProblemKind::NotFound, "no such stack"))?;
    let done = match action.as_str() {
        "retry" => store.client.retry_queued(id).await.map(drop),
        "hold" => store.client.hold_queued(id).await,
        "release" => store.client.release_queued(id).await,
        "give-up" => store.client.give_up_queued(id).await,
        _ => return Err(Problem::new(ProblemKind::InvalidRequest, "there is no such action").into()),
    };
    match done {
        // What has left the queue meanwhile is not shown any more.
        Err(error) if error.kind() != Some(ProblemKind::NotQueued) => {
            Err(Problem::new(error.kind().unwrap_or(ProblemKind::Internal), error.to_string()).into())
        }
        _ if only.is_empty() => Ok(Redirect::to("/queue")),
        _ => Ok(Redirect::to(&format!("/queue?stack={}", encoded(&only)))),
    }
}

async fn queues(app: &App, wanted: &Wanted) -> Vec<StackQueue> {
    let stores = app.town.stores().iter().filter(|store| wanted.stack.is_empty() || store.stack == wanted.stack);
    let reading = stores.map(async |store| {
        let (entries, has_more) = match entries(&store.client).await {
            Ok((entries, has_more)) => (Ok(entries), has_more),
            Err(error) => (Err(error.to_string()), false),
        };
        StackQueue { stack: store.stack.clone(), entries, has_more }
    });
    join_all(reading).await
}

async fn entries(store: &StoreClient) -> Result<(Vec<QueueEntry>, bool), internal_api::ApiError> {
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = store.queue(after.as_deref()).await?;
        entries.extend(page.entries);
        after = page.next_after;
        if after.is_none() || entries.len() >= MOST {
            return Ok((entries, after.is_some()));
        }
    }
}

fn content(queues: &[StackQueue], is_only: bool, subjects: &Subjects, now: Timestamp) -> Markup {
    let is_empty = |queue: &StackQueue| queue.entries.as_ref().is_ok_and(Vec::is_empty);
    html! {
        @if queues.iter().all(is_empty) {
            div.panel.empty { h2 { "Nothing waits" } p.quiet { "Mail for other servers is here until they have taken it or refused it for good." } }
        }
        @for queue in queues.iter().filter(|queue| !is_empty(queue)) {
            section.queue-stack {
                h2 { (queue.stack) }
                @match &queue.entries {
                    Err(error) => { p.notice.refused { "The store does not answer: " (error) } },
                    Ok(entries) => {
                        @for message in by_message(entries) {
                            @let subject = message.first().and_then(|first| subjects.get(&first.message));
                            (message_panel(Of { name: &queue.stack, is_only }, subject.map(String::as_str), &message, now))
                        }
                        @if queue.has_more { p.quiet { "There are more; " code { "mailtown queue list" } " lists all." } }
                    },
                }
            }
        }
    }
}

/// The entries of each message, in the order of their next attempt.
fn by_message(entries: &[QueueEntry]) -> Vec<Vec<&QueueEntry>> {
    let mut messages: BTreeMap<MessageId, Vec<&QueueEntry>> = BTreeMap::new();
    for entry in entries {
        messages.entry(entry.message).or_default().push(entry);
    }
    let mut messages: Vec<_> = messages.into_values().collect();
    messages.sort_by_key(|entries| entries.iter().map(|entry| entry.next_attempt_at).min());
    messages
}

fn message_panel(stack: Of<'_>, subject: Option<&str>, entries: &[&QueueEntry], now: Timestamp) -> Markup {
    let Some(first) = entries.first() else { return html! {} };
    let is_held = entries.iter().any(|entry| entry.held);
    let is_leased = entries.iter().any(|entry| entry.leased);
    let is_given_up = entries.iter().all(|entry| is_final(&entry.last_reply));
    let from = first.reverse_path.to_string();
    let subject = subject.filter(|subject| !subject.is_empty()).unwrap_or("(no subject)");
    html! {
        article.panel.queued data-key=(first.message) {
            header {
                h3 { a href={ "/journey/" (first.message) } { (subject) } }
                code.quiet { (first.message) }
                span.quiet.small { "from " (if from == "<>" { "the server itself" } else { from.trim_matches(['<', '>']) }) }
                span.quiet.small { (octets(first.octets)) }
                span.quiet.small { "since " (time(first.queued_at, now)) }
            }
            ul { @for entry in entries { (entry_line(entry, now)) } }
            form method="post" action={ "/queue/" (encoded(stack.name)) "/" (first.message) } {
                @if stack.is_only { input type="hidden" name="only" value=(stack.name); }
                @if is_held {
                    button name="action" value="release" { "Release" }
                } @else {
                    button name="action" value="retry" disabled[is_leased] { "Retry now" }
                    button.plain name="action" value="hold" { "Hold" }
                }
                @if !is_given_up {
                    button.plain.danger name="action" value="give-up" disabled[is_leased] title="For all recipients; the sender gets a failure message" data-confirm="Give it up for all recipients? The sender gets a failure message." { "Give up now" }
                }
            }
        }
    }
}

fn entry_line(entry: &QueueEntry, now: Timestamp) -> Markup {
    let (class, state) = match entry {
        entry if entry.held => ("neutral", "held"),
        entry if entry.leased => ("ok", "being tried"),
        entry if is_final(&entry.last_reply) => ("refused", "given up; its sender will be told"),
        entry if entry.next_attempt_at <= now => ("waiting", "due"),
        _ => ("waiting", "waits"),
    };
    let reason = if entry.last_reply.is_empty() { "It was not tried yet." } else { entry.last_reply.as_str() };
    html! {
        li {
            div { strong { (entry.recipient) } " " span.state.(class) { (state) } }
            p.reason { (reason) }
            p.small.quiet {
                (super::format::count(u64::from(entry.attempts), "attempt", "attempts"))
                @if !entry.held && !entry.leased {
                    ", next " span data-at=(entry.next_attempt_at) { (relative(entry.next_attempt_at, now)) } " (" (time(entry.next_attempt_at, now)) ")"
                }
                @if let Some(expires) = entry.expires_at.filter(|_| !entry.held) { "; given up " (relative(expires, now)) }
            }
        }
    }
}
