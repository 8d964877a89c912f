//! Getting at what was stored, and what to do when it is not what it was.

use super::{
    SqliteStore,
    messages::{self, Content, Location},
    quarantine,
    values::{self, Decoded, Undecodable, partition},
    writer::Writer,
};
use crate::store::{Result, StoreError, StoredMessage, checksum::verified};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::sync::Arc;
use tokio_util::io::ReaderStream;

/// A large message leaves in pieces of this size.
const CHUNK_OCTETS: usize = 64 * 1024;

impl SqliteStore {
    /// The record, or else [`StoreError::Damaged`] after it was quarantined.
    pub(super) async fn decoded<T>(&self, found: Decoded<T>) -> Result<T> {
        match found {
            Ok(record) => Ok(record),
            Err(Undecodable { message, reason }) => Err(quarantine_record(&self.writer, message, reason).await),
        }
    }

    /// The records that could be decoded. The others are quarantined.
    pub(super) async fn good_ones<T>(&self, records: Vec<Decoded<T>>) -> Vec<T> {
        let (good, bad) = partition(records);
        for Undecodable { message, reason } in bad {
            quarantine_record(&self.writer, message, reason).await;
        }
        good
    }

    /// The octets at this location.
    pub(super) async fn stream(&self, location: Location) -> Result<StoredMessage> {
        let Location { message, expected, prefix, content } = location;
        let prefix = Bytes::from(prefix);
        let octets = prefix.len() as u64 + expected.octets;
        let chunks = match content {
            Content::Database(body) => match expected.find_fault(&body) {
                None => stream::iter([Ok(prefix), Ok(Bytes::from(body))]).boxed(),
                Some(fault) => return Err(self.damaged(message, fault).await),
            },
            Content::File(name) => match self.bodies.open(&name, expected.octets).await? {
                Some(file) => {
                    let chunks = ReaderStream::with_capacity(file, CHUNK_OCTETS)
                        .map(|chunk| chunk.map_err(|error| StoreError::Unavailable(error.to_string())));
                    let writer = Arc::clone(&self.writer);
                    let damaged =
                        async move |fault: &'static str| quarantine_record(&writer, message, fault.to_owned()).await;
                    stream::once(async { Ok(prefix) }).chain(verified(chunks, expected, damaged)).boxed()
                }
                None => return Err(self.missing(message, name).await),
            },
            Content::Nowhere => return Err(self.damaged(message, "it has no body").await),
        };
        Ok(StoredMessage { octets, chunks })
    }

    /// A body may have gone because its message was deleted a moment ago, or the store was restored and the body has
    /// another file; that is no damage.
    async fn missing(&self, message: i64, name: String) -> StoreError {
        let location = self.readers.read(move |connection| messages::location(connection, values::id(message)));
        match location.await {
            Err(error) => error,
            Ok(Ok(Location { content: Content::File(now), .. })) if now != name => {
                StoreError::Unavailable("the store was restored meanwhile".to_owned())
            }
            Ok(_) => self.damaged(message, &format!("its body {name} is missing or has another length")).await,
        }
    }

    async fn damaged(&self, message: i64, reason: &str) -> StoreError {
        quarantine_record(&self.writer, message, reason.to_owned()).await
    }
}

async fn quarantine_record(writer: &Arc<Writer>, message: i64, reason: String) -> StoreError {
    match writer.write(move |tx| quarantine::message(tx, message, &reason)).await {
        Ok(()) => StoreError::Damaged(values::id(message)),
        Err(error) => error,
    }
}
