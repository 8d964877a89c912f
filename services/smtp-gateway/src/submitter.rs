//! Small messages on their way to the store, several in one round trip when several are waiting.
//!
//! The store commits everything that waits at once; this does the same for the way there. A message that
//! comes alone is sent at once. While [`BATCHES`] are under way the next one gathers.

use crate::policy::unavailable;
use bytes::Bytes;
use mail_api::{Accepted, ApiError, BatchOutcome, Problem, ProblemKind, StoreClient, Submission};
use mail_proto::smtp::Reply;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// How many batches are under way at most.
const BATCHES: usize = 2;
/// How many messages a batch has at most. Each is at most as long as `body` keeps in memory.
const BATCH_MESSAGES: usize = 64;

/// Hands messages to the store. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Submitter {
    waiting: mpsc::Sender<Pending>,
}

/// A message whose client waits for the answer.
#[derive(Debug)]
struct Pending {
    submission: Submission,
    message: Bytes,
    answer: oneshot::Sender<Result<Accepted, Reply>>,
}

impl Submitter {
    /// Starts sending; ends when the last clone is dropped.
    pub(crate) fn start(store: StoreClient) -> Self {
        let (sender, receiver) = mpsc::channel(BATCH_MESSAGES);
        tokio::spawn(gather(store, receiver));
        Self { waiting: sender }
    }

    /// Answers once the message is durable, or with the reply that says why it is not.
    pub(crate) async fn submit(&self, submission: Submission, message: Bytes) -> Result<Accepted, Reply> {
        let (answer, answered) = oneshot::channel();
        let sent = self.waiting.send(Pending { submission, message, answer }).await;
        match (sent, answered.await) {
            (Ok(()), Ok(outcome)) => outcome,
            _ => Err(Reply::new(451, (3, 0), "this server is shutting down, try again later")),
        }
    }
}

async fn gather(store: StoreClient, mut waiting: mpsc::Receiver<Pending>) {
    let free = Arc::new(Semaphore::new(BATCHES));
    while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
        let mut batch = Vec::new();
        if waiting.recv_many(&mut batch, BATCH_MESSAGES).await == 0 {
            return;
        }
        tokio::spawn(send(store.clone(), batch, permit));
    }
}

async fn send(store: StoreClient, batch: Vec<Pending>, _under_way: OwnedSemaphorePermit) {
    let messages = || batch.iter().map(|pending| (&pending.submission, &pending.message));
    let outcome = match store.submit_batch(messages()).await {
        // A connection that breaks leaves it unknown what was committed. The same transactions again find
        // out, or commit it.
        Err(ApiError::Unavailable(_)) => store.submit_batch(messages()).await,
        outcome => outcome,
    };
    match outcome {
        Ok(outcomes) if outcomes.len() == batch.len() => {
            for (pending, outcome) in batch.into_iter().zip(outcomes) {
                let _ = pending.answer.send(match outcome {
                    BatchOutcome::Accepted(accepted) => Ok(accepted),
                    BatchOutcome::Refused(problem) => Err(refusal(&problem.into())),
                });
            }
        }
        Ok(_) => {
            let problem = Problem::new(ProblemKind::Internal, "the store answered for another number of messages");
            refuse(batch, &problem.into());
        }
        Err(error) => refuse(batch, &error),
    }
}

fn refuse(batch: Vec<Pending>, error: &ApiError) {
    let reply = refusal(error);
    for pending in batch {
        let _ = pending.answer.send(Err(reply.clone()));
    }
}

/// The reply after the final dot when the store did not take the message.
pub(crate) fn refusal(error: &ApiError) -> Reply {
    match error.kind() {
        Some(ProblemKind::BareLineEnding) => Reply::new(554, (6, 0), "the message has a CR or LF outside a CRLF"),
        Some(ProblemKind::MessageTooLarge) => Reply::new(552, (3, 4), "message too large"),
        Some(ProblemKind::Overloaded) => Reply::new(451, (3, 1), "this server is busy, try again later"),
        Some(ProblemKind::StorageUnavailable) => Reply::new(452, (3, 1), "insufficient storage, try again later"),
        _ => unavailable(error),
    }
}
