//! The records over HTTP.

use crate::{Recorder, recording::Log, trace::Position};
use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response, sse},
};
use futures_util::stream;
use internal_api::{
    MessageId, Problem, ProblemKind, RecordedSession, SessionId, SessionPage, SessionRecords, TracePage, TracedRecord,
    text,
};
use jiff::Timestamp;
use mail_net::IoClock;
use serde::Deserialize;
use service_kit::{
    http::{
        event_stream,
        extract::{Path, Query, invalid},
    },
    shutdown::CancellationToken,
};
use std::{collections::VecDeque, net::IpAddr, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How many callers may stream the trace at once.
const STREAMS: usize = 16;
/// How many sessions a page has, unless asked otherwise, and at most.
const SESSIONS: u32 = 100;
const MOST_SESSIONS: u32 = 1000;
/// How many records a page has, unless asked otherwise, and at most.
const RECORDS: u32 = 1000;
/// How many records a stream reads at once.
const STREAM_RECORDS: usize = 200;
/// How many sessions are looked at in one go.
const PORTION: usize = 256;
/// The longest that a caller can wait for a record, in seconds.
const WAIT_SECONDS: u32 = 60;
/// Stands for the position after the last record.
const LATEST: &str = "latest";

#[derive(Clone)]
struct Served {
    recorder: Recorder,
    streams: Arc<Semaphore>,
    io: IoClock,
    shutdown: CancellationToken,
}

/// What parameters refer to.
#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(text::IpAddress)))]
struct Schemas;

/// The routes `/v1/sessions`, `/v1/sessions/{id}` and `/v1/trace` of a service, and their description.
pub fn routes(recorder: Recorder, io: IoClock, shutdown: CancellationToken) -> OpenApiRouter {
    let served = Served { recorder, streams: Arc::new(Semaphore::new(STREAMS)), io, shutdown };
    OpenApiRouter::with_openapi(Schemas::openapi())
        .routes(routes!(list_sessions))
        .routes(routes!(session))
        .routes(routes!(trace))
        .with_state(served)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionsQuery {
    before: Option<String>,
    limit: Option<u32>,
    open: Option<bool>,
    refused: Option<bool>,
    remote: Option<IpAddr>,
    user: Option<String>,
    message: Option<String>,
    since: Option<Timestamp>,
}

/// The sessions that are known, the newest first.
#[utoipa::path(
    get, path = "/v1/sessions", operation_id = "list_sessions", tag = "records",
    params(
        ("before" = Option<SessionId>, Query, description = "The last page's next_before; without it, the newest"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "100 unless given"),
        ("open" = Option<bool>, Query, description = "Only those that last, or only those that have ended"),
        ("refused" = Option<bool>, Query, description = "Only those in which something was refused, that broke off, or in which nobody said anything; or only the others"),
        ("remote" = Option<text::IpAddress>, Query, description = "Only those with this IP address at the other end"),
        ("user" = Option<String>, Query, description = "Only those of this user"),
        ("message" = Option<MessageId>, Query, description = "Only those that handled this message"),
        ("since" = Option<String>, Query, format = DateTime, description = "Only those that were opened at this time or later"),
    ),
    responses((status = 200, description = "A page of sessions", body = SessionPage)),
)]
async fn list_sessions(
    State(served): State<Served>,
    Query(query): Query<SessionsQuery>,
) -> Result<Json<SessionPage>, Problem> {
    let limit = within("limit", query.limit.unwrap_or(SESSIONS), 1, MOST_SESSIONS)? as usize;
    let mut before = match query.before.as_deref().map(str::parse::<SessionId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(error)) => return Err(invalid(format!("before: {error}"))),
    };
    let message = match query.message.as_deref().map(str::parse::<MessageId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(error)) => return Err(invalid(format!("message: {error}"))),
    };
    let recorder = &served.recorder;
    let is_wanted = |session: &RecordedSession| {
        recorder.has_seen(session)
            && query.open.is_none_or(|open| session.closed_at.is_none() == open)
            && query.refused.is_none_or(|refused| session.has_failed() == refused)
            && query.remote.is_none_or(|remote| session.remote.is_some_and(|at| at.ip() == remote))
            && query.user.as_ref().is_none_or(|user| session.user.as_ref() == Some(user))
            && message.is_none_or(|message| session.messages.contains(&message))
    };
    let mut sessions = Vec::new();
    loop {
        let logs: Vec<Arc<Log>> = recorder.records().before(before, PORTION);
        let Some(last) = logs.last() else { break };
        before = Some(last.id());
        let is_over = query.since.is_some_and(|since| last.session().opened_at < since);
        let is_recent = |session: &RecordedSession| query.since.is_none_or(|since| session.opened_at >= since);
        let found = logs.iter().filter_map(|log| log.session_if(|it| is_recent(it) && is_wanted(it)));
        // One more than asked for tells whether there is another page.
        sessions.extend(found.take(limit + 1 - sessions.len()));
        if is_over || sessions.len() > limit {
            break;
        }
    }
    let has_more = sessions.len() > limit;
    sessions.truncate(limit);
    let next_before = sessions.last().map(|session| session.id).filter(|_| has_more);
    Ok(Json(SessionPage { sessions, next_before }))
}

/// A session with what was seen of it. What is not kept of a body is counted as missing.
#[utoipa::path(
    get, path = "/v1/sessions/{id}", operation_id = "session", tag = "records",
    params(("id" = SessionId, Path)),
    responses(
        (status = 200, description = "The session, as far as it has come", body = SessionRecords),
        (status = 404, description = "Nothing is known of such a session, or not any more"),
    ),
)]
async fn session(State(served): State<Served>, Path(id): Path<String>) -> Result<Json<SessionRecords>, Problem> {
    let id: SessionId = id.parse().map_err(|error| Problem::new(ProblemKind::NotFound, format!("{error}")))?;
    let unknown = || Problem::new(ProblemKind::NotFound, "no such session is in memory; only the latest are kept");
    let log = served.recorder.records().session(id).ok_or_else(unknown)?;
    let (session, records) = log.dialogue();
    if !served.recorder.has_seen(&session) {
        return Err(unknown());
    }
    Ok(Json(SessionRecords { session, records }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceQuery {
    after: Option<String>,
    limit: Option<u32>,
    wait: Option<u32>,
}

/// What was seen of all sessions, in order. A caller that asks for `text/event-stream` gets a stream that does not end;
/// the `id` of each of its events is a cursor, and `Last-Event-ID` stands for `after`.
#[utoipa::path(
    get, path = "/v1/trace", operation_id = "trace", tag = "records",
    params(
        ("after" = Option<String>, Query, pattern = "^(latest|(0|[1-9a-f][0-9a-f]{0,15})-(0|[1-9a-f][0-9a-f]{0,15}))$",
            description = "The last page's next_after, or `latest`; without it, the oldest that are kept"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1000 unless given"),
        ("wait" = Option<u32>, Query, minimum = 0, maximum = 60,
            description = "How many seconds to wait for a record if there is none"),
    ),
    responses((status = 200, description = "A page of records, or a stream of them", content(
        (TracePage = "application/json"),
        (String = "text/event-stream"),
    ))),
)]
async fn trace(
    State(served): State<Served>,
    headers: HeaderMap,
    Query(query): Query<TraceQuery>,
) -> Result<Response, Problem> {
    let limit = within("limit", query.limit.unwrap_or(RECORDS), 1, RECORDS)? as usize;
    let wait = within("wait", query.wait.unwrap_or(0), 0, WAIT_SECONDS)?;
    let resumed = event_stream::last_event_id(&headers);
    let after = match resumed.or(query.after.as_deref()) {
        None => Position::default(),
        Some(LATEST) => served.recorder.end_of_trace(),
        Some(cursor) => {
            cursor.parse().map_err(|_| invalid("after: no cursor; give a page's next_after, or `latest`"))?
        }
    };
    if event_stream::accepts(&headers) {
        return stream_trace(served, after);
    }
    let page = match served.recorder.trace(after, limit) {
        page if page.records.is_empty() && wait > 0 => {
            let wait = Duration::from_secs(u64::from(wait));
            let waiting = served.io.timeout(wait, served.recorder.next_trace(after, limit, served.io));
            served.shutdown.run_until_cancelled(waiting).await.and_then(Result::ok).unwrap_or(page)
        }
        page => page,
    };
    Ok(Json(page).into_response())
}

/// Streams the records after `after`. The stream reads on only when its caller has taken what was sent: a slow one loses
/// what is forgotten meanwhile.
fn stream_trace(served: Served, after: Position) -> Result<Response, Problem> {
    let Ok(permit) = Arc::clone(&served.streams).try_acquire_owned() else {
        return Err(Problem::new(ProblemKind::Overloaded, format!("{STREAMS} callers stream the trace already")));
    };
    let feed = Feed { served, after, ready: VecDeque::new(), _permit: permit };
    let events = stream::unfold(feed, async |mut feed| Some((feed.next().await?, feed)));
    Ok(event_stream::response(events))
}

/// A stream of records.
struct Feed {
    served: Served,
    after: Position,
    /// What was read and is to be sent.
    ready: VecDeque<TracedRecord>,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    /// The next record; `None` at a shutdown.
    async fn next(&mut self) -> Option<Result<sse::Event, axum::Error>> {
        if self.ready.is_empty() {
            let Served { recorder, io, shutdown, .. } = &self.served;
            let page = shutdown.run_until_cancelled(recorder.next_trace(self.after, STREAM_RECORDS, *io)).await?;
            self.after = page.next_after.parse().unwrap_or(self.after);
            self.ready = page.records.into();
        }
        let record = self.ready.pop_front()?;
        let position = Position { run: self.after.run, sequence: record.record.sequence };
        Some(sse::Event::default().id(position.to_string()).json_data(&record))
    }
}

fn within(name: &str, value: u32, least: u32, most: u32) -> Result<u32, Problem> {
    match value {
        _ if (least..=most).contains(&value) => Ok(value),
        _ => Err(invalid(format!("{name} is {value}; give {least} to {most}"))),
    }
}
