//! Captures: recorded sessions as pcapng, for Wireshark.

use super::{
    App,
    extract::{Query, message},
    invalid,
};
use crate::index::{IndexError, SessionFilter};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use capture::{Capture, Live, Options, Ports, Vantage};
use futures_util::stream;
use internal_api::{Dropped, MessageId, Problem, ProblemKind, RecordedSession, SessionId, TracedRecord};
use jiff::Timestamp;
use serde::Deserialize;
use std::{
    collections::{BTreeSet, btree_set},
    io,
    sync::Arc,
    time::Duration,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The media type of pcapng, as Wireshark's servers have it; none is registered.
const MEDIA_TYPE: &str = "application/x-pcapng";
/// How many sessions are read from the index at once.
const PAGE: usize = 500;
/// The most sessions that one file has: the newest ones.
const SESSIONS: usize = 100_000;
/// How much earlier than a session its other end may have begun.
const OTHER_END_WITHIN: Duration = Duration::from_secs(10);
/// How many octets are gathered before they are sent.
const PIECE_OCTETS: usize = 64 * 1024;

/// Which sessions, and how they are shown.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaptureQuery {
    session: Option<String>,
    message: Option<String>,
    since: Option<Timestamp>,
    #[serde(default)]
    ports: ShownPorts,
    #[serde(default)]
    vantage: ShownEnd,
}

/// How sessions are shown.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Look {
    #[serde(default)]
    ports: ShownPorts,
    #[serde(default)]
    vantage: ShownEnd,
}

/// Which ports the servers have.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ShownPorts {
    /// Those that Wireshark knows.
    #[default]
    Standard,
    /// Those that they really have.
    Real,
}

/// Which end of each connection is shown.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ShownEnd {
    /// The server's.
    #[default]
    Server,
    /// The client's.
    Client,
}

impl Look {
    fn options(self, query: String) -> Options {
        Options {
            query,
            ports: match self.ports {
                ShownPorts::Standard => Ports::Synthetic,
                ShownPorts::Real => Ports::Real,
            },
            vantage: match self.vantage {
                ShownEnd::Server => Vantage::Server,
                ShownEnd::Client => Vantage::Client,
            },
            servers: Vec::new(),
        }
    }
}

/// The routes of this module.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(file)).routes(routes!(live))
}

/// Recorded sessions as a pcapng file that Wireshark decodes without any option.
#[utoipa::path(
    get, path = "/v1/captures.pcapng", operation_id = "capture", tag = "captures",
    params(
        ("session" = Option<SessionId>, Query, description = "Only this session, and the other end of it"),
        ("message" = Option<MessageId>, Query,
            description = "Only the sessions that have handled this message, also under its id at the next server"),
        ("since" = Option<String>, Query, format = DateTime, description = "Only sessions that were opened then or later"),
        ("ports" = Option<ShownPorts>, Query, description = "standard unless given: 25, 587, 110 and 53"),
        ("vantage" = Option<ShownEnd>, Query, description = "server unless given"),
    ),
    responses(
        (status = 200, description = "The file", body = internal_api::text::Octets, content_type = MEDIA_TYPE),
        (status = 404, description = "The console knows no such session or message, or not any more"),
    ),
)]
pub(super) async fn file(State(app): State<Arc<App>>, Query(query): Query<CaptureQuery>) -> Result<Response, Problem> {
    let look = Look { ports: query.ports, vantage: query.vantage };
    let mut selection = Selection { sessions: BTreeSet::new(), options: look.options(described(&query)) };
    selection.fill(&app, &query).await?;
    let Selection { sessions, options } = selection;
    let dropped = app.town.services().iter().map(|service| service.dropped).sum();
    let writing = Writing {
        capture: Some(Capture::new(options)),
        sessions: sessions.into_iter(),
        dropped: Dropped { sessions: 0, records: dropped },
        app,
    };
    let pieces = stream::try_unfold(writing, async |mut writing| {
        let piece = writing.piece().await?;
        Ok::<_, io::Error>(piece.map(|piece| (piece, writing)))
    });
    let name = "attachment; filename=\"mailtown.pcapng\"";
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// These sessions as a file.
pub(crate) async fn of(app: &Arc<App>, wanted: &BTreeSet<SessionId>) -> Result<Vec<u8>, Problem> {
    let look = Look { ports: ShownPorts::default(), vantage: ShownEnd::default() };
    let mut selection = Selection { sessions: BTreeSet::new(), options: look.options("all sessions".to_owned()) };
    selection.add_newest(app, SessionFilter::default(), None, |session| wanted.contains(&session.id)).await?;
    let Selection { sessions, options } = selection;
    let mut writing = Writing {
        capture: Some(Capture::new(options)),
        sessions: sessions.into_iter(),
        dropped: Dropped::default(),
        app: Arc::clone(app),
    };
    let mut file = Vec::new();
    let failed = |error: io::Error| Problem::new(ProblemKind::Internal, error.to_string());
    while let Some(piece) = writing.piece().await.map_err(failed)? {
        file.extend_from_slice(&piece);
    }
    Ok(file)
}

/// What was asked for, as the file says it.
fn described(query: &CaptureQuery) -> String {
    let CaptureQuery { session, message, since, .. } = query;
    let parts = [
        session.as_ref().map(|id| format!("session={id}")),
        message.as_ref().map(|id| format!("message={id}")),
        since.map(|since| format!("since={since}")),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "all sessions".to_owned() } else { parts.join(" ") }
}

/// What a file is to have.
struct Selection {
    /// By id, which is by the time of opening.
    sessions: BTreeSet<SessionId>,
    options: Options,
}

impl Selection {
    /// Adds what was asked for.
    async fn fill(&mut self, app: &App, query: &CaptureQuery) -> Result<(), Problem> {
        if let Some(id) = &query.session {
            let unknown = || Problem::new(ProblemKind::NotFound, "no such session, or not any more");
            let id: SessionId = id.parse().map_err(|_| unknown())?;
            let session = app.index.session(id).await?.ok_or_else(unknown)?.session;
            self.add(&session);
            let since = session.opened_at.saturating_sub(OTHER_END_WITHIN).ok();
            let is_other_end = |other: &RecordedSession| {
                session.local.is_some() && (other.local, other.remote) == (session.remote, session.local)
            };
            return Ok(self.add_newest(app, SessionFilter::default(), since, is_other_end).await?);
        }
        let Some(id) = &query.message else {
            return Ok(self.add_newest(app, SessionFilter::default(), query.since, |_| true).await?);
        };
        let id = message(id)?;
        let mail = app.index.mail(id).await?;
        let there = mail.iter().flat_map(|mail| &mail.summary.recipients).filter_map(|recipient| recipient.peer_id);
        for id in [id].into_iter().chain(there) {
            let filter = SessionFilter { message: Some(id), ..SessionFilter::default() };
            self.add_newest(app, filter, query.since, |_| true).await?;
        }
        if mail.is_none() && self.sessions.is_empty() {
            return Err(Problem::new(ProblemKind::MessageUnknown, format!("{id}: it is not known, or not any more")));
        }
        Ok(())
    }

    fn add(&mut self, session: &RecordedSession) {
        self.options.know(session);
        self.sessions.insert(session.id);
    }

    /// Adds the newest sessions that pass and that were opened at this time or later.
    async fn add_newest(
        &mut self,
        app: &App,
        mut filter: SessionFilter,
        since: Option<Timestamp>,
        is_wanted: impl Fn(&RecordedSession) -> bool,
    ) -> Result<(), IndexError> {
        let is_recent = |session: &RecordedSession| since.is_none_or(|since| session.opened_at >= since);
        loop {
            let page = app.index.sessions(filter.clone(), PAGE).await?;
            let is_over = page.sessions.last().is_none_or(|last| !is_recent(last));
            page.sessions.iter().filter(|it| is_recent(it) && is_wanted(it)).for_each(|session| self.add(session));
            filter.before = page.next_before;
            if is_over || filter.before.is_none() || self.sessions.len() >= SESSIONS {
                return Ok(());
            }
        }
    }
}

/// A file that is being sent.
struct Writing {
    app: Arc<App>,
    /// `None` once it is finished.
    capture: Option<Capture>,
    sessions: btree_set::IntoIter<SessionId>,
    dropped: Dropped,
}

impl Writing {
    /// What comes next of the file; `None` after its end.
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        let mut piece = Vec::new();
        while piece.len() < PIECE_OCTETS {
            let Some(capture) = &mut self.capture else { break };
            let Some(id) = self.sessions.next() else {
                if let Some(capture) = self.capture.take() {
                    capture.finish(self.dropped, &mut piece)?;
                }
                break;
            };
            // It may have been forgotten meanwhile.
            if let Some(records) = self.app.index.session(id).await.map_err(io::Error::other)? {
                capture.add(records, &mut piece)?;
            }
        }
        Ok(Some(piece).filter(|piece| !piece.is_empty()).map(Bytes::from))
    }
}

/// The sessions that begin from now on, as a pcapng file that does not end: `curl -sN URL | wireshark -k -i -`.
#[utoipa::path(
    get, path = "/v1/captures/live.pcapng", operation_id = "live_capture", tag = "captures",
    params(
        ("ports" = Option<ShownPorts>, Query, description = "standard unless given: 25, 587, 110 and 53"),
        ("vantage" = Option<ShownEnd>, Query, description = "server unless given"),
    ),
    responses((status = 200, description = "The file", body = internal_api::text::Octets, content_type = MEDIA_TYPE)),
)]
pub(super) async fn live(State(app): State<Arc<App>>, Query(look): Query<Look>) -> Result<Response, Problem> {
    // First of all, so that nothing is missed.
    let records = app.index.records();
    let mut options = look.options("all sessions from now on".to_owned());
    let known = app.index.sessions(SessionFilter::default(), PAGE).await?;
    known.sessions.iter().for_each(|session| options.know(session));
    let mut capture = Live::new(options);
    let mut head = Vec::new();
    capture.begin(&mut head).map_err(|error| invalid(error.to_string()))?;
    let following = Following { app, capture: Some(capture), records, ready: head, dropped: Dropped::default() };
    let pieces = stream::try_unfold(following, async |mut following| {
        let piece = following.piece().await?;
        Ok::<_, io::Error>(piece.map(|piece| (piece, following)))
    });
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], Body::from_stream(pieces)).into_response())
}

/// A file that grows.
struct Following {
    app: Arc<App>,
    /// `None` once it is finished.
    capture: Option<Live>,
    records: Receiver<Arc<[TracedRecord]>>,
    ready: Vec<u8>,
    dropped: Dropped,
}

impl Following {
    /// What comes next of the file; `None` after its end, which a shutdown brings. A reader that is too slow misses records,
    /// which are counted.
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        while self.ready.is_empty() {
            let Some(capture) = &mut self.capture else { return Ok(None) };
            let records = tokio::select! {
                records = self.records.recv() => records,
                () = self.app.shutdown.cancelled() => Err(RecvError::Closed),
            };
            match records {
                Ok(records) => records.iter().try_for_each(|record| capture.push(record, &mut self.ready))?,
                Err(RecvError::Lagged(missed)) => self.dropped.records += missed,
                Err(RecvError::Closed) => {
                    if let Some(capture) = self.capture.take() {
                        capture.finish(self.dropped, &mut self.ready)?;
                    }
                }
            }
        }
        Ok(Some(std::mem::take(&mut self.ready).into()))
    }
}
