//! Sessions as a stream of server-sent events.

use super::{
    App,
    stream::{self, Event, Source},
};
use crate::{
    happenings::{Item, Place},
    index::{IndexError, SessionFilter},
};
use axum::response::{Response, sse};
use internal_api::{Problem, RecordedSession, SessionId};
use std::{collections::BTreeSet, sync::Arc};

/// How much is looked at in one step.
const STEP: usize = 500;

/// Streams each session that begins or ends after `after`, and matches then; without `after`, after this call.
pub(super) fn sessions(app: Arc<App>, filter: SessionFilter, after: Option<Place>) -> Result<Response, Problem> {
    let (changes, end) = (app.index.happenings().changes(), app.index.happenings().end());
    stream::of(app, News { filter, after: after.unwrap_or(end) }, changes)
}

/// Sessions that begin or end.
struct News {
    filter: SessionFilter,
    after: Place,
}

impl Source for News {
    async fn read(&mut self, app: &App) -> Result<Option<Vec<Event>>, IndexError> {
        let slice = app.index.happenings().after(self.after, STEP);
        self.after = slice.next;
        let of_session = |wanted: fn(&Item) -> bool| {
            let items = slice.items.iter().map(|(_, item)| item).filter(move |item| wanted(item));
            items.filter_map(Item::session).collect::<BTreeSet<SessionId>>()
        };
        let (ids, ended) = (of_session(Item::is_end_of_session), of_session(Item::ends_session));
        let mut sessions = match ids.is_empty() {
            true => Vec::new(),
            false => app.index.sessions_among(self.filter.clone(), &Vec::from_iter(ids)).await?,
        };
        // The end of the others is told when it comes.
        sessions.retain(|session| session.closed_at.is_none() || ended.contains(&session.id));
        // The oldest first. One that has begun and ended meanwhile is told once.
        let events = sessions.iter().rev().map(|session| event(self.after, session)).collect();
        Ok((!slice.items.is_empty()).then_some(events))
    }
}

fn event(place: Place, session: &RecordedSession) -> Event {
    let name = if session.closed_at.is_some() { "closed" } else { "opened" };
    sse::Event::default().id(place.to_string()).event(name).json_data(session)
}
