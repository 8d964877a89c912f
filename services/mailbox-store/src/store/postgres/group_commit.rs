//! Group commit: one task submits, and commits everything that waits at once.
//!
//! A commit costs an fsync and a few round trips whether it holds one message or five hundred. While one group is
//! being committed the next one gathers, so nobody waits longer than for the group before.

use super::{
    database::Database,
    submit::{Incoming, submit},
};
use crate::store::{Result, StoreError, Submitted};
use futures_util::FutureExt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// How many submissions may wait. Each holds a body of at most 256 KiB.
const WAITING: usize = 1024;
/// How many are committed together at most: the first should not wait for an endless group.
const GROUP: usize = 512;
/// How many octets are.
const GROUP_OCTETS: u64 = 8 * 1024 * 1024;

/// Hands submissions to the task that commits them.
pub(super) struct GroupCommit {
    database: Arc<Database>,
    running: Mutex<Option<Running>>,
}

struct Running {
    jobs: mpsc::Sender<Job>,
    task: JoinHandle<()>,
}

struct Job {
    incoming: Incoming,
    answer: oneshot::Sender<Result<Submitted>>,
}

impl GroupCommit {
    /// Starts the task.
    pub(super) fn start(database: Arc<Database>) -> Self {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let task = tokio::spawn(run(Arc::clone(&database), waiting));
        Self { database, running: Mutex::new(Some(Running { jobs, task })) }
    }

    /// Returns once the message is durable. It is stored (or refused) also when the caller does not wait for it.
    pub(super) async fn submit(&self, incoming: Incoming) -> Result<Submitted> {
        let (answer, answered) = oneshot::channel();
        self.send(Job { incoming, answer })?;
        answered.await.unwrap_or_else(|_| Err(StoreError::Internal("submitting panicked".to_owned())))
    }

    fn send(&self, job: Job) -> Result<()> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = &*running else {
            return Err(StoreError::Unavailable("the store is closed".to_owned()));
        };
        let waiting_writes = &self.database.metrics().waiting_writes;
        waiting_writes.inc();
        running.jobs.try_send(job).map_err(|error| {
            waiting_writes.dec();
            match error {
                mpsc::error::TrySendError::Full(_) => StoreError::Overloaded("to be written"),
                mpsc::error::TrySendError::Closed(_) => StoreError::Internal("the submitting task ended".to_owned()),
            }
        })
    }

    /// Commits what is waiting.
    pub(super) async fn close(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { jobs, task }) = running {
            drop(jobs);
            if let Err(error) = task.await {
                tracing::error!(%error, "the submitting task panicked");
            }
        }
    }
}

async fn run(database: Arc<Database>, mut waiting: mpsc::Receiver<Job>) {
    while let Some(first) = waiting.recv().await {
        let mut octets = first.incoming.body.octets();
        let mut group = vec![first];
        while group.len() < GROUP
            && octets < GROUP_OCTETS
            && let Ok(job) = waiting.try_recv()
        {
            octets += job.incoming.body.octets();
            group.push(job);
        }
        database.metrics().waiting_writes.dec_by(group.len() as i64);
        database.metrics().group_changes.observe(group.len() as f64);
        // A task of its own: a bug in one group must not end what all others need.
        if let Err(error) = tokio::spawn(commit(Arc::clone(&database), group)).await {
            tracing::error!(%error, "submitting panicked");
        }
    }
}

async fn commit(database: Arc<Database>, group: Vec<Job>) {
    let (incoming, answers): (Vec<_>, Vec<_>) = group.into_iter().map(|job| (job.incoming, job.answer)).unzip();
    match submit_all(&database, &incoming).await {
        Err(StoreError::Internal(_) | StoreError::Invalid(_)) if incoming.len() > 1 => {
            // One of them is to blame.
            for (incoming, answer) in incoming.chunks(1).zip(answers) {
                let outcome = submit_all(&database, incoming).await;
                // Nobody may be waiting any more.
                let _ = answer.send(outcome.map(|submitted| submitted[0]));
            }
        }
        outcome => {
            for (n, answer) in answers.into_iter().enumerate() {
                let _ = answer.send(outcome.as_ref().map(|submitted| submitted[n]).map_err(StoreError::clone));
            }
        }
    }
}

/// Commits these together; returns in their order.
pub(super) async fn submit_all(database: &Database, incoming: &[Incoming]) -> Result<Vec<Submitted>> {
    let started = database.io().instant();
    let submitted = database.write(incoming, |tx, incoming| submit(tx, incoming).boxed()).await?;
    database.metrics().commit_seconds.observe(database.io().since(started).as_secs_f64());
    Ok(submitted)
}
