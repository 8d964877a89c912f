//! What becomes of a queue entry when its attempt has ended.

use super::moments::later_ms;
use crate::store::REPLY_CHARACTERS;
use internal_api::{Ending, EventKind, MessageId, Outcome, RecipientOutcome, reports::is_success};
use jiff::Timestamp;
use std::time::Duration;

/// The longest that an attempt can be put off.
const LONGEST_DEFERRAL: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What is to be done with a recipient's entry, and what is to be told of it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct Decision {
    pub(in crate::store) change: QueueChange,
    /// Names no recipient.
    pub(in crate::store) event: EventKind,
}

/// What is to be done with an entry of the queue.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum QueueChange {
    /// It goes.
    Remove,
    /// Its lease ends, and it is due then.
    Postpone {
        next_attempt_at_ms: i64,
        /// What is kept of the reply. An empty one of an entry that was not tried leaves the one before.
        reply: String,
        /// The attempt that the claim has counted does not count.
        untried: bool,
        /// The sender was told of the delay.
        delay_told: bool,
    },
}

impl Decision {
    fn with_delay_told(mut self) -> Self {
        if let QueueChange::Postpone { delay_told, .. } = &mut self.change {
            *delay_told = true;
        }
        self
    }
}

/// Decides about one recipient. What is to be delivered here is postponed; it is removed once it is delivered.
pub(in crate::store) fn decide(outcome: &Outcome, now: Timestamp) -> Decision {
    match outcome {
        Outcome::Finished { how } => Decision { change: QueueChange::Remove, event: ended(how.as_ref()) },
        Outcome::Deferred { retry_after_seconds, reply, untried, delay_told } => {
            let decision = postpone(*retry_after_seconds, reply, *untried, now);
            if *delay_told { decision.with_delay_told() } else { decision }
        }
        Outcome::DeliverHere { retry_after_seconds, reply } => postpone(*retry_after_seconds, reply, false, now),
    }
}

fn ended(how: Option<&Ending>) -> EventKind {
    let recipients = Vec::new();
    match how {
        Some(Ending::Relayed { exchange, reply, peer_id }) => {
            EventKind::Relayed { recipients, exchange: kept(exchange), reply: kept(reply), peer_id: *peer_id }
        }
        Some(Ending::Failed { said_by, reply }) => {
            EventKind::Failed { recipients, said_by: said_by.as_deref().map(kept), reply: kept(reply) }
        }
        Some(Ending::Expired { reply }) => EventKind::Expired { recipients, reply: kept(reply) },
        None => EventKind::Finished { recipients },
    }
}

fn postpone(retry_after_seconds: u64, reply: &str, untried: bool, now: Timestamp) -> Decision {
    let wait = Duration::from_secs(retry_after_seconds).min(LONGEST_DEFERRAL);
    let next_attempt_at_ms = later_ms(now.as_millisecond(), wait);
    let next_attempt_at = Timestamp::from_millisecond(next_attempt_at_ms).unwrap_or(Timestamp::MAX);
    // A positive one would say that the recipient has got the message.
    let reply = kept(&if is_success(reply) { format!("451 4.0.0 {reply}") } else { reply.to_owned() });
    let event = EventKind::Deferred { recipients: Vec::new(), reply: reply.clone(), next_attempt_at, untried };
    Decision { change: QueueChange::Postpone { next_attempt_at_ms, reply, untried, delay_told: false }, event }
}

/// What is told of a message whose sender gets a report, together with these outcomes.
pub(in crate::store) fn told(outcomes: &[RecipientOutcome], as_message: MessageId) -> EventKind {
    let is_failure = |settled: &RecipientOutcome| {
        let Outcome::Finished { how } = &settled.outcome else { return false };
        matches!(how, Some(Ending::Failed { .. } | Ending::Expired { .. }))
    };
    if outcomes.iter().any(is_failure) { EventKind::Bounced { as_message } } else { EventKind::Reported { as_message } }
}

/// What is kept of what a peer said. PostgreSQL holds no NUL, which a peer may well send.
fn kept(said: &str) -> String {
    said.chars().take(REPLY_CHARACTERS).filter(|character| *character != '\0').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000).unwrap()
    }

    fn deferred(retry_after_seconds: u64, reply: &str, untried: bool) -> Outcome {
        Outcome::Deferred { retry_after_seconds, reply: reply.to_owned(), untried, delay_told: false }
    }

    #[test]
    fn a_deferral_is_bounded_in_time_and_in_words() {
        let year_ms = LONGEST_DEFERRAL.as_millis() as i64;
        for (seconds, expected_ms) in [(0, 1_000_000), (60, 1_060_000), (u64::MAX, 1_000_000 + year_ms)] {
            let Decision { change, event } = decide(&deferred(seconds, "451 later", true), now());
            let reply = "451 later".to_owned();
            let postponed =
                QueueChange::Postpone { next_attempt_at_ms: expected_ms, reply, untried: true, delay_told: false };
            assert_eq!(change, postponed, "{seconds}");
            let EventKind::Deferred { next_attempt_at, untried, .. } = event else { panic!("{event:?}") };
            assert_eq!((next_attempt_at.as_millisecond(), untried), (expected_ms, true));
        }
        for (reply, expected) in [("250 OK", "451 4.0.0 250 OK"), ("", ""), ("451 later", "451 later")] {
            let QueueChange::Postpone { reply, .. } = decide(&deferred(1, reply, true), now()).change else {
                panic!("it is to be tried again")
            };
            assert_eq!(reply, expected, "it has not got the message");
        }
        let long = format!("4\05\01 {}", "é".repeat(2 * REPLY_CHARACTERS));
        let QueueChange::Postpone { reply, .. } = decide(&deferred(1, &long, false), now()).change else {
            panic!("it is to be tried again")
        };
        assert!(reply.starts_with("451 é") && reply.chars().count() == REPLY_CHARACTERS - 2, "{reply}");
    }

    #[test]
    fn who_is_to_be_delivered_to_here_waits_until_then() {
        let here = Outcome::DeliverHere { retry_after_seconds: 5, reply: "452 full".to_owned() };
        assert_eq!(decide(&here, now()), decide(&deferred(5, "452 full", false), now()));
    }

    #[test]
    fn what_ends_is_removed_and_told_in_the_same_words() {
        let recipients = Vec::new;
        let reply = || "550 no".to_owned();
        let said_by = || Some("mx.far.test".to_owned());
        let table = [
            (None, EventKind::Finished { recipients: recipients() }),
            (Some(Ending::Expired { reply: reply() }), EventKind::Expired { recipients: recipients(), reply: reply() }),
            (
                Some(Ending::Failed { said_by: said_by(), reply: reply() }),
                EventKind::Failed { recipients: recipients(), said_by: said_by(), reply: reply() },
            ),
            (
                Some(Ending::Relayed { exchange: "mx".to_owned(), reply: "250 ok".to_owned(), peer_id: None }),
                EventKind::Relayed {
                    recipients: recipients(),
                    exchange: "mx".to_owned(),
                    reply: "250 ok".to_owned(),
                    peer_id: None,
                },
            ),
        ];
        for (how, event) in table {
            assert_eq!(decide(&Outcome::Finished { how }, now()), Decision { change: QueueChange::Remove, event });
        }
    }

    #[test]
    fn a_report_about_any_failure_is_a_bounce() {
        let as_message = MessageId::from_number(7);
        let ending = |how| RecipientOutcome { recipient: "a@b".parse().unwrap(), outcome: Outcome::Finished { how } };
        let relayed =
            || ending(Some(Ending::Relayed { exchange: "mx".to_owned(), reply: "250".to_owned(), peer_id: None }));
        let failed = ending(Some(Ending::Failed { said_by: None, reply: "550".to_owned() }));
        let expired = ending(Some(Ending::Expired { reply: "450".to_owned() }));
        for (outcomes, is_bounce) in
            [(vec![relayed(), ending(None)], false), (vec![relayed(), failed], true), (vec![expired], true)]
        {
            let expected =
                if is_bounce { EventKind::Bounced { as_message } } else { EventKind::Reported { as_message } };
            assert_eq!(told(&outcomes, as_message), expected, "{outcomes:?}");
        }
    }
}
