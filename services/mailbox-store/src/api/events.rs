//! Events: what happened to messages, page by page or as a stream.

use super::{
    Api,
    extract::{Path, Query, invalid, message},
    within,
};
use crate::store::StoreError;
use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response, sse},
};
use futures_util::stream;
use internal_api::{Event, EventPage, EventPosition, MessageEvents, MessageId, Problem, ProblemKind};
use serde::Deserialize;
use service_kit::http::event_stream;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::OwnedSemaphorePermit;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How many callers may stream events at once.
pub(crate) const EVENT_STREAMS: usize = 64;
/// How many events a page has, unless asked otherwise, and at most.
const PAGE: u32 = 1000;
/// How many events a stream reads at once.
const STREAM_PAGE: u32 = 100;
/// The longest that a caller can wait for an event, in seconds.
const WAIT_SECONDS: u32 = 60;
/// How often to look for the events of other stores on the same database.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// As `after`: begins with what happens from now on.
const LATEST: &str = "latest";

/// Which events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    after: Option<String>,
    limit: Option<u32>,
    wait: Option<u32>,
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(of_message)).routes(routes!(list))
}

/// What happened to messages, in the order of commits. A caller that asks for `text/event-stream` gets a stream that does
/// not end; the `id` of each of its events is a cursor, and `Last-Event-ID` stands for `after`.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "list_events", tag = "events",
    params(
        ("after" = Option<String>, Query, pattern = "^(latest|(0|[1-9a-f][0-9a-f]{0,14}|[1-7][0-9a-f]{15})-(0|[1-9a-f][0-9a-f]{0,14}|[1-7][0-9a-f]{15})-(0|[1-9a-f][0-9a-f]{0,7}))$",
            description = "The last page's next_after, an event's cursor, or `latest`; without it, the oldest that are kept"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1000 unless given"),
        ("wait" = Option<u32>, Query, minimum = 0, maximum = 60,
            description = "How many seconds to wait for an event if there is none"),
    ),
    responses((status = 200, description = "A page of events, or a stream of them", content(
        (EventPage = "application/json"),
        (String = "text/event-stream"),
    ))),
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Query(query): Query<EventsQuery>,
) -> Result<Response, Problem> {
    let limit = within("limit", query.limit.unwrap_or(PAGE), 1..=PAGE)?;
    let wait = within("wait", query.wait.unwrap_or(0), 0..=WAIT_SECONDS)?;
    let resumed = event_stream::last_event_id(&headers);
    let after = match resumed.or(query.after.as_deref()) {
        None => EventPosition::default(),
        Some(LATEST) => api.events.last_event().await?,
        Some(cursor) => cursor.parse().map_err(|error| invalid(format!("after: {error}")))?,
    };
    if event_stream::accepts(&headers) {
        return stream_events(&api, after);
    }
    let page = match api.events.events(after, limit).await? {
        page if page.events.is_empty() && wait > 0 => {
            let waiting = wait_for_events(&api, after, limit);
            api.clock.io.timeout(Duration::from_secs(u64::from(wait)), waiting).await.unwrap_or(Ok(page))?
        }
        page => page,
    };
    Ok(Json(page).into_response())
}

/// What happened to a message, as far as that is kept. The message may be gone.
#[utoipa::path(
    get, path = "/v1/messages/{id}/events", operation_id = "list_message_events", tag = "events",
    params(("id" = MessageId, Path)),
    responses(
        (status = 200, description = "Its events, the oldest first", body = MessageEvents),
        (status = 404, description = "Nothing is known of such a message, or not any more"),
    ),
)]
pub(super) async fn of_message(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
) -> Result<Json<MessageEvents>, Problem> {
    let events = api.events.message_events(message(&id)?).await?;
    if events.is_empty() {
        return Err(ProblemKind::MessageUnknown.into());
    }
    Ok(Json(MessageEvents { events }))
}

/// Streams the events after `after`. The stream reads on only when its caller has taken what was sent. A caller that
/// takes nothing is cut by the server, as with every response.
fn stream_events(api: &Arc<Api>, after: EventPosition) -> Result<Response, Problem> {
    let Ok(permit) = Arc::clone(&api.event_streams).try_acquire_owned() else {
        return Err(Problem::new(ProblemKind::Overloaded, format!("{EVENT_STREAMS} callers stream events already")));
    };
    let feed = Feed { api: Arc::clone(api), after, ready: VecDeque::new(), _permit: permit };
    let events = stream::unfold(feed, async |mut feed| Some((feed.next().await?, feed)));
    Ok(event_stream::response(events))
}

/// A stream of events.
struct Feed {
    api: Arc<Api>,
    after: EventPosition,
    /// What was read and is to be sent.
    ready: VecDeque<Event>,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    /// The next event; `None` at a shutdown, or when the store fails. The caller comes again with its last cursor.
    async fn next(&mut self) -> Option<Result<sse::Event, axum::Error>> {
        while self.ready.is_empty() {
            let page = match wait_for_events(&self.api, self.after, STREAM_PAGE).await {
                Ok(page) if self.api.shutdown.is_cancelled() && page.events.is_empty() => return None,
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends; its caller can come again");
                    return None;
                }
            };
            self.after = page.next_after.parse().unwrap_or(self.after);
            self.ready = page.events.into();
        }
        let event = self.ready.pop_front()?;
        Some(sse::Event::default().id(&event.cursor).event(event.kind.name()).json_data(&event))
    }
}

/// The first page after `after` that is not empty. At a shutdown, an empty one.
async fn wait_for_events(api: &Api, mut after: EventPosition, limit: u32) -> Result<EventPage, StoreError> {
    // From before the first look, so that no event falls between looking and waiting.
    let mut changes = api.events.event_changes();
    loop {
        let page = api.events.events(after, limit).await?;
        if !page.events.is_empty() || api.shutdown.is_cancelled() {
            return Ok(page);
        }
        // Records that cannot be decoded are passed for good.
        after = page.next_after.parse().unwrap_or(after);
        tokio::select! {
            // Without a sender the store is closed, and the next look fails.
            _ = api.clock.io.timeout(LOOK_AGAIN, changes.changed()) => {}
            () = api.shutdown.cancelled() => {}
        }
    }
}
