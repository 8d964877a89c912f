//! The index: what the console knows of mail and sessions, in memory.
//!
//! It is derived from what the services tell, and bounded ([`ConsoleBounds`]): the oldest messages and sessions are dropped
//! first. A thread of its own has the database; calls are done one after the other.
//!
//! What pages and APIs use:
//!
//! | call | returns |
//! |---|---|
//! | [`Index::search`] | a page of messages, the newest first |
//! | [`Index::count`] | how many match, and how many of them are unread |
//! | [`Index::mail`], [`Index::latest`] | a message with all that is in it |
//! | [`Index::set_read`] | |
//! | [`Index::sessions`], [`Index::session`] | sessions and their records |
//! | [`Index::changes`] | wakes whenever something has changed |

mod apply;
mod journey;
mod mail;
mod mailboxes;
mod place;
mod prune;
mod schema;
mod sessions;
mod subjects;
mod trace;
mod traffic;

pub(crate) use apply::{Arrival, Found, StoreBatch};
pub(crate) use mail::{Place, SearchPage};
pub(crate) use mailboxes::MailboxCount;
pub(crate) use place::Cursor;
pub use sessions::Refusal;
pub(crate) use sessions::{OtherEnd, SessionFilter};
pub(crate) use traffic::Traffic;

use crate::happenings::Happenings;
use internal_api::TracedRecord;
use mail_net::{Clock, WallClock};
use rusqlite::Connection;
use std::{
    collections::HashMap,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use town_config::ConsoleBounds;
use trace::Dialogue;

/// How many pages of records wait for a reader who follows them.
const UNREAD: usize = 64;
/// How many calls may wait.
const WAITING: usize = 1024;

/// Why the index has no answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A bug, or no memory.
    #[error("the index of the console failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// What it holds cannot be read.
    #[error("the index of the console holds what cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The call has panicked or its thread has ended, which is a bug.
    #[error("the index of the console has failed at this call, which is a bug; the log of the console says where")]
    Stopped,
}

impl From<IndexError> for internal_api::Problem {
    fn from(error: IndexError) -> Self {
        tracing::error!(%error, "the index failed");
        Self::new(internal_api::ProblemKind::Internal, error.to_string())
    }
}

type Job = Box<dyn FnOnce(&mut Tables) + Send>;

/// A handle of the index. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    jobs: mpsc::Sender<Job>,
    changes: Arc<watch::Sender<u64>>,
    mail_changes: Arc<watch::Sender<u64>>,
    records: broadcast::Sender<Arc<[TracedRecord]>>,
    happenings: Happenings,
    /// Names this index among all that there were: it begins anew with each start.
    birth: u64,
    wall: WallClock,
}

/// What the thread has.
pub(crate) struct Tables {
    db: Connection,
    bounds: ConsoleBounds,
    birth: u64,
    /// The octets of all messages, and of all records.
    mail_octets: usize,
    mails: usize,
    record_octets: usize,
    session_count: usize,
    /// The sessions that are open.
    dialogues: HashMap<String, Dialogue>,
}

impl Index {
    /// An empty index.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn open(bounds: ConsoleBounds, clock: &Clock) -> Result<Self, IndexError> {
        let wall = clock.wall.clone();
        let birth = uuid::Uuid::new_v4().as_u64_pair().0;
        let mut tables = Tables {
            db: schema::open()?,
            bounds,
            birth,
            mail_octets: 0,
            mails: 0,
            record_octets: 0,
            session_count: 0,
            dialogues: HashMap::new(),
        };
        let (jobs, mut waiting) = mpsc::channel::<Job>(WAITING);
        let work = move || {
            while let Some(job) = waiting.blocking_recv() {
                // A call that panics, which is a bug, ends no other.
                if panic::catch_unwind(AssertUnwindSafe(|| job(&mut tables))).is_err() {
                    tables.recover();
                }
            }
        };
        thread::Builder::new().name("console-index".to_owned()).spawn(work).map_err(|_| IndexError::Stopped)?;
        let records = broadcast::Sender::new(UNREAD);
        Ok(Self {
            jobs,
            changes: Arc::new(watch::Sender::new(0)),
            mail_changes: Arc::new(watch::Sender::new(0)),
            records,
            happenings: Happenings::new(birth),
            birth,
            wall,
        })
    }

    /// One that has failed: each call of it does.
    #[cfg(test)]
    pub(crate) fn stopped(self) -> Self {
        Self { jobs: mpsc::channel(1).0, ..self }
    }

    /// Whether it takes calls.
    ///
    /// # Errors
    /// [`IndexError`].
    pub(crate) async fn ready(&self) -> Result<(), IndexError> {
        self.call(|_| Ok(())).await
    }

    /// Wakes whenever something has changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Wakes whenever something of mail has changed: not with each record of a session.
    pub(crate) fn mail_changes(&self) -> watch::Receiver<u64> {
        self.mail_changes.subscribe()
    }

    /// Something has changed that is not in the index, and that pages show.
    pub(crate) fn touch(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    /// What services see from now on. A reader that is slow misses some of it.
    pub(crate) fn records(&self) -> broadcast::Receiver<Arc<[TracedRecord]>> {
        self.records.subscribe()
    }

    /// What has happened lately.
    pub(crate) fn happenings(&self) -> &Happenings {
        &self.happenings
    }

    /// Does something with the tables.
    async fn call<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tables) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |tables| drop(answer.send(job(tables))));
        self.jobs.send(job).await.map_err(|_| IndexError::Stopped)?;
        answered.await.map_err(|_| IndexError::Stopped)?
    }

    /// As [`Index::change_of_sessions`], for mail.
    async fn change<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tables) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let changed = self.change_of_sessions(job).await;
        self.mail_changes.send_modify(|version| *version += 1);
        changed
    }

    /// As [`Index::call`], in one transaction. Who waits for changes is woken.
    async fn change_of_sessions<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Tables) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let changed = self
            .call(move |tables| {
                tables.db.execute_batch("BEGIN")?;
                let done = job(tables);
                if done.is_ok() {
                    tables.db.execute_batch("COMMIT")?;
                } else {
                    tables.recover();
                }
                done
            })
            .await;
        self.changes.send_modify(|version| *version += 1);
        changed
    }
}

#[cfg(test)]
mod tests;
