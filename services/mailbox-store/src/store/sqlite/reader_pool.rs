//! Reading while the writer writes: a few read-only connections, used off the async threads.

use super::database;
use crate::store::{Result, StoreError};
use rusqlite::Connection;
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many read at once; more would only contend for the same disk.
const READERS: usize = 8;

/// Lends connections to those who read.
pub(super) struct ReaderPool {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    /// There is no writer yet: there can be one connection only.
    is_lone: AtomicBool,
}

impl ReaderPool {
    /// Readers of the database at `path`. Connections are opened when they are needed.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(READERS)),
            is_lone: AtomicBool::new(false),
        }
    }

    /// One reader with this connection, until [`ReaderPool::join_writer`].
    pub(super) fn lone(path: PathBuf, connection: Connection) -> Self {
        let (idle, permits) = (Mutex::new(vec![connection]), Arc::new(Semaphore::new(1)));
        Self { path, idle, permits, is_lone: AtomicBool::new(true) }
    }

    /// Waits until the lone reader rests. Nobody reads until the permit is dropped.
    pub(super) async fn pause(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.map_err(|_| closed())
    }

    /// Closes the connection of the lone reader, who is paused. The next read opens it again.
    pub(super) fn disconnect(&self) {
        self.idle().clear();
    }

    /// From now on there is a writer, and there are as many readers as usual.
    pub(super) fn join_writer(&self) {
        self.is_lone.store(false, Ordering::Release);
        self.permits.add_permits(READERS - 1);
    }

    /// Runs `query` where it may block.
    pub(super) async fn read<T, F>(self: &Arc<Self>, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return Err(closed());
        };
        let readers = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            // Held until the query ends, also when its caller has gone before.
            let _permit = permit;
            let idle = readers.idle().pop();
            let connection = match idle {
                Some(connection) => connection,
                None if readers.is_lone.load(Ordering::Acquire) => database::lone_reader(&readers.path)?,
                None => database::reader(&readers.path)?,
            };
            let outcome = query(&connection);
            // One that failed is not used again: the next one may fare better. Other answers are no fault of its own.
            let has_failed = matches!(outcome, Err(StoreError::Unavailable(_) | StoreError::Internal(_)));
            if !has_failed && !readers.permits.is_closed() {
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

/// What all calls come to after the end.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
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
        let readers = Arc::new(ReaderPool::new(path));
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

    /// Only one that the storage has failed is not used again: to open another takes longer than a query.
    #[tokio::test]
    async fn a_connection_stays_after_an_answer_that_is_no_failure_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        drop(database::open(&path).unwrap());
        let readers = Arc::new(ReaderPool::new(path));
        let failure = "it has failed".to_owned();
        for (error, idle) in [
            (StoreError::MailboxUnknown, 1),
            (StoreError::MaildropInUse, 1),
            (StoreError::Unavailable(failure.clone()), 0),
            (StoreError::MessageUnknown, 1),
            (StoreError::Internal(failure), 0),
        ] {
            let answer = error.clone();
            assert_eq!(readers.read(move |_| Err::<(), _>(answer)).await, Err(error.clone()));
            assert_eq!(readers.idle().len(), idle, "{error:?}");
        }
    }
}
