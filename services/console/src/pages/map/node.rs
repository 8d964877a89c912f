//! One service: how it is, and what it counts.

use crate::{
    api::App,
    follow::{FollowState, FollowedService},
    pages::{
        Failure,
        format::encoded,
        layout::{Page, Section},
    },
    services::ServiceKind,
};
use axum::extract::{Path, State};
use internal_api::{Problem, ProblemKind};
use maud::{Markup, html};
use std::sync::Arc;

/// `GET /town/{stack}/{service}`
pub(super) async fn page(
    State(app): State<Arc<App>>,
    Path((stack, service)): Path<(String, String)>,
) -> Result<Page, Failure> {
    let all = app.town.services();
    let processes: Vec<_> = all.into_iter().filter(|it| it.stack == stack && it.service == service).collect();
    if processes.is_empty() {
        return Err(Problem::new(ProblemKind::NotFound, "the town has no such service").into());
    }
    let mut shown = Vec::new();
    for process in processes {
        let metrics = app.town.metrics(&process.url).await;
        shown.push((process, metrics));
    }
    let is_store = service == ServiceKind::Store.name();
    let has_queue = is_store || service == ServiceKind::Smtp.name();
    let sessions = format!("/sessions?stack={}&service={}", encoded(&stack), encoded(&service));
    Ok(Page {
        title: format!("{service} of {stack}"),
        section: Section::Map,
        stream: String::new(),
        scripts: &[],
        keys: &[],
        content: html! {
            main #main.page {
                header.page-head {
                    h1 { (service) " " span.quiet { (stack) } }
                    div.downloads {
                        @if has_queue { a.button href={ "/queue?stack=" (encoded(&stack)) } { "Queue" } }
                        @if !is_store { a.button href=(sessions) { "Sessions" } }
                    }
                }
                @for (process, metrics) in &shown { (process_panel(process, metrics.as_deref())) }
            }
        },
    })
}

fn process_panel(process: &FollowedService, metrics: Option<&str>) -> Markup {
    let (class, text) = match process.state {
        FollowState::Starting => ("waiting", "not reached yet"),
        FollowState::Following => ("ok", "answers"),
        FollowState::Unreachable => ("refused", "does not answer"),
        FollowState::RecordsNothing => ("ok", "answers, and keeps no records"),
    };
    html! {
        section.panel.process {
            header { span.state.(class) { (text) } " " span.mono { (process.url) } }
            @if let Some(error) = &process.error { p.refusal { (error) } }
            @if process.dropped > 0 { p.quiet { (process.dropped) " of its records are missing here: there was no memory for them." } }
            @match metrics {
                Some(metrics) => { (table(metrics)) },
                None => { p.quiet { "It does not tell its metrics." } },
            }
        }
    }
}

/// A number with three places behind the point at most.
fn short(value: &str) -> String {
    match value.parse::<f64>() {
        Ok(number) if value.contains('.') => {
            format!("{number:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => value.to_owned(),
    }
}

/// The samples of metrics in their text format that are not 0. Buckets are left out: they are many.
fn table(metrics: &str) -> Markup {
    let samples = metrics.lines().filter(|line| !line.starts_with('#') && !line.contains("_bucket{"));
    let samples = samples.filter_map(|line| line.rsplit_once(' ')).filter(|(_, value)| value.parse() != Ok(0.0));
    html! {
        table.metrics {
            thead { tr { th { "Metric" } th.number { "Value" } } }
            tbody { @for (name, value) in samples { tr { td { code { (name) } } td.number { (short(value)) } } } }
        }
    }
}
