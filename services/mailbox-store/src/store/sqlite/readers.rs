//! Reading while the writer writes: a few read-only connections, used off the async threads.

use super::database;
use crate::store::{Result, StoreError};
use rusqlite::Connection;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::Semaphore;

/// How many read at once; more would only contend for the same disk.
const READERS: usize = 8;

/// Lends connections to those who read.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// Readers of the database at `path`. Connections are opened when they are needed.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), permits: Arc::new(Semaphore::new(READERS)) }
    }

    /// Runs `query` where it may block.
    pub(super) async fn read<T, F>(self: &Arc<Self>, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Err(StoreError::Unavailable("the store is closed".to_owned()));
        };
        let readers = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            // Held until the query ends, also when its caller has gone before.
            let _permit = permit;
            let idle = readers.idle().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => database::reader(&readers.path)?,
            };
            let outcome = query(&connection);
            // One that failed is not used again: the next one may fare better.
            if outcome.is_ok() && !readers.permits.is_closed() {
                readers.idle().push(connection);
            }
            outcome
        });
        reading.await.unwrap_or_else(|error| Err(StoreError::Internal(format!("a query panicked: {error}"))))
    }

    /// Ends reading and closes what is idle.
    pub(super) fn close(&self) {
        self.permits.close();
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;
    use std::sync::mpsc;

    /// A query whose caller has gone goes on, and counts as one of those that may run until it ends.
    #[tokio::test]
    async fn a_query_counts_until_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        drop(database::open(&path).unwrap());
        let readers = Arc::new(Readers::new(path));
        let (end, ended) = mpsc::channel::<()>();
        {
            let reading = readers.read(move |_| {
                let _ = ended.recv();
                Ok(())
            });
            tokio::pin!(reading);
            assert!(poll!(reading).is_pending());
        }
        assert_eq!(readers.permits.available_permits(), READERS - 1);
        end.send(()).unwrap();
        let all = readers.permits.acquire_many(READERS as u32).await;
        assert!(all.is_ok());
    }
}
