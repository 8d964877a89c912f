//! What comes, as streams of server-sent events: new mail here, sessions and all that happens in other modules.

use super::App;
use crate::{
    index::{Cursor, IndexError},
    query::Query,
};
use axum::response::{Response, sse};
use futures_util::stream;
use internal_api::{Problem, ProblemKind};
use service_kit::http::event_stream;
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How many messages are read at once.
const PAGE: usize = 100;
/// How many streams may be open.
const STREAMS: usize = 256;

/// An event, unless its data is no JSON.
pub(super) type Event = Result<sse::Event, axum::Error>;

/// What a stream reads, from a place that it keeps.
pub(super) trait Source: Send + 'static {
    /// The events since the last call, some of them at once; `None` when nothing has happened since.
    ///
    /// # Errors
    /// [`IndexError`], which ends the stream.
    fn read(&mut self, app: &App) -> impl Future<Output = Result<Option<Vec<Event>>, IndexError>> + Send;
}

/// A stream that is open.
struct Feed<S> {
    app: Arc<App>,
    source: S,
    /// Wakes when there may be more.
    changes: watch::Receiver<u64>,
    ready: VecDeque<Event>,
    _place: OwnedSemaphorePermit,
}

/// The places of those who read streams.
pub(crate) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(STREAMS))
}

/// Streams what the source reads, whenever `changes` wakes.
///
/// # Errors
/// When too many streams are open.
pub(super) fn of<S: Source>(app: Arc<App>, source: S, changes: watch::Receiver<u64>) -> Result<Response, Problem> {
    let busy = |_| Problem::new(ProblemKind::Overloaded, format!("{STREAMS} streams are open, which is the limit"));
    let place = Arc::clone(&app.streams).try_acquire_owned().map_err(busy)?;
    let feed = Feed { app, source, changes, ready: VecDeque::new(), _place: place };
    let events = stream::unfold(feed, async |mut feed| Some((feed.next().await?, feed)));
    Ok(event_stream::response(events))
}

impl<S: Source> Feed<S> {
    /// The next event; `None` at a shutdown, or when the index fails.
    async fn next(&mut self) -> Option<Event> {
        while self.ready.is_empty() {
            self.changes.mark_unchanged();
            match self.source.read(&self.app).await.ok()? {
                Some(events) => self.ready = events.into(),
                None => tokio::select! {
                    changed = self.changes.changed() => changed.ok()?,
                    () = self.app.shutdown.cancelled() => return None,
                },
            }
        }
        self.ready.pop_front()
    }
}

/// Streams each message that matches and comes after `after`; without it, after this call. The id of each event is a cursor.
pub(super) async fn mail(app: Arc<App>, query: Query, after: Option<Cursor>) -> Result<Response, Problem> {
    let after = match after {
        Some(after) => after,
        None => app.index.checkpoint().await?,
    };
    let changes = app.index.mail_changes();
    of(app, NewMail { query, after }, changes)
}

/// New mail.
struct NewMail {
    query: Query,
    after: Cursor,
}

impl Source for NewMail {
    async fn read(&mut self, app: &App) -> Result<Option<Vec<Event>>, IndexError> {
        let news = app.index.news(&self.query, self.after, PAGE).await?;
        for cursor in news.iter().filter_map(|mail| mail.cursor.parse().ok()) {
            self.after = self.after.reached(cursor);
        }
        let event = |mail: &_| sse::Event::default().event("mail").json_data(mail);
        let events: Vec<_> = news.iter().map(|mail| event(mail).map(|event| event.id(&mail.cursor))).collect();
        Ok((!events.is_empty()).then_some(events))
    }
}
