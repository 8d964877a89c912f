//! Messages that are all in memory, on their way to the store.

use crate::{batcher::Batcher, policy::unavailable};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use internal_api::{Accepted, ApiError, BatchOutcome, ConnectionId, ProblemKind, StoreClient, Submission};
use mail_net::IoClock;
use mail_proto::smtp::Reply;
use std::{sync::Arc, time::Duration};

/// How long a client waits for the answer to a message at most, counted from its final dot. What the store was given
/// until then may still be committed; the client is told to try again.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(55);

/// How long to wait before each repeat of a batch that got no answer: a store that was killed is back within
/// a second or so.
pub(crate) const REPEAT_PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(1000)];

/// A store that took longer than this to fail is not repeated to: the client waits.
const REPEAT_WITHIN: Duration = Duration::from_secs(20);

/// A message with more recipients travels by itself: 64 with as many fit into one request.
const BATCHED_RECIPIENTS: usize = 1000;

/// A submission, its octets, and the connection that it was received over.
type Message = (Submission, Bytes, Option<ConnectionId>);
/// What became of a message.
type Answer = Result<Accepted, Reply>;
/// Sends messages; returns what became of each, in their order.
type Send = Arc<dyn Fn(Vec<Message>) -> BoxFuture<'static, Vec<Answer>> + std::marker::Send + Sync>;

/// Submits messages. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Submitter {
    send: Send,
    batcher: Batcher<Message, Answer>,
    io: IoClock,
}

impl Submitter {
    pub(crate) fn new(store: StoreClient, io: IoClock) -> Self {
        let send = move |messages: Vec<_>| {
            let store = store.clone();
            async move { submit(&store, &messages, io).await }.boxed()
        };
        Self::sending(Arc::new(send), io)
    }

    fn sending(send: Send, io: IoClock) -> Self {
        let batched = Arc::clone(&send);
        Self { send, batcher: Batcher::start(move |messages| batched(messages)), io }
    }

    /// Returns once the message is durable, or with the reply that says why it is not; within [`ANSWER_WITHIN`].
    pub(crate) async fn submit(&self, submission: Submission, message: Bytes) -> Answer {
        let message = (submission, message, ConnectionId::current());
        let answer = async {
            match message.0.recipients.len() > BATCHED_RECIPIENTS {
                true => (self.send)(vec![message]).await.pop(),
                false => self.batcher.request(message).await,
            }
        };
        match self.io.timeout(ANSWER_WITHIN, answer).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(Reply::new(451, (3, 0), "the mailbox store did not answer for this message")),
            Err(_elapsed) => Err(out_of_time()),
        }
    }
}

async fn submit(store: &StoreClient, messages: &[Message], io: IoClock) -> Vec<Answer> {
    let batch = || messages.iter().map(|(submission, message, connection)| (submission, message, connection.as_ref()));
    let started = io.instant();
    // Nobody waits longer than this for a batch, so that its place is free again for others.
    let answer = io.timeout(ANSWER_WITHIN, async {
        let mut answer = store.submit_batch(batch()).await;
        for pause in REPEAT_PAUSES {
            if !answer.as_ref().is_err_and(ApiError::is_unanswered) || io.since(started) > REPEAT_WITHIN {
                break;
            }
            // A connection that breaks leaves it unknown what was committed. The same transactions again find
            // out, or commit it: the client is spared a 451 after which it would send a duplicate.
            io.sleep(pause).await;
            answer = store.submit_batch(batch()).await;
        }
        answer
    });
    match answer.await {
        Ok(Ok(outcomes)) => outcomes.into_iter().map(outcome).collect(),
        Ok(Err(error)) => {
            let reply = refusal(&error);
            messages.iter().map(|_| Err(reply.clone())).collect()
        }
        Err(_elapsed) => messages.iter().map(|_| Err(out_of_time())).collect(),
    }
}

/// The reply when the store did not answer within the time that a client can be made to wait.
pub(crate) fn out_of_time() -> Reply {
    facts::SmtpStoreLate {}.log();
    Reply::new(451, (3, 1), "this server is busy, try again later")
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
        Some(ProblemKind::BareLineEnding) => Reply::new(554, (6, 0), "the message has a CR or LF outside a CRLF"),
        Some(ProblemKind::MailLoop) => {
            Reply::new(554, (4, 6), "mail loop: the message has been through a hundred servers")
        }
        Some(ProblemKind::MessageTooLarge) => Reply::new(552, (3, 4), "message too large"),
        Some(ProblemKind::Overloaded) => Reply::new(451, (3, 1), "this server is busy, try again later"),
        Some(ProblemKind::StorageUnavailable) => Reply::new(452, (3, 1), "insufficient storage, try again later"),
        _ => unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::{join_all, pending};
    use internal_api::Problem;
    use mail_net::Clock;
    use std::sync::Mutex;

    fn message(number: usize, recipients: usize) -> Message {
        let submission =
            Submission::new(number.to_string(), "<>".parse().unwrap(), vec!["a@b".parse().unwrap(); recipients]);
        (submission, Bytes::from_static(b"\r\n"), None)
    }

    /// However many wait for a store that hangs, and however far behind, each waits for a minute at most.
    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_hung_store_longer_than_a_minute() {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&sent);
        let io = Clock::system().io;
        let send = move |messages: Vec<Message>| {
            seen.lock().unwrap().extend(messages.into_iter().map(|(submission, _, _)| submission.transaction));
            pending().boxed()
        };
        let submitter = Submitter::sending(Arc::new(send), io);
        let submit = async |number| {
            io.sleep(Duration::from_secs(number as u64 % 10)).await;
            let started = io.instant();
            let (submission, octets, _) = message(number, if number == 0 { BATCHED_RECIPIENTS + 1 } else { 1 });
            let reply = submitter.submit(submission, octets).await.unwrap_err();
            (reply.on_one_line(), io.since(started))
        };
        for (reply, waited) in join_all((0..500).map(submit)).await {
            assert_eq!(reply, "451 4.3.1 this server is busy, try again later");
            assert!(waited <= Duration::from_secs(60), "{waited:?}");
        }
        // What was not under way when its client gave up is not sent any more.
        assert!(sent.lock().unwrap().len() < 200, "{:?}", sent.lock().unwrap());
    }

    #[test]
    fn every_failure_of_the_storage_is_temporary_and_the_message_s_own_fault_is_not() {
        let table = [
            (ProblemKind::StorageUnavailable, "452 4.3.1 insufficient storage, try again later"),
            (
                ProblemKind::DatabaseUnavailable,
                "451 4.3.0 the database of this server cannot be reached, try again later",
            ),
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
