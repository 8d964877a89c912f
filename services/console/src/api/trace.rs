//! What happens in the town, as it happens.

use super::{
    App,
    extract::{Query, from_one, message, session, within},
    invalid,
    stream::{self, Event, Source},
};
use crate::{
    happenings::{Found, Happening, HappeningFilter, Place},
    index::IndexError,
};
use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response, sse},
};
use internal_api::{MessageId, Problem, SessionId};
use serde::{Deserialize, Serialize};
use service_kit::http::event_stream;
use std::{sync::Arc, time::Duration};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How many happenings a page has, unless asked otherwise, and at most.
const PAGE: u32 = 100;
const MOST: u32 = 1000;
/// How long a call may wait, in seconds.
const LONGEST: u32 = 60;

/// Which happenings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceQuery {
    after: Option<String>,
    wait: Option<u32>,
    limit: Option<u32>,
    stack: Option<String>,
    service: Option<String>,
    session: Option<String>,
    message: Option<String>,
}

/// A page of what has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trace {
    /// The happenings of this page.
    pub items: Vec<Happening>,
    /// Pass this as `after` to get what comes later; present on every page, also on an empty one.
    pub next: String,
    /// How many records and events after `after` the console does not have any more.
    pub missed: u64,
}

impl TraceQuery {
    fn filter(&self) -> Result<HappeningFilter, Problem> {
        Ok(HappeningFilter {
            stack: self.stack.clone(),
            service: self.service.clone(),
            session: self.session.as_deref().map(session).transpose()?,
            message: self.message.as_deref().map(message).transpose()?,
        })
    }
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// What has happened in the town: sessions, lines of their dialogues, what services decided, and what became of messages.
/// Without `after`, it is the newest page, in the order of time; with it, what comes later, in the order in which the console
/// learns of it. A caller that asks for `text/event-stream` gets it as it happens, after `after` or `Last-Event-ID`.
#[utoipa::path(
    get, path = "/v1/trace", operation_id = "trace", tag = "town",
    params(
        ("after" = Option<String>, Query, description = "The last page's next, or the cursor of a happening"),
        ("wait" = Option<u32>, Query, maximum = 60, description = "How many seconds to wait for something; 0 unless given"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "100 unless given; the lines of one record are not parted"),
        ("stack" = Option<String>, Query, description = "Only of this server's stack"),
        ("service" = Option<String>, Query, description = "Only what this service has seen, such as smtp-gateway"),
        ("session" = Option<SessionId>, Query, description = "Only of this session"),
        ("message" = Option<MessageId>, Query, description = "Only what names this message"),
    ),
    responses((status = 200, description = "A page, or a stream", content(
        (Trace = "application/json"),
        (String = "text/event-stream"),
    ))),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(wanted): Query<TraceQuery>,
) -> Result<Response, Problem> {
    let filter = wanted.filter()?;
    let limit = from_one("limit", wanted.limit, PAGE, MOST)? as usize;
    let wait = Duration::from_secs(within("wait", wanted.wait, 0, LONGEST)?.into());
    let after = place("after", event_stream::last_event_id(&headers).or(wanted.after.as_deref()))?;
    if event_stream::accepts(&headers) {
        return follow(app, filter, after);
    }
    let found = match after {
        Some(after) => app.wait_for_happenings(after, &filter, limit, wait).await?,
        None => {
            app.caught_up().await;
            app.traces_caught_up().await;
            app.newest_happenings(&filter, limit).await?
        }
    };
    let Found { happenings, next, missed } = found;
    Ok(Json(Trace { items: happenings, next: next.to_string(), missed }).into_response())
}

/// The place that a cursor names.
pub(super) fn place(name: &str, text: Option<&str>) -> Result<Option<Place>, Problem> {
    text.filter(|text| !text.is_empty())
        .map(str::parse)
        .transpose()
        .map_err(|error: crate::happenings::InvalidPlace| invalid(format!("{name}: {error}")))
}

impl App {
    async fn wait_for_happenings(
        &self,
        after: Place,
        filter: &HappeningFilter,
        limit: usize,
        wait: Duration,
    ) -> Result<Found, Problem> {
        let deadline = self.clock.io.instant() + wait;
        let mut changes = self.index.happenings().changes();
        let (mut after, mut missed) = (after, 0);
        loop {
            changes.mark_unchanged();
            let found = self.happenings_after(after, filter, limit).await?;
            (after, missed) = (found.next, missed + found.missed);
            if !found.happenings.is_empty() || self.clock.io.instant() >= deadline {
                return Ok(Found { missed, ..found });
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = self.clock.io.sleep_until(deadline) => {}
                () = self.shutdown.cancelled() => return Ok(Found { missed, ..found }),
            }
        }
    }
}

fn follow(app: Arc<App>, filter: HappeningFilter, after: Option<Place>) -> Result<Response, Problem> {
    let (changes, end) = (app.index.happenings().changes(), app.index.happenings().end());
    stream::of(app, News { filter, after: after.unwrap_or(end) }, changes)
}

/// What happens.
struct News {
    filter: HappeningFilter,
    after: Place,
}

impl Source for News {
    async fn read(&mut self, app: &App) -> Result<Option<Vec<Event>>, IndexError> {
        let found = app.happenings_after(self.after, &self.filter, PAGE as usize).await?;
        self.after = found.next;
        let event =
            |happening: &Happening| sse::Event::default().id(&happening.cursor).event("happening").json_data(happening);
        let events: Vec<_> = found.happenings.iter().map(event).collect();
        Ok((!events.is_empty()).then_some(events))
    }
}
