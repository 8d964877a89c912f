//! What becomes of a message after an attempt: finished, tried again, or reported as failed.

use super::{
    Context,
    delivery::Verdicts,
    dsn::{self, Action, Report, Told},
    returned::Returned,
    verdict::Verdict,
};
use crate::batcher::Batcher;
use internal_api::{
    ApiError, ClaimSettlement, ClaimedMessage, ClaimedRecipient, Ending, MessageId, Outcome, Problem, ProblemKind,
    RecipientOutcome, Settlement, SettlementOutcome, StoreClient, Submission, reports::says_expanded,
};
use jiff::Timestamp;
use mail_proto::{
    ReversePath,
    smtp::{Notify, Occasions, Ret},
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};
use tokio::time::Instant;
use town_config::Next;

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
    claimed_at: Instant,
}

impl<'a> Settler<'a> {
    pub(super) fn new(context: &'a Context, lease: &'a str) -> Self {
        Self { context, lease, claimed_at: context.clock.io.instant() }
    }

    /// Settles recipients of one message. Counts and logs it once it is durable.
    pub(super) async fn settle(&self, message: &ClaimedMessage, verdicts: Verdicts<'_>) {
        if verdicts.is_empty() {
            return;
        }
        let mut outcomes = Vec::with_capacity(verdicts.len());
        let mut events = Vec::with_capacity(verdicts.len());
        let mut told = Vec::new();
        for (recipient, verdict) in verdicts {
            let (mut outcome, event) = self.judge(message, recipient, &verdict);
            if let Some(action) = self.action(message, recipient, event, &verdict) {
                if let (Action::Delayed, Outcome::Deferred { delay_told, .. }) = (action, &mut outcome) {
                    *delay_told = true;
                }
                told.push(Told::new(recipient, action, &verdict));
            }
            events.push((recipient, event, said(&verdict)));
            outcomes.push(RecipientOutcome { recipient: recipient.mailbox.clone(), outcome });
        }
        let (failure_message, octets) = match self.report(message, &told).await {
            Some((submission, octets)) => (Some(submission), octets),
            None => (None, Vec::new()),
        };
        if let Some(stored) = self.commit(Settlement { message: message.id, outcomes, failure_message }, octets).await {
            let is_bounce = told.iter().any(|told| told.action == Action::Failed);
            self.context.metrics.failure_messages.inc_by(stored * u64::from(is_bounce));
            events.into_iter().for_each(|(recipient, event, said)| self.tell(message, recipient, event, &said));
        }
    }

    fn judge(&self, message: &ClaimedMessage, recipient: &ClaimedRecipient, verdict: &Verdict) -> (Outcome, Event) {
        let next = self.context.stack.current().relay.after_attempt(
            recipient.attempts,
            self.age(message),
            chance(message.id, recipient.attempts),
        );
        match (verdict, next) {
            (Verdict::Released, _) => (
                Outcome::Deferred { retry_after_seconds: 0, reply: String::new(), untried: true, delay_told: false },
                Event::Released,
            ),
            (Verdict::Here(_), Next::RetryAfter(pause)) => {
                let reply = said(verdict);
                (Outcome::DeliverHere { retry_after_seconds: pause.as_secs(), reply }, Event::HandedOver)
            }
            (Verdict::Arrived(_), _) => (Outcome::Finished { how: None }, Event::Arrived),
            (Verdict::Taken { reply, exchange, .. }, _) => {
                let peer_id = peer_id(&reply.on_one_line());
                let how = Ending::Relayed { exchange: exchange.name.clone(), reply: said(verdict), peer_id };
                (Outcome::Finished { how: Some(how) }, Event::Relayed)
            }
            (_, Next::RetryAfter(pause)) if !verdict.is_permanent() => {
                let untried = matches!(verdict, Verdict::Untried(_));
                let retry_after_seconds = pause.as_secs();
                let outcome =
                    Outcome::Deferred { retry_after_seconds, reply: said(verdict), untried, delay_told: false };
                (outcome, Event::Deferred(pause))
            }
            _ => {
                let event = if verdict.is_permanent() { Event::Failed } else { Event::Expired };
                (Outcome::Finished { how: Some(given_up(verdict)) }, event)
            }
        }
    }

    /// What the sender is to be told of a recipient, if anything (RFC 3461 §5.2).
    fn action(
        &self,
        message: &ClaimedMessage,
        recipient: &ClaimedRecipient,
        event: Event,
        verdict: &Verdict,
    ) -> Option<Action> {
        let wanted = match recipient.notify {
            Some(Notify::Never) => Occasions::default(),
            Some(Notify::Of(occasions)) => occasions,
            None => Occasions { success: false, failure: true, delay: true },
        };
        match (event, verdict) {
            (Event::Failed | Event::Expired, _) => wanted.failure.then_some(Action::Failed),
            (Event::Arrived, Verdict::Arrived(reply)) if says_expanded(reply) => {
                wanted.success.then_some(Action::Expanded)
            }
            (Event::Arrived, _) => wanted.success.then_some(Action::Delivered),
            // The exchange reports by itself, if it can.
            (Event::Relayed, Verdict::Taken { reports: false, .. }) => wanted.success.then_some(Action::Relayed),
            (Event::Deferred(_), _) => {
                let is_late = self.context.stack.current().relay.tells_of_delay(self.age(message));
                (wanted.delay && is_late && recipient.delay_told == Some(false)).then_some(Action::Delayed)
            }
            _ => None,
        }
    }

    fn tell(&self, message: &ClaimedMessage, recipient: &ClaimedRecipient, event: Event, reply: &str) {
        let metrics = &self.context.metrics;
        let (message_id, recipient) = (message.id, &recipient.mailbox);
        match event {
            Event::Relayed => {
                metrics.recipients_relayed.inc();
                facts::RelayRelayed { message_id, recipient }.log();
            }
            Event::Deferred(pause) => {
                metrics.recipients_deferred.inc();
                facts::RelayDeferred { message_id, recipient, reply, retry_seconds: pause.as_secs() }.log();
            }
            Event::Failed => {
                metrics.recipients_failed.inc();
                facts::RelayFailed { message_id, recipient, reply }.log();
            }
            Event::Expired => {
                metrics.recipients_failed.inc();
                facts::RelayExpired { message_id, recipient, reply }.log();
            }
            // The store has told of it.
            Event::Arrived => {}
            Event::HandedOver => facts::RelayHandedOver { message_id, recipient }.log(),
            Event::Released => facts::RelayReleased { message_id, recipient }.log(),
        }
    }

    /// How old the message is: its age by the store's clock when it was claimed, and the time since. A store of an
    /// earlier version does not tell it; then the message does not expire before that store is replaced.
    fn age(&self, message: &ClaimedMessage) -> Duration {
        Duration::from_secs(message.age_seconds.unwrap_or(0)) + self.context.clock.io.since(self.claimed_at)
    }

    /// The report, unless there is nothing to tell or nobody who is to be told (RFC 5321 §4.5.5).
    async fn report(&self, message: &ClaimedMessage, told: &[Told]) -> Option<(Submission, Vec<u8>)> {
        let sender = message.reverse_path.mailbox().filter(|_| !told.is_empty())?;
        let stack = &self.context.stack.current();
        let requires_tls = message.parameters.requiretls;
        let is_wanted = message.parameters.ret == Some(Ret::Full)
            && told.iter().any(|told| told.action == Action::Failed)
            && !requires_tls;
        // A mailbox here takes eight bits. Of the way to another server nothing is known.
        let returned = self.returned(message, is_wanted, stack.is_local(sender.domain())).await;
        let report = Report {
            server_name: &stack.name,
            own_domain: stack.own_domain(),
            sender,
            message,
            returned: &returned,
            now: self.context.clock.wall.now(),
            tried_until: message.queued_at.saturating_add(stack.relay.expiry).unwrap_or(Timestamp::MAX),
        };
        let mut submission =
            Submission::new(uuid::Uuid::now_v7().simple().to_string(), ReversePath::Null, [sender.clone()]);
        // RFC 8689 §5: what a report tells of a message is as secret as the message.
        submission.parameters.requiretls = requires_tls;
        submission.parameters.smtputf8 = !sender.is_ascii();
        Some((submission, dsn::compose(&report, told)))
    }

    /// What the report returns of the message: all of it if that is wanted and can travel, or its header section. Less when
    /// the message cannot be read.
    async fn returned(&self, message: &ClaimedMessage, all: bool, takes_eight_bits: bool) -> Returned {
        let (all, mut read) = (all && message.octets <= Returned::WHOLE_OCTETS, Vec::new());
        if let Ok(mut raw) = self.context.store.message(message.id).await {
            while all || !Returned::headers_are_complete(&read) {
                match raw.chunk().await {
                    Ok(Some(chunk)) => read.extend_from_slice(&chunk),
                    Ok(None) if all => return Returned::whole(read, takes_eight_bits),
                    Ok(None) | Err(_) => break,
                }
            }
        }
        Returned::headers(read)
    }

    /// Returns how many failure messages were stored, once it is durable.
    async fn commit(&self, mut settlement: Settlement, failure_message: Vec<u8>) -> Option<u64> {
        let mut pause = SETTLE_PAUSE;
        for attempt in 1..=SETTLE_ATTEMPTS {
            let Err(error) = self.attempt(&settlement, &failure_message).await else {
                return Some(u64::from(settlement.failure_message.is_some()));
            };
            let message_id = settlement.message;
            match error.kind() {
                Some(ProblemKind::LeaseLost) => {}
                Some(ProblemKind::MessageTooLarge | ProblemKind::BareLineEnding | ProblemKind::InvalidRequest)
                    if settlement.failure_message.is_some() =>
                {
                    // A report that cannot be stored must not have those who got the message get it again.
                    facts::RelayReportLost { message_id, error }.log();
                    settlement.failure_message = None;
                    continue;
                }
                _ if attempt < SETTLE_ATTEMPTS => {
                    self.context.clock.io.sleep(pause).await;
                    pause *= 2;
                    continue;
                }
                _ => {}
            }
            facts::RelayOutcomeLost { message_id, error }.log();
            break;
        }
        None
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

/// What became of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Relayed,
    Deferred(Duration),
    Failed,
    Expired,
    Arrived,
    HandedOver,
    Released,
}

/// A number from 0 to 1 that differs from message to message. Recipients of one message go on together.
fn chance(message: MessageId, attempts: u32) -> f64 {
    let mut hasher = DefaultHasher::new();
    (message.to_string(), attempts).hash(&mut hasher);
    (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
}

/// How a recipient ends that is not tried again.
fn given_up(verdict: &Verdict) -> Ending {
    let reply = said(verdict);
    match verdict {
        Verdict::Said(_, exchange) if verdict.is_permanent() => {
            Ending::Failed { said_by: Some(exchange.name.clone()), reply }
        }
        _ if verdict.is_permanent() => Ending::Failed { said_by: None, reply },
        _ => Ending::Expired { reply },
    }
}

/// The id that another mailtown gives the message, from a reply such as `250 2.0.0 OK queued as 06gk2w1s8n4qz`.
fn peer_id(reply: &str) -> Option<MessageId> {
    reply.rsplit_once("queued as ").and_then(|(_, id)| id.trim().parse().ok())
}

/// The words of a verdict, as the queue keeps them.
fn said(verdict: &Verdict) -> String {
    verdict.reply().map(|reply| shortened(reply.on_one_line())).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_id_is_read_from_its_reply_if_it_is_one() {
        let id = MessageId::from_number(7).to_string();
        assert_eq!(peer_id(&format!("250 2.0.0 OK queued as {id}")), Some(MessageId::from_number(7)));
        for other in ["250 2.0.0 OK", "250 2.0.0 Ok: queued as 4Xyz12", "250 queued as ", "250 queued as 1 2"] {
            assert_eq!(peer_id(other), None, "{other}");
        }
    }

    #[test]
    fn chances_are_spread_and_stay() {
        let chances: Vec<_> = (0..1000).map(|number| chance(MessageId::from_number(number), 1)).collect();
        for tenth in 0..10 {
            let range = f64::from(tenth) / 10.0..f64::from(tenth + 1) / 10.0;
            let count = chances.iter().filter(|chance| range.contains(chance)).count();
            assert!((60..140).contains(&count), "{range:?}: {count}");
        }
        assert_eq!(chance(MessageId::from_number(7), 1), chances[7]);
        assert_ne!(chance(MessageId::from_number(7), 2), chances[7]);
    }

    #[test]
    fn replies_are_cut_between_characters() {
        assert_eq!(shortened("550 no".to_owned()), "550 no");
        let long = shortened(format!("450 {}", "€".repeat(1000)));
        assert_eq!(long, format!("450 {}", "€".repeat(165)));
    }
}
