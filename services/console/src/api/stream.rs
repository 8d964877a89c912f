//! New mail as a stream of server-sent events.

use super::App;
use crate::{index::Cursor, model::MailSummary, query::Query};
use axum::response::{
    IntoResponse, Response,
    sse::{self, KeepAlive, Sse},
};
use futures_util::stream;
use internal_api::Problem;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How many messages are read at once.
const PAGE: usize = 100;
/// How long a stream stays silent.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A stream of new mail.
struct Feed {
    app: Arc<App>,
    query: Query,
    after: Cursor,
    changes: watch::Receiver<u64>,
    ready: VecDeque<MailSummary>,
}

/// Streams each message that matches and comes after `after`; without it, after this call. The id of each event is a cursor.
pub(super) async fn mail(app: Arc<App>, query: Query, after: Option<Cursor>) -> Result<Response, Problem> {
    let after = match after {
        Some(after) => after,
        None => app.index.checkpoint().await?,
    };
    let changes = app.index.changes();
    let feed = Feed { app, query, after, changes, ready: VecDeque::new() };
    let events = stream::unfold(feed, async |mut feed| Some((feed.next().await?, feed)));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
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
