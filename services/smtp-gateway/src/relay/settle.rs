//! What becomes of a message after an attempt: finished, tried again, or reported as failed.

use super::{
    Context,
    bounce::{self, Failure, Report},
    route::Exchange,
    schedule::{self, Next},
};
use crate::{batcher::Batcher, policy::mailbox_full};
use jiff::Timestamp;
use mail_api::{
    ApiError, ClaimSettlement, ClaimedMessage, ClaimedRecipient, Outcome, Problem, ProblemKind, RecipientOutcome,
    Settlement, SettlementOutcome, StoreClient, Submission,
};
use mail_proto::{ReversePath, smtp::Reply};
use std::time::Duration;

/// How much of a failed message's header section is attached to the report.
const HEADER_OCTETS: usize = 64 * 1024;
/// How often the store is told, and how long the first pause between is: the message may have been
/// delivered, and what the store does not learn is sent twice.
const SETTLE_ATTEMPTS: u32 = 8;
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// How much of a reply is kept in the queue: with a thousand recipients it still fits into one settlement.
const SAID_OCTETS: usize = 500;
/// A settlement of more recipients travels by itself: 64 of them must fit into one request.
const BATCHED_RECIPIENTS: usize = 100;

/// Settles the messages of one claim.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settler<'a> {
    context: &'a Context,
    lease: &'a str,
}

impl<'a> Settler<'a> {
    pub(super) fn new(context: &'a Context, lease: &'a str) -> Self {
        Self { context, lease }
    }

    /// Settles all of these messages by one reply.
    pub(super) async fn settle_all(&self, messages: &[ClaimedMessage], reply: &Reply, exchange: Option<&Exchange>) {
        for message in messages {
            self.settle(message, vec![reply.clone(); message.recipients.len()], exchange).await;
        }
    }

    /// Settles one message by the reply for each of its recipients, which `exchange` gave, or this server: a
    /// positive one of its own is about a mailbox here.
    pub(super) async fn settle(&self, message: &ClaimedMessage, replies: Vec<Reply>, exchange: Option<&Exchange>) {
        let now = Timestamp::now();
        let mut failures = Vec::new();
        let mut outcomes = Vec::with_capacity(replies.len());
        for (recipient, reply) in message.recipients.iter().zip(replies) {
            let (outcome, failure) = match exchange {
                None if reply.is_positive() => (self.deliver_here(message, recipient, now), None),
                _ => self.judge(message, recipient, reply, now),
            };
            outcomes.push(RecipientOutcome { recipient: recipient.mailbox.clone(), outcome });
            failures.extend(failure);
        }
        let (failure_message, octets) = match self.report(message, &failures, exchange, now).await {
            Some((submission, octets)) => (Some(submission), octets),
            None => (None, Vec::new()),
        };
        self.commit(Settlement { message: message.id, outcomes, failure_message }, octets).await;
    }

    /// Gives messages back that were not tried.
    pub(super) async fn release(&self, messages: &[ClaimedMessage]) {
        for message in messages {
            let outcome = || Outcome::Deferred { retry_after_seconds: 0, reply: String::new(), untried: true };
            let outcomes = message.recipients.iter();
            let outcomes = outcomes
                .map(|recipient| RecipientOutcome { recipient: recipient.mailbox.clone(), outcome: outcome() })
                .collect();
            self.commit(Settlement { message: message.id, outcomes, failure_message: None }, Vec::new()).await;
        }
    }

    /// Should the mailbox be full again by then, the message goes on waiting; it fails when that is looked at
    /// the next time, if it is to.
    fn deliver_here(&self, message: &ClaimedMessage, recipient: &ClaimedRecipient, now: Timestamp) -> Outcome {
        tracing::info!(id = %message.id, recipient = %recipient.mailbox, "delivered here after all");
        let pause = match schedule::next(&self.context.stack.current().relay, recipient.attempts, age(message, now)) {
            Next::RetryAfter(pause) => pause,
            Next::Expired => Duration::ZERO,
        };
        let reply = mailbox_full(&recipient.mailbox).on_one_line();
        Outcome::DeliverHere { retry_after_seconds: pause.as_secs(), reply }
    }

    fn judge(
        &self,
        message: &ClaimedMessage,
        recipient: &ClaimedRecipient,
        reply: Reply,
        now: Timestamp,
    ) -> (Outcome, Option<Failure>) {
        let metrics = &self.context.metrics;
        let mailbox = &recipient.mailbox;
        let (id, said) = (message.id, shortened(reply.on_one_line()));
        if reply.is_positive() {
            metrics.recipients_relayed.inc();
            tracing::info!(%id, recipient = %mailbox, "relayed");
            return (Outcome::Finished, None);
        }
        let next = schedule::next(&self.context.stack.current().relay, recipient.attempts, age(message, now));
        if let (false, Next::RetryAfter(pause)) = (reply.is_permanent(), next) {
            metrics.recipients_deferred.inc();
            tracing::info!(%id, recipient = %mailbox, said, ?pause, "deferred");
            return (Outcome::Deferred { retry_after_seconds: pause.as_secs(), reply: said, untried: false }, None);
        }
        metrics.recipients_failed.inc();
        tracing::info!(%id, recipient = %mailbox, said, "failed");
        let expired = !reply.is_permanent();
        (Outcome::Finished, Some(Failure { recipient: mailbox.clone(), reply, expired }))
    }

    /// The failure message, unless nothing failed or nobody is to be told (RFC 5321 §4.5.5).
    async fn report(
        &self,
        message: &ClaimedMessage,
        failures: &[Failure],
        exchange: Option<&Exchange>,
        now: Timestamp,
    ) -> Option<(Submission, Vec<u8>)> {
        let sender = message.reverse_path.mailbox().filter(|_| !failures.is_empty())?;
        let stack = &self.context.stack.current();
        let headers = self.headers(message).await;
        let report = Report {
            server_name: &stack.name,
            own_domain: stack.own_domain(),
            sender,
            message,
            headers: &headers,
            exchange,
            now,
        };
        self.context.metrics.failure_messages.inc();
        let submission = Submission {
            transaction: uuid::Uuid::now_v7().simple().to_string(),
            reverse_path: ReversePath::Null,
            recipients: vec![sender.clone()],
        };
        Some((submission, bounce::compose(&report, failures)))
    }

    /// The message's header section; what there is of it when it is long or cannot be read.
    async fn headers(&self, message: &ClaimedMessage) -> Vec<u8> {
        let mut headers = Vec::new();
        let Ok(mut raw) = self.context.store.message(message.id).await else { return headers };
        while let Ok(Some(chunk)) = raw.chunk().await {
            headers.extend_from_slice(&chunk);
            if headers.len() > HEADER_OCTETS || memchr::memmem::find(&headers, b"\r\n\r\n").is_some() {
                break;
            }
        }
        cut_headers(headers)
    }

    async fn commit(&self, mut settlement: Settlement, failure_message: Vec<u8>) {
        let mut pause = SETTLE_PAUSE;
        for attempt in 1..=SETTLE_ATTEMPTS {
            let Err(error) = self.attempt(&settlement, &failure_message).await else { return };
            let id = settlement.message;
            match error.kind() {
                Some(ProblemKind::LeaseLost) => {}
                Some(ProblemKind::MessageTooLarge | ProblemKind::BareLineEnding | ProblemKind::InvalidRequest)
                    if settlement.failure_message.is_some() =>
                {
                    // A report that cannot be stored must not have those who got the message get it again.
                    tracing::error!(%id, %error, "the failure message cannot be stored; its sender is not told");
                    settlement.failure_message = None;
                    continue;
                }
                _ if attempt < SETTLE_ATTEMPTS => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    continue;
                }
                _ => {}
            }
            tracing::warn!(%id, %error, "the outcome could not be recorded; the message may be sent again");
            return;
        }
    }

    async fn attempt(&self, settlement: &Settlement, failure_message: &[u8]) -> Result<(), ApiError> {
        if settlement.failure_message.is_some() || settlement.outcomes.len() > BATCHED_RECIPIENTS {
            return self.context.store.settle(self.lease, settlement, failure_message).await;
        }
        let (lease, message, outcomes) = (self.lease.to_owned(), settlement.message, settlement.outcomes.clone());
        let settlement = ClaimSettlement { lease, message, outcomes };
        match self.context.settlements.request(settlement).await {
            Some(SettlementOutcome::Settled) => Ok(()),
            Some(SettlementOutcome::Refused(problem)) => Err(problem.into()),
            None => Err(Problem::new(ProblemKind::Overloaded, "the store did not answer").into()),
        }
    }
}

fn age(message: &ClaimedMessage, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(message.queued_at)).unwrap_or_default()
}

/// Cuts a reply after as many whole characters as may be kept of it.
fn shortened(mut said: String) -> String {
    said.truncate(said.floor_char_boundary(SAID_OCTETS));
    said
}

/// Settlements without a failure message, on their way to the store.
pub(super) type Settlements = Batcher<ClaimSettlement, SettlementOutcome>;

/// Starts sending settlements.
pub(super) fn settlements(store: StoreClient) -> Settlements {
    Batcher::start(move |settlements: Vec<_>| {
        let store = store.clone();
        async move {
            store.settle_batch(&settlements).await.unwrap_or_else(|error| {
                let problem = Problem::new(ProblemKind::Overloaded, error.to_string());
                settlements.iter().map(|_| SettlementOutcome::Refused(problem.clone())).collect()
            })
        }
    })
}

/// Cuts at the empty line, or else after the last whole line that fits.
fn cut_headers(mut message: Vec<u8>) -> Vec<u8> {
    if message.starts_with(b"\r\n") {
        return Vec::new();
    }
    let end = match memchr::memmem::find(&message, b"\r\n\r\n") {
        Some(end) => end + 2,
        None => memchr::memmem::rfind(&message, b"\r\n").map_or(0, |end| end + 2),
    };
    message.truncate(end);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_cut_between_characters() {
        assert_eq!(shortened("550 no".to_owned()), "550 no");
        let long = shortened(format!("450 {}", "€".repeat(1000)));
        assert_eq!(long, format!("450 {}", "€".repeat(165)));
    }

    #[test]
    fn headers_end_at_the_empty_line() {
        let table: &[(&[u8], &[u8])] = &[
            (b"A: 1\r\nB: 2\r\n\r\nbody\r\n", b"A: 1\r\nB: 2\r\n"),
            (b"\r\nbody\r\n", b""),
            (b"A: 1\r\nB: 2", b"A: 1\r\n"),
            (b"A: 1\r\n", b"A: 1\r\n"),
            (b"", b""),
        ];
        for (message, headers) in table {
            assert_eq!(cut_headers(message.to_vec()), headers.to_vec());
        }
    }
}
