//! New mail as a stream of server-sent events.

use super::App;
use crate::{index::Cursor, model::MailSummary, query::Query};
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

/// A stream of new mail.
struct Feed {
    app: Arc<App>,
    query: Query,
    after: Cursor,
    changes: watch::Receiver<u64>,
    ready: VecDeque<MailSummary>,
    _place: OwnedSemaphorePermit,
}

/// The places of those who read streams.
pub(crate) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(STREAMS))
}

/// A place among those who read streams.
///
/// # Errors
/// When there is none left.
pub(super) fn take_place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    let busy = |_| Problem::new(ProblemKind::Overloaded, format!("{STREAMS} streams are open, which is the limit"));
    Arc::clone(&app.streams).try_acquire_owned().map_err(busy)
}

/// Streams each message that matches and comes after `after`; without it, after this call. The id of each event is a cursor.
pub(super) async fn mail(app: Arc<App>, query: Query, after: Option<Cursor>) -> Result<Response, Problem> {
    let place = take_place(&app)?;
    let after = match after {
        Some(after) => after,
        None => app.index.checkpoint().await?,
    };
    let changes = app.index.mail_changes();
    let feed = Feed { app, query, after, changes, ready: VecDeque::new(), _place: place };
    let events = stream::unfold(feed, async |mut feed| Some((feed.next().await?, feed)));
    Ok(event_stream::response(events))
}

impl Feed {
    /// The next event; `None` at a shutdown, or when the index fails.
    async fn next(&mut self) -> Option<Result<sse::Event, axum::Error>> {
        while self.ready.is_empty() {
            self.changes.mark_unchanged();
            self.ready = self.app.index.news(&self.query, self.after, PAGE).await.ok()?.into();
            if self.ready.is_empty() {
                tokio::select! {
                    changed = self.changes.changed() => changed.ok()?,
                    () = self.app.shutdown.cancelled() => return None,
                }
            }
        }
        let mail = self.ready.pop_front()?;
        self.after = self.after.reached(mail.cursor.parse().ok()?);
        Some(sse::Event::default().id(&mail.cursor).event("mail").json_data(&mail))
    }
}
