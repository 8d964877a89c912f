//! A journey as one waterfall: each step a row, each row a bar on the same axis of time.

mod axis;

use super::{
    Failure,
    format::time,
    icons::{Icon, icon},
    layout::{Page, Section},
    stream,
};
use crate::{
    api::App,
    duration::duration,
    journey::{Ends, Joined, Journey, Outcome, Stage, StageKind, Step, StepKind},
};
use axis::Axis;
use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use internal_api::{MessageId, Problem, ProblemKind};
use jiff::Timestamp;
use maud::{Markup, html};
use std::sync::Arc;

/// The scripts of a page that has a [`panel`].
pub(crate) const SCRIPTS: &[&str] = &["journey.js"];
const KEYS: &[(&str, &str)] =
    &[("n", "Next step"), ("p", "Step before"), ("s", "Slow motion, or stop"), ("?", "This help")];

/// The routes of this module.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/journey/{id}", get(page)).route("/journey/{id}/panel", get(fragment))
}

async fn page(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Page, Failure> {
    let place = stream::place(&app).await?;
    let id: MessageId = id.parse().map_err(|_| Problem::from(ProblemKind::MessageUnknown))?;
    app.caught_up().await;
    let mail = app.index.mail(id).await?.ok_or_else(|| Problem::from(ProblemKind::MessageUnknown))?;
    let journey = app.journey(id).await?;
    let subject = if mail.summary.subject.is_empty() { "(no subject)".to_owned() } else { mail.summary.subject };
    Ok(Page {
        title: format!("Journey of {subject}"),
        section: Section::Mail,
        stream: format!("/events?since={place}"),
        scripts: SCRIPTS,
        keys: KEYS,
        content: html! {
            main #main.page {
                header.page-head {
                    h1 { (subject) }
                    a.button href={ "/mail/" (id) } { (icon(Icon::Mail)) "The message" }
                }
                (panel(&journey, app.clock.wall.now()))
            }
        },
    })
}

async fn fragment(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: MessageId = id.parse().map_err(|_| Problem::from(ProblemKind::MessageUnknown))?;
    let journey = app.journey(id).await?;
    Ok(super::layout::fragment(&content(&journey, app.clock.wall.now())).into_response())
}

/// A journey, kept true while the page is looked at. The page has [`SCRIPTS`] and a stream.
pub(crate) fn panel(journey: &Journey, now: Timestamp) -> Markup {
    html! {
        div.journey data-fragment={ "/journey/" (journey.asked_for) "/panel" } data-on="changed" {
            (content(journey, now))
        }
    }
}

fn content(journey: &Journey, now: Timestamp) -> Markup {
    let axis = Axis::of(journey);
    let firsts = journey.stages.iter().scan(0, |next, stage| {
        let first = *next;
        *next += stage.steps.len();
        Some(first)
    });
    html! {
        ul.fates {
            @for fate in &journey.recipients {
                li { (chip(fate.outcome)) " " strong { (fate.address) } " " span.quiet { (fate.sentence) } }
            }
        }
        p.small.quiet {
            "Began " (time(journey.begins_at, now)) ", took "
            (duration(microseconds(journey.begins_at, journey.ends_at.min(now).max(journey.begins_at)))) ". "
            "Pauses are drawn short; all else is to scale."
        }
        (player())
        div.waterfall {
            @for ((index, stage), first) in journey.stages.iter().enumerate().zip(firsts) {
                (stage_rows(journey, (index, stage), &axis, first))
            }
        }
    }
}

/// The buttons that play the record.
fn player() -> Markup {
    html! {
        div.player hidden {
            button.square type="button" data-play="back" title="Step before: p" {
                (icon(Icon::Back)) span.visually-hidden { "Step before" }
            }
            button.square type="button" data-play="next" title="Next step: n" {
                (icon(Icon::Next)) span.visually-hidden { "Next step" }
            }
            button type="button" data-play="slow" title="s" { "Slow motion" }
            button.plain type="button" data-play="all" hidden { "Show all" }
            output.caption aria-live="polite" {}
        }
    }
}

fn stage_rows(journey: &Journey, (index, stage): (usize, &Stage), axis: &Axis, first: usize) -> Markup {
    let class = match stage.kind {
        StageKind::Submission => "submission",
        StageKind::Store => "store",
        StageKind::Attempt => "attempt",
        StageKind::Wait => "wait",
        StageKind::Fetch => "fetch",
    };
    html! {
        section.leg.(class).branch[stage.is_branch] id={ "stage-" (index) } aria-label=(stage.title) {
            @if stage.kind != StageKind::Wait { (stage_head(journey, stage)) }
            ol {
                @for (number, step) in stage.steps.iter().enumerate() {
                    (row(journey, step, axis, first + number))
                }
            }
            @if let Some(note) = &stage.note { p.leg-note { (note) } }
        }
    }
}

fn stage_head(journey: &Journey, stage: &Stage) -> Markup {
    let asked_for = stage.message == journey.asked_for;
    html! {
        header {
            h2 { (stage.title) }
            @if stage.is_branch { span.state.refused { "Report to the sender" } }
            @if !asked_for { a.small.mono href={ "/mail/" (stage.message) } { (stage.message) } }
            @if let Some(ends) = stage.ends { (ends_links(ends)) }
        }
    }
}

fn ends_links(ends: Ends) -> Markup {
    let joined = match ends.joined {
        Joined::No => None,
        Joined::Addresses => Some("Both ends are known: they have the same addresses."),
        Joined::Confirmed => {
            Some("Both ends are known: they have the same addresses, and the reply names the message there.")
        }
        Joined::Reply => Some("Both ends are known: the reply names the message there. Their addresses differ."),
    };
    html! {
        @if let Some(session) = ends.client.or(ends.server) {
            a.small href={ "/sessions/" (session) } title=[joined] {
                @if joined.is_some() { "Session, both ends" } @else { "Session" }
            }
        }
    }
}

fn row(journey: &Journey, step: &Step, axis: &Axis, number: usize) -> Markup {
    let class = match step.outcome {
        Outcome::Ok => "ok",
        Outcome::Waiting => "waiting",
        Outcome::Refused => "refused",
    };
    let is_pause = matches!(step.kind, StepKind::Pause | StepKind::Queued);
    let link = step.session.map(|session| {
        let anchor = step.record.map(|record| format!("#r{record}")).unwrap_or_default();
        format!("/sessions/{session}{anchor}")
    });
    let took = duration(step.microseconds);
    let inner = html! {
        span.at { (offset(microseconds(journey.begins_at, step.at))) }
        span.what {
            span.name { (step.name) }
            @if step.outcome != Outcome::Ok {
                @if let Some(reply) = &step.reply { span.reply { (reply) } } @else { span.reply { (step.sentence) } }
            }
        }
        (bar(step, axis, is_pause))
        span.took { @if step.microseconds > 0 { (took) } }
        span.sentence hidden {
            (step.sentence) @if let Some(reply) = &step.reply { " → " (reply) }
        }
    };
    html! {
        li.step.(class).pause[is_pause] data-step=(number) data-at=(microseconds(journey.begins_at, step.at)) title=(step.sentence) {
            @if let Some(link) = link { a href=(link) { (inner) } } @else { div { (inner) } }
        }
    }
}

fn bar(step: &Step, axis: &Axis, is_pause: bool) -> Markup {
    let (x, end) = (axis.x(step.at), axis.x(step.until()));
    let width = (end - x).max(4.0);
    let x = x.min(axis::WIDTH - width);
    html! {
        svg.gaps viewBox={ "0 0 " (axis::WIDTH) " 10" } preserveAspectRatio="none" aria-hidden="true" {
            @for (from, until) in axis.gaps() {
                rect x=(rounded(from)) y="0" width=(rounded(until - from)) height="10" {}
            }
        }
        svg.bar viewBox={ "0 0 " (axis::WIDTH) " 10" } preserveAspectRatio="none" aria-hidden="true" {
            @if is_pause {
                line x1=(rounded(x)) x2=(rounded(x + width)) y1="5" y2="5" {}
            } @else {
                rect.span x=(rounded(x)) y="1.5" width=(rounded(width)) height="7" rx="1" {}
            }
        }
    }
}

fn rounded(number: f64) -> String {
    format!("{number:.1}")
}

fn chip(outcome: Outcome) -> Markup {
    let (class, text) = match outcome {
        Outcome::Ok => ("ok", "arrived"),
        Outcome::Waiting => ("waiting", "waiting"),
        Outcome::Refused => ("refused", "refused"),
    };
    html! { span.state.(class) { (text) } }
}

fn microseconds(from: Timestamp, until: Timestamp) -> u64 {
    u64::try_from(until.duration_since(from).as_micros()).unwrap_or(0)
}

/// How long after the beginning.
fn offset(microseconds: u64) -> String {
    match microseconds {
        0..1_000_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        1_000_000..60_000_000 => format!("{:.3} s", microseconds as f64 / 1e6),
        _ => duration(microseconds),
    }
}
