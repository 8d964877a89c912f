//! Follows the events of a store.

use super::{Backoff, FollowState, Follower, WAIT, fetch::Fetcher};
use crate::{
    index::{Arrival, Found, IndexError, StoreBatch},
    message::Content,
    services::Service,
};
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use internal_api::{ApiError, Event, EventKind, EventPosition, MessageId, StoreClient};
use std::panic::AssertUnwindSafe;
use tokio::sync::watch;

/// How many events are taken at once.
const PAGE: u32 = 200;
/// How many messages are fetched at once.
const FETCHED: usize = 8;

/// Why following pauses.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] ApiError),
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A bug.
    #[error("the console failed while it took in what the store tells; the log of the console says where")]
    Panicked,
}

/// The follower of one store.
struct StoreFollower {
    follower: Follower,
    service: Service,
    store: StoreClient,
    fetcher: Fetcher,
    after: EventPosition,
    /// Tells how far it has come.
    tell: watch::Sender<EventPosition>,
    /// All that had happened before the console began is in the index.
    caught_up: bool,
    /// Whether another store may stand there than before: one that was restored or moved.
    may_be_another: bool,
    /// The last event that told of a restore, which has been heeded.
    restored: EventPosition,
    /// Whether what is read was read before: the store has become what it was.
    reads_again: bool,
}

/// Follows a store for ever. `tell` gets the position of what is in the index.
pub(super) async fn follow(
    follower: Follower,
    service: Service,
    store: StoreClient,
    tell: watch::Sender<EventPosition>,
) {
    let (states, url) = (follower.states.clone(), service.url.clone());
    states.set(&service, &url, FollowState::Starting, None);
    let (io, fetcher) = (follower.io, Fetcher::new(store.clone()));
    let after = EventPosition::default();
    let mut following = StoreFollower {
        follower,
        service,
        store,
        fetcher,
        after,
        tell,
        caught_up: false,
        may_be_another: false,
        restored: EventPosition::default(),
        reads_again: false,
    };
    let mut backoff = Backoff::new();
    loop {
        match if_no_panic(following.step()).await {
            Ok(()) => {
                states.set(&following.service, &url, FollowState::Following, None);
                backoff.reset();
            }
            Err(failure) => {
                following.may_be_another = true;
                states.set(&following.service, &url, FollowState::Unreachable, Some(failure.to_string()));
                backoff.pause(io).await;
            }
        }
    }
}

/// What a step returns. A panic, which is a bug, is a failure as others are: it is shown, and the step is tried again.
async fn if_no_panic(step: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    AssertUnwindSafe(step).catch_unwind().await.unwrap_or(Err(Failure::Panicked))
}

impl StoreFollower {
    /// Takes in one page of events, or waits for one.
    async fn step(&mut self) -> Result<(), Failure> {
        if self.may_be_another {
            self.begin_anew_if_another().await?;
        }
        let wait = if self.caught_up { WAIT } else { std::time::Duration::ZERO };
        let page = self.store.events(self.after, PAGE, wait).await?;
        let is_last = page.events.len() < PAGE as usize;
        self.may_be_another = page.events.is_empty();
        let next = page.next_after.parse().unwrap_or(self.after);
        if let Some((restored, event)) = last_restore(&page.events).filter(|(restored, _)| *restored > self.restored) {
            // With nothing read before, nothing is to be forgotten.
            if self.after != EventPosition::default() {
                self.begin_anew().await?;
                (self.restored, self.reads_again) = (restored, true);
                self.follower.index.happenings().add_events(&self.service.stack, vec![event.clone()]);
                return Ok(());
            }
            self.restored = restored;
        }
        let arrivals = self.arrivals(page.events).await?;
        self.take_in(arrivals).await?;
        if !self.caught_up && is_last {
            self.add_older().await?;
            (self.caught_up, self.reads_again) = (true, false);
        }
        self.after = next;
        self.tell.send_replace(next);
        Ok(())
    }

    /// Puts what has happened into the index, and tells of it as far as it is news.
    async fn take_in(&self, arrivals: Vec<Arrival>) -> Result<(), Failure> {
        let (earlier, news): (Vec<_>, Vec<_>) = arrivals.into_iter().partition(|arrival| self.is_earlier(arrival));
        if !earlier.is_empty() {
            let batch = StoreBatch { stack: self.service.stack.clone(), arrivals: earlier };
            self.follower.index.apply_earlier(batch, !self.reads_again).await?;
        }
        if news.is_empty() {
            return Ok(());
        }
        let new = news.iter().filter(|arrival| arrival.is_new()).map(|arrival| arrival.event.message).collect();
        let batch = StoreBatch { stack: self.service.stack.clone(), arrivals: news };
        self.follower.index.apply(batch).await?;
        self.announce(new).await
    }

    /// Whether the store had recorded it before it was followed, or before it was restored.
    fn is_earlier(&self, arrival: &Arrival) -> bool {
        if self.caught_up {
            return false;
        }
        let position = arrival.event.cursor.parse::<EventPosition>();
        !(self.reads_again && position.is_ok_and(|position| position > self.restored))
    }

    /// A store whose last event is before those that were read has an earlier history: what the index has of the stack is not
    /// so any more.
    async fn begin_anew_if_another(&mut self) -> Result<(), Failure> {
        if self.store.last_event().await? < self.after {
            self.begin_anew().await?;
            (self.restored, self.reads_again) = (EventPosition::default(), false);
        }
        self.may_be_another = false;
        Ok(())
    }

    async fn begin_anew(&mut self) -> Result<(), Failure> {
        self.follower.index.forget_stack(&self.service.stack).await?;
        (self.after, self.caught_up) = (EventPosition::default(), false);
        self.tell.send_replace(self.after);
        Ok(())
    }

    /// The events with the messages that are new.
    async fn arrivals(&self, events: Vec<Event>) -> Result<Vec<Arrival>, ApiError> {
        let about_mail = events.into_iter().filter(|event| !matches!(event.kind, EventKind::Restored { .. }));
        let fetching = about_mail.map(async |event| {
            let content = match &event.kind {
                EventKind::Accepted { octets, .. } => self.fetcher.content(event.message, *octets).await?,
                _ => None,
            };
            Ok(Arrival { event, content })
        });
        stream::iter(fetching).buffered(FETCHED).try_collect().await
    }

    /// Adds the messages of which the store does not keep the events any more.
    async fn add_older(&self) -> Result<(), Failure> {
        let (mut after, index, stack) = (None, &self.follower.index, &self.service.stack);
        loop {
            let page = self.store.stored_messages(after).await?;
            let ids = page.messages.iter().map(|message| message.id).collect();
            let unknown = index.unknown(stack, ids).await?;
            let messages = page.messages.into_iter().filter(|message| unknown.contains(&message.id));
            let fetching = messages.map(async |message| {
                let content: Option<Content> = self.fetcher.content(message.id, message.octets).await?;
                Ok::<_, ApiError>(Found { message, content })
            });
            let found: Vec<_> = stream::iter(fetching).buffered(FETCHED).try_collect().await?;
            if !found.is_empty() {
                index.add_found(stack, found).await?;
            }
            after = page.next_after;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Tells of new messages, as far as somebody listens and keeps up.
    async fn announce(&self, new: Vec<MessageId>) -> Result<(), Failure> {
        let Some(announcements) = &self.follower.announcements else { return Ok(()) };
        for id in new {
            if let Some(mail) = self.follower.index.mail(id).await?
                && announcements.try_send(mail.summary).is_err()
            {
                facts::ConsoleAnnouncementDropped { message_id: id }.log();
            }
        }
        Ok(())
    }
}

/// The last event among these that tells of a restore, and its position.
fn last_restore(events: &[Event]) -> Option<(EventPosition, &Event)> {
    let restored = events.iter().rfind(|event| matches!(event.kind, EventKind::Restored { .. }))?;
    Some((restored.cursor.parse().ok()?, restored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{index::Index, services::ServiceKind};
    use axum::{Json, Router, routing::get};
    use internal_api::EventPage;
    use jiff::Timestamp;
    use mail_net::Clock;
    use service_kit::shutdown::CancellationToken;
    use tokio::net::TcpListener;
    use town_config::ConsoleBounds;

    #[tokio::test]
    async fn a_follower_survives_a_panic() {
        assert!(if_no_panic(async { Ok(()) }).await.is_ok());
        let failed = if_no_panic(async { panic!("on purpose") }).await;
        assert!(matches!(failed, Err(Failure::Panicked)), "{failed:?}");
    }

    /// A store that tells of a restore behind what was read.
    async fn restored_store() -> String {
        let position = EventPosition { transaction: 0, record: 5, place: 1 }.to_string();
        let kind = EventKind::Restored { snapshot: "s".to_owned() };
        let message = MessageId::from_number(0);
        let event = Event { cursor: position.clone(), at: Timestamp::UNIX_EPOCH, message, kind };
        let page = EventPage { events: vec![event], next_after: position };
        let routes = Router::new().route("/v1/events", get(async move || Json(page.clone())));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        url
    }

    #[tokio::test]
    async fn a_restore_is_heeded_although_the_index_could_not_forget_at_first() {
        let (url, clock) = (restored_store().await, Clock::system());
        let index = Index::open(ConsoleBounds::default(), &clock).unwrap();
        let follower = Follower {
            index: index.clone().stopped(),
            states: Default::default(),
            traces: Default::default(),
            token: None,
            io: clock.io,
            shutdown: CancellationToken::new(),
            announcements: None,
        };
        let store = StoreClient::new(follower.endpoint(&url).unwrap(), clock.io);
        let mut following = StoreFollower {
            follower,
            service: Service { stack: "a".to_owned(), kind: ServiceKind::Store, url },
            fetcher: Fetcher::new(store.clone()),
            store,
            after: EventPosition { transaction: 0, record: 3, place: 1 },
            tell: watch::Sender::new(EventPosition::default()),
            caught_up: true,
            may_be_another: false,
            restored: EventPosition::default(),
            reads_again: false,
        };
        following.step().await.unwrap_err();
        following.follower.index = index;
        following.step().await.unwrap();
        assert_eq!((following.after, following.reads_again), (EventPosition::default(), true));
    }
}
