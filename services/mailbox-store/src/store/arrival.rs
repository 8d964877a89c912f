//! Messages in memory while they arrive.

use super::{MessageStream, Result};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// How much of a body is written to a file at a time.
pub(super) const WRITE_OCTETS: usize = 64 * 1024;
/// The memory for all messages that are arriving, in portions.
const PORTIONS: usize = 2048;
/// One portion.
const PORTION_OCTETS: usize = 16 * 1024;

/// The memory that all messages share while they arrive: 32 MiB. A message that finds no room in it goes on in a file, so a
/// thousand clients that stop in the middle of theirs take no more.
#[derive(Clone)]
pub(super) struct ArrivalMemory(Arc<Semaphore>);

/// A message that has arrived whole, or the beginning of one that does not stay in memory.
pub(super) enum Arrived {
    Whole(Bytes),
    Beginning(Beginning),
}

/// What has arrived of a message so far.
pub(super) struct Beginning {
    held: BytesMut,
    chunk: Bytes,
}

impl Beginning {
    /// The octets, in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        [&self.held[..], &self.chunk[..]].into_iter().flat_map(|part| part.chunks(WRITE_OCTETS))
    }
}

impl Default for ArrivalMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PORTIONS)))
    }
}

impl ArrivalMemory {
    /// Reads a message into memory, as long as it has at most `most_octets` and there is room.
    ///
    /// # Errors
    /// Those of [`MessageStream::next`].
    pub(super) async fn hold(&self, message: &mut MessageStream, most_octets: usize) -> Result<Arrived> {
        let (mut held, mut room, mut permits) = (BytesMut::new(), 0, Vec::new());
        while let Some(chunk) = message.next().await? {
            let octets = held.len() + chunk.len();
            while room < octets
                && let Ok(permit) = self.0.try_acquire()
            {
                permits.push(permit);
                room += PORTION_OCTETS;
            }
            if octets > most_octets || room < octets {
                return Ok(Arrived::Beginning(Beginning { held, chunk }));
            }
            held.extend_from_slice(&chunk);
        }
        Ok(Arrived::Whole(held.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt, stream};

    fn message(chunks: usize) -> MessageStream {
        let chunk = Bytes::from(vec![b'x'; 10_000]);
        MessageStream::new(stream::iter(vec![Ok::<_, String>(chunk); chunks]), u64::MAX)
    }

    async fn held(memory: &ArrivalMemory, chunks: usize) -> Option<usize> {
        match memory.hold(&mut message(chunks), 100_000).await.unwrap() {
            Arrived::Whole(body) => Some(body.len()),
            Arrived::Beginning(beginning) => {
                assert!(beginning.parts().all(|part| part.len() <= WRITE_OCTETS));
                None
            }
        }
    }

    #[tokio::test]
    async fn a_message_stays_in_memory_up_to_its_limit() {
        let memory = ArrivalMemory::default();
        assert_eq!(held(&memory, 0).await, Some(0));
        assert_eq!(held(&memory, 10).await, Some(100_000));
        assert_eq!(held(&memory, 11).await, None);
        assert_eq!(memory.0.available_permits(), PORTIONS);
    }

    /// However many messages stop in the middle, the memory for them is bounded, and the next ones arrive.
    #[tokio::test]
    async fn messages_that_stop_in_the_middle_leave_room_for_others() {
        let memory = ArrivalMemory::default();
        let mut stopped = Vec::new();
        for _ in 0..1000 {
            let chunk = Bytes::from(vec![b'x'; 90_000]);
            let source = stream::iter([Ok::<_, String>(chunk)]).chain(stream::pending());
            let (memory, mut message) = (memory.clone(), MessageStream::new(source, u64::MAX));
            let mut holding = Box::pin(async move { memory.hold(&mut message, 100_000).await });
            let polled = futures_util::poll!(&mut holding);
            stopped.push((polled.is_pending(), holding));
        }
        let in_memory = stopped.iter().filter(|(pending, _)| *pending).count();
        assert_eq!(in_memory, PORTIONS / 90_000_usize.div_ceil(PORTION_OCTETS));
        assert_eq!(held(&memory, 10).await, None, "it goes on in a file");
        drop(stopped);
        assert_eq!(held(&memory, 10).await, Some(100_000));
    }
}
