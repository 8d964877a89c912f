//! Getting at what was stored, and what to do when it is not what it was.

use super::{
    SqliteStore,
    messages::{self, Content, Location},
    quarantine,
    values::{self, Decoded, Undecodable, partition},
};
use crate::store::{Result, StoreError, StoredMessage};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio_util::io::ReaderStream;

/// A large message leaves in pieces of this size.
const CHUNK_OCTETS: usize = 64 * 1024;

impl SqliteStore {
    /// The record, or else [`StoreError::Damaged`] after it was set aside.
    pub(super) async fn decoded<T>(&self, found: Decoded<T>) -> Result<T> {
        match found {
            Ok(record) => Ok(record),
            Err(undecodable) => Err(self.set_aside(undecodable).await),
        }
    }

    /// The records that could be decoded. The others are set aside.
    pub(super) async fn good_ones<T>(&self, records: Vec<Decoded<T>>) -> Vec<T> {
        let (good, bad) = partition(records);
        for undecodable in bad {
            self.set_aside(undecodable).await;
        }
        good
    }

    async fn set_aside(&self, Undecodable { message, reason }: Undecodable) -> StoreError {
        let damaged = StoreError::Damaged(values::id(message));
        match self.writer.write(move |unit| quarantine::message(unit, message, &reason)).await {
            Ok(()) => damaged,
            Err(error) => error,
        }
    }

    /// The octets at this location.
    pub(super) async fn stream(&self, location: Location) -> Result<StoredMessage> {
        let Location { message, octets, prefix, content } = location;
        let prefix = Bytes::from(prefix);
        let total_octets = prefix.len() as u64 + octets;
        let chunks = match content {
            Content::Database(body) if body.len() as u64 == octets => {
                stream::iter([Ok(prefix), Ok(Bytes::from(body))]).boxed()
            }
            Content::File(name) => match self.bodies.open(&name, octets).await? {
                Some(file) => {
                    let chunks = ReaderStream::with_capacity(file, CHUNK_OCTETS)
                        .map(|chunk| chunk.map_err(|error| StoreError::Unavailable(error.to_string())));
                    stream::once(async { Ok(prefix) }).chain(chunks).boxed()
                }
                None => return Err(self.missing(message, name).await),
            },
            Content::Database(_) => return Err(self.damaged(message, "its body has another length").await),
            Content::Nowhere => return Err(self.damaged(message, "it has no body").await),
        };
        Ok(StoredMessage { octets: total_octets, chunks })
    }

    /// A body may have gone because its message was deleted a moment ago; that is no damage.
    async fn missing(&self, message: i64, name: String) -> StoreError {
        match self.readers.read(move |connection| messages::location(connection, values::id(message))).await {
            Err(error) => error,
            Ok(_) => self.damaged(message, &format!("its body {name} is missing or has another length")).await,
        }
    }

    async fn damaged(&self, message: i64, reason: &str) -> StoreError {
        self.set_aside(Undecodable { message, reason: reason.to_owned() }).await
    }
}
