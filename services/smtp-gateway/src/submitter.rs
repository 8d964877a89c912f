//! Messages that are all in memory, on their way to the store.

use crate::{batcher::Batcher, policy::unavailable};
use bytes::Bytes;
use mail_api::{Accepted, ApiError, BatchOutcome, ProblemKind, StoreClient, Submission};
use mail_proto::smtp::Reply;
use std::time::{Duration, Instant};

/// How long to wait before each repeat of a batch that got no answer: a store that was killed is back within
/// a second or so.
const REPEAT_PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(1000)];

/// A store that took longer than this to fail is not repeated to: the client waits.
const REPEAT_WITHIN: Duration = Duration::from_secs(20);

/// A message with more recipients travels by itself: 64 with as many fit into one request.
const BATCHED_RECIPIENTS: usize = 1000;

/// Submits messages. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Submitter {
    store: StoreClient,
    batcher: Batcher<(Submission, Bytes), Result<Accepted, Reply>>,
}

impl Submitter {
    pub(crate) fn new(store: StoreClient) -> Self {
        let batched = store.clone();
        let batcher = Batcher::start(move |messages: Vec<_>| {
            let store = batched.clone();
            async move { submit(&store, &messages).await }
        });
        Self { store, batcher }
    }

    /// Answers once the message is durable, or with the reply that says why it is not.
    pub(crate) async fn submit(&self, submission: Submission, message: Bytes) -> Result<Accepted, Reply> {
        let answer = match submission.recipients.len() > BATCHED_RECIPIENTS {
            true => submit(&self.store, &[(submission, message)]).await.pop(),
            false => self.batcher.request((submission, message)).await,
        };
        answer.unwrap_or_else(|| Err(Reply::new(451, (3, 0), "the mailbox store did not answer for this message")))
    }
}

async fn submit(store: &StoreClient, messages: &[(Submission, Bytes)]) -> Vec<Result<Accepted, Reply>> {
    let batch = || messages.iter().map(|(submission, message)| (submission, message));
    let started = Instant::now();
    let mut answer = store.submit_batch(batch()).await;
    for pause in REPEAT_PAUSES {
        if !matches!(answer, Err(ApiError::Unavailable(_))) || started.elapsed() > REPEAT_WITHIN {
            break;
        }
        // A connection that breaks leaves it unknown what was committed. The same transactions again find
        // out, or commit it: the client is spared a 451 after which it would send a duplicate.
        tokio::time::sleep(pause).await;
        answer = store.submit_batch(batch()).await;
    }
    match answer {
        Ok(outcomes) => outcomes.into_iter().map(outcome).collect(),
        Err(error) => {
            let reply = refusal(&error);
            messages.iter().map(|_| Err(reply.clone())).collect()
        }
    }
}

fn outcome(outcome: BatchOutcome) -> Result<Accepted, Reply> {
    match outcome {
        BatchOutcome::Accepted(accepted) => Ok(accepted),
        BatchOutcome::Refused(problem) => Err(refusal(&problem.into())),
    }
}

/// The reply after the final dot when the store did not take the message.
pub(crate) fn refusal(error: &ApiError) -> Reply {
    match error.kind() {
        Some(ProblemKind::BareLineEnding) => bare_line_ending(),
        Some(ProblemKind::MessageTooLarge) => Reply::new(552, (3, 4), "message too large"),
        Some(ProblemKind::Overloaded) => Reply::new(451, (3, 1), "this server is busy, try again later"),
        Some(ProblemKind::StorageUnavailable) => Reply::new(452, (3, 1), "insufficient storage, try again later"),
        _ => unavailable(error),
    }
}

/// The reply to a message that could be read as two (RFC 5321 §2.3.8).
pub(crate) fn bare_line_ending() -> Reply {
    Reply::new(554, (6, 0), "the message has a CR or LF outside a CRLF")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_api::Problem;

    #[test]
    fn every_failure_of_the_storage_is_temporary_and_the_message_s_own_fault_is_not() {
        let table = [
            (ProblemKind::StorageUnavailable, "452 4.3.1 insufficient storage, try again later"),
            (ProblemKind::Overloaded, "451 4.3.1 this server is busy, try again later"),
            (ProblemKind::Internal, "451 4.3.0 a part of this server is unavailable, try again later"),
            (ProblemKind::Unauthorized, "451 4.3.0 a part of this server is unavailable, try again later"),
            (ProblemKind::BareLineEnding, "554 5.6.0 the message has a CR or LF outside a CRLF"),
            (ProblemKind::MessageTooLarge, "552 5.3.4 message too large"),
        ];
        for (kind, reply) in table {
            assert_eq!(refusal(&Problem::from(kind).into()).on_one_line(), reply);
        }
    }
}
