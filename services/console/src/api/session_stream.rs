//! Sessions as a stream of server-sent events.

use super::{App, stream};
use crate::{
    happenings::{Item, Place},
    index::{IndexError, SessionFilter},
};
use axum::response::{Response, sse};
use futures_util::stream as streams;
use internal_api::{Problem, RecordedSession, SessionId};
use service_kit::http::event_stream;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};
use tokio::sync::{OwnedSemaphorePermit, watch};

/// How much is looked at in one step.
const STEP: usize = 500;

/// A stream of sessions.
struct Feed {
    app: Arc<App>,
    filter: SessionFilter,
    after: Place,
    changes: watch::Receiver<u64>,
    ready: VecDeque<(Place, RecordedSession)>,
    _place: OwnedSemaphorePermit,
}

/// Streams each session that begins or ends after `after`, and matches then; without `after`, after this call.
pub(super) fn sessions(app: Arc<App>, filter: SessionFilter, after: Option<Place>) -> Result<Response, Problem> {
    let place = stream::take_place(&app)?;
    let (changes, end) = (app.index.happenings().changes(), app.index.happenings().end());
    let after = after.unwrap_or(end);
    let feed = Feed { app, filter, after, changes, ready: VecDeque::new(), _place: place };
    let events = streams::unfold(feed, async |mut feed| Some((feed.next().await?, feed)));
    Ok(event_stream::response(events))
}

impl Feed {
    /// The next event; `None` at a shutdown, or when the index fails.
    async fn next(&mut self) -> Option<Result<sse::Event, axum::Error>> {
        while self.ready.is_empty() {
            self.changes.mark_unchanged();
            if !self.read().await.ok()? {
                tokio::select! {
                    changed = self.changes.changed() => changed.ok()?,
                    () = self.app.shutdown.cancelled() => return None,
                }
            }
        }
        let (place, session) = self.ready.pop_front()?;
        let name = if session.closed_at.is_some() { "closed" } else { "opened" };
        Some(sse::Event::default().id(place.to_string()).event(name).json_data(&session))
    }

    /// Takes what has happened meanwhile; whether there was anything.
    async fn read(&mut self) -> Result<bool, IndexError> {
        let slice = self.app.index.happenings().after(self.after, STEP);
        self.after = slice.next;
        let of_session = |wanted: fn(&Item) -> bool| {
            let items = slice.items.iter().map(|(_, item)| item).filter(move |item| wanted(item));
            items.filter_map(Item::session).collect::<BTreeSet<SessionId>>()
        };
        let (ids, ended) = (of_session(Item::is_end_of_session), of_session(Item::ends_session));
        if !ids.is_empty() {
            let ids: Vec<_> = ids.into_iter().collect();
            let mut sessions = self.app.index.sessions_among(self.filter.clone(), &ids).await?;
            // The end of the others is told when it comes.
            sessions.retain(|session| session.closed_at.is_none() || ended.contains(&session.id));
            // The oldest first. One that has begun and ended meanwhile is told once.
            sessions.reverse();
            self.ready = sessions.into_iter().map(|session| (self.after, session)).collect();
        }
        Ok(!slice.items.is_empty())
    }
}
