//! Messages that are fetched before the client asks for them: whoever reads one after the other waits for the store once
//! in many messages.

use crate::lease::Lease;
use bytes::Bytes;
use internal_api::{ApiError, DELIVERED_AT_ONCE, MaildropEntry, MessageId};
use mail_net::IoClock;
use mail_proto::pop3::{Listed, Session};
use std::{collections::VecDeque, convert::Infallible, future, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// How much a session has in memory at most.
const SESSION_OCTETS: u64 = 64 * 1024;
/// How many sessions have messages in memory at once: 16 MiB in all. The others fetch one message at a time.
const SESSIONS: usize = 256;
/// How long they stay there after the client has taken the last one by RETR.
const IDLE: Duration = Duration::from_secs(5);

/// The sessions that may read ahead.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SESSIONS)))
    }
}

/// The messages that a session has fetched and not sent yet.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    room: Room,
    fetched: VecDeque<(MessageId, Bytes)>,
    /// Held while there are any.
    permit: Option<OwnedSemaphorePermit>,
    /// When they are dropped, unless one is taken before.
    until: Instant,
    io: IoClock,
}

impl ReadAhead {
    pub(crate) fn new(room: Room, io: IoClock) -> Self {
        Self { room, fetched: VecDeque::new(), permit: None, until: io.instant(), io }
    }

    /// Drops what is here once the client has taken none of it for [`IDLE`]: other sessions need the room. Never returns;
    /// for as long as the client is waited for.
    pub(crate) async fn drop_when_idle(&mut self) -> Infallible {
        if self.permit.is_some() {
            // Boxed: most connections that wait for a command have nothing here.
            Box::pin(self.io.sleep_until(self.until)).await;
            self.clear();
        }
        future::pending().await
    }

    fn clear(&mut self) {
        (self.fetched, self.permit) = (VecDeque::new(), None);
    }

    /// This message, if it is here; what comes before it is dropped.
    pub(crate) fn take(&mut self, id: MessageId) -> Option<Bytes> {
        let position = self.fetched.iter().position(|(fetched, _)| *fetched == id)?;
        let (_, octets) = self.fetched.drain(..=position).next_back()?;
        if self.fetched.is_empty() {
            self.permit = None;
            // The others of its answer do not stay in memory until it is sent.
            return Some(Bytes::copy_from_slice(&octets));
        }
        self.until = self.io.instant() + IDLE;
        Some(octets)
    }

    /// This message, if it is here. It stays, but no longer for that.
    pub(crate) fn see(&self, id: MessageId) -> Option<Bytes> {
        self.fetched.iter().find(|(fetched, _)| *fetched == id).map(|(_, octets)| octets.clone())
    }

    /// Fetches the message of this number and those after it, and returns the first. Returns `None` where that one is long,
    /// where too many others read ahead, and where the store has nothing to bring at once.
    ///
    /// # Errors
    /// [`ApiError`].
    pub(crate) async fn fetch(
        &mut self,
        lease: &Lease,
        session: &Session<MessageId>,
        number: u64,
    ) -> Result<Option<Bytes>, ApiError> {
        let following = session.following(number, SESSION_OCTETS, DELIVERED_AT_ONCE).into_iter();
        let listed: Vec<_> = following.map(|Listed { uid, octets, .. }| MaildropEntry { id: uid, octets }).collect();
        let (Some(first), true) = (listed.first().map(|entry| entry.id), listed.len() > 1) else { return Ok(None) };
        self.fetched.clear();
        self.permit = match self.permit.take() {
            Some(permit) => Some(permit),
            None => Arc::clone(&self.room.0).try_acquire_owned().ok(),
        };
        if self.permit.is_none() {
            return Ok(None);
        }
        let fetched = lease.messages(&listed).await;
        if let Ok(messages) = &fetched {
            self.fetched.extend(messages.iter().cloned());
        }
        let first = self.take(first);
        if first.is_none() {
            self.clear();
        }
        fetched.map(|_| first)
    }
}
