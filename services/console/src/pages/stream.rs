//! The streams of changes that pages listen to: small events, each with an id from which a broken stream goes on.

use crate::{
    api::App,
    index::{Cursor, IndexError, SearchPage},
    query::Query,
};
use axum::{
    http::HeaderMap,
    response::{Response, sse::Event},
};
use futures_util::stream;
use internal_api::Problem;
use serde_json::json;
use service_kit::http::event_stream;
use std::{collections::VecDeque, fmt, str::FromStr, sync::Arc, time::Duration};
use tokio::sync::watch;

/// What changes within this time is told at once.
const PAUSE: Duration = Duration::from_millis(120);
/// How many new messages are counted one by one.
const COUNTED: usize = 100;

/// Where a page stands among the changes.
#[derive(Debug, Clone, Copy)]
struct Place {
    cursor: Cursor,
    version: u64,
}

impl Place {
    async fn now(app: &App) -> Result<Self, IndexError> {
        // Before the cursor: what comes meanwhile is told twice, and not never.
        let version = *app.index.changes().borrow();
        Ok(Self { cursor: app.index.checkpoint().await?, version })
    }

    /// Nothing has happened in between. The first number of a cursor is that of the index.
    fn is_the_same_as(&self, other: &Self) -> bool {
        let index = |place: &Self| place.cursor.to_string().split('-').next().map(str::to_owned);
        self.version == other.version && index(self) == index(other)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.cursor, self.version)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (cursor, version) = text.split_once('_').ok_or(())?;
        Ok(Self { cursor: cursor.parse().map_err(|_| ())?, version: version.parse().map_err(|_| ())? })
    }
}

/// Where the index stands now. A page asks for it before all else, and gives it to its stream as `since`: so it misses nothing.
pub(crate) async fn place(app: &App) -> Result<String, IndexError> {
    Ok(Place::now(app).await?.to_string())
}

/// What a page wants to be told.
struct Changes {
    app: Arc<App>,
    query: Query,
    after: Cursor,
    /// Something has happened that the page does not know: the first event is due.
    is_behind: bool,
    changes: watch::Receiver<u64>,
    ready: VecDeque<Event>,
}

/// Tells of changes of the index, until the page is left:
///
/// | event | data | when |
/// |---|---|---|
/// | `mail` | `{"new": 2, "from": "…", "subject": "…"}`, of the newest | messages have come that match |
/// | `changed` | `{}` | anything has changed, new messages included |
///
/// `since` is the [`place`] of the page, or the id of the last event that it has seen; a browser's `Last-Event-ID` counts for
/// more. What has happened since then is told at once.
pub(crate) async fn changes(
    app: Arc<App>,
    query: Query,
    headers: &HeaderMap,
    since: Option<&str>,
) -> Result<Response, Problem> {
    let last = event_stream::last_event_id(headers).or(since);
    let last: Option<Place> = last.and_then(|id| id.parse().ok());
    let changes = app.index.changes();
    let now = Place::now(&app).await?;
    let (after, is_behind) = last.map_or((now.cursor, false), |last| (last.cursor, !last.is_the_same_as(&now)));
    let feed = Changes { app, query, after, is_behind, changes, ready: VecDeque::new() };
    let events = stream::unfold(feed, async |mut feed| {
        let event = feed.next().await?;
        Some((Ok(event), feed))
    });
    Ok(event_stream::response(events))
}

impl Changes {
    /// The next event; `None` at a shutdown, or when the index fails.
    async fn next(&mut self) -> Option<Event> {
        if self.ready.is_empty() {
            self.wait().await?;
            self.look().await?;
        }
        self.ready.pop_front()
    }

    async fn wait(&mut self) -> Option<()> {
        if std::mem::take(&mut self.is_behind) {
            return Some(());
        }
        tokio::select! {
            changed = self.changes.changed() => changed.ok()?,
            () = self.app.shutdown.cancelled() => return None,
        }
        // More comes in a moment, mostly.
        self.app.clock.io.sleep(PAUSE).await;
        Some(())
    }

    async fn look(&mut self) -> Option<()> {
        self.changes.mark_unchanged();
        let now = Place::now(&self.app).await.ok()?;
        let page = SearchPage { since: Some(self.after), ..SearchPage::first(COUNTED) };
        let new = self.app.index.search(&self.query, page).await.ok()?.mail;
        let id = now.to_string();
        if let Some(newest) = new.first() {
            let from = newest.from.as_ref().map_or(newest.mail_from.as_str(), |from| {
                if from.name.is_empty() { &from.address } else { &from.name }
            });
            let told = json!({ "new": new.len(), "from": from, "subject": newest.subject });
            self.ready.push_back(Event::default().id(&id).event("mail").data(told.to_string()));
        }
        self.ready.push_back(Event::default().id(&id).event("changed").data("{}"));
        self.after = now.cursor;
        Some(())
    }
}
