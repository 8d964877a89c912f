//! Messages, fetched from their store and taken apart.

use crate::message::Content;
use internal_api::{ApiError, MessageId, ProblemKind, StoreClient};
use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};
use tokio::sync::Semaphore;

/// How many octets of messages are in memory at once, in KiB.
const ROOM_KIB: u32 = 64 * 1024;
/// The longest message that is fetched whole, in octets. Of a longer one, the beginning is.
const WHOLE_OCTETS: usize = 32 * 1024 * 1024;
/// A message of more octets than these is taken apart on a thread of its own.
const SHORT_OCTETS: usize = 128 * 1024;

/// Fetches messages, as many at once as there is memory for.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    store: StoreClient,
    room: Arc<Semaphore>,
}

impl Fetcher {
    pub(super) fn new(store: StoreClient) -> Self {
        Self { store, room: Arc::new(Semaphore::new(ROOM_KIB as usize)) }
    }

    /// What is in a message; `None` when the store does not have it any more, or cannot read it.
    ///
    /// # Errors
    /// When the store gives no usable answer.
    pub(super) async fn content(&self, id: MessageId, octets: u64) -> Result<Option<Content>, ApiError> {
        let expected = usize::try_from(octets).unwrap_or(usize::MAX).min(WHOLE_OCTETS);
        let kib = u32::try_from(expected / 1024 + 1).unwrap_or(ROOM_KIB).min(ROOM_KIB);
        // It is never closed.
        let _room = self.room.acquire_many(kib).await;
        let raw = match raw(&self.store, id, WHOLE_OCTETS).await {
            Ok(raw) => raw,
            Err(error) if matches!(error.kind(), Some(ProblemKind::MessageUnknown | ProblemKind::MessageDamaged)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if raw.len() <= SHORT_OCTETS {
            return Ok(if_no_panic(|| Content::of(&raw)));
        }
        Ok(tokio::task::spawn_blocking(move || Content::of(&raw)).await.ok())
    }
}

/// What `work` returns; `None` when it panics, which is a bug. A message that cannot be taken apart keeps no other from being
/// shown.
fn if_no_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    // What it had begun is dropped.
    panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

/// The beginning of a message, as it was received.
///
/// # Errors
/// As [`StoreClient::message`].
pub(crate) async fn raw(store: &StoreClient, id: MessageId, most: usize) -> Result<Vec<u8>, ApiError> {
    let (mut message, mut octets) = (store.message(id).await?, Vec::new());
    while let Some(chunk) = message.chunk().await? {
        octets.extend_from_slice(&chunk);
        if octets.len() >= most {
            octets.truncate(most);
            break;
        }
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_one_content() {
        assert_eq!(if_no_panic(|| 1), Some(1));
        assert_eq!(if_no_panic(|| -> u8 { panic!("on purpose") }), None);
    }
}
