//! What an operator does to messages of the queue.

use super::*;
use crate::store::{Backlog, QueueAction};
use futures_util::future::join_all;
use internal_api::{QueueEntry, reports::GIVEN_UP};
use std::collections::BTreeSet;
use town_config::Quota;

impl Fixture {
    async fn act(&self, id: MessageId, action: QueueAction) -> Result<u64> {
        self.store.act(id, action).await
    }

    /// Defers all recipients of the messages of a claim.
    async fn defer(&self, claim: &Claim, retry_after_seconds: u64) {
        for message in &claim.messages {
            for recipient in &message.recipients {
                let recipient = recipient.mailbox.to_string();
                let settlement = deferred(message.id, &recipient, retry_after_seconds, "451 4.2.0 later");
                self.store.settle(&claim.lease, settlement, body(b"")).await.unwrap();
            }
        }
    }

    /// The entries of a message as `recipient attempts leased held`.
    async fn standing(&self, id: MessageId) -> Vec<String> {
        let line = |entry: &QueueEntry| {
            assert_eq!(entry.message, id);
            format!("{} {} {} {}", entry.recipient, entry.attempts, entry.leased, entry.held)
        };
        self.store.queued(id).await.unwrap().iter().map(line).collect()
    }

    /// The kinds of a message's events after the first n.
    async fn told(&self, id: MessageId, passed: usize) -> Vec<&'static str> {
        let story = self.store.message_events(id).await.unwrap();
        story.iter().skip(passed).map(|event| event.kind.name()).collect()
    }
}

/// The recipients of the only message of a claim, and how often they were tried.
fn claimed(claim: &Claim) -> Vec<(String, u32)> {
    let [message] = &claim.messages[..] else { panic!("{claim:?}") };
    message.recipients.iter().map(|recipient| (recipient.mailbox.to_string(), recipient.attempts)).collect()
}

/// Nobody claims what is on hold, however long that takes and whatever else is done to the queue.
pub(crate) async fn a_held_message_is_not_claimed(fixture: Fixture) {
    let id = fixture.send("1", &["x@far.test", "y@near.test"]).await;
    let other = fixture.send("2", &["x@far.test"]).await;
    assert_eq!(fixture.act(id, QueueAction::Hold).await, Ok(2));
    assert_eq!(fixture.act(id, QueueAction::Hold).await, Ok(0), "it is on hold already");
    assert_eq!(fixture.standing(id).await, ["x@far.test 0 false true", "y@near.test 0 false true"]);
    let claim = fixture.claim().await.unwrap();
    assert_eq!(claim.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [other]);
    fixture.store.settle(&claim.lease, finished(other, &["x@far.test"]), body(b"")).await.unwrap();

    assert_eq!(fixture.store.flush_queue().await.unwrap().entries, 0);
    assert_eq!(fixture.act(id, QueueAction::Retry).await, Err(StoreError::MessageHeld));
    for _ in 0..3 {
        fixture.clock.advance(100 * HOUR);
        let far = vec!["far.test".parse().unwrap()];
        for except in [Vec::new(), far] {
            let looked = fixture.store.claim(MINUTE, 9, except, nowhere(), Abilities::ALL).await;
            assert_eq!(looked, Ok(ClaimOutcome::NothingDue { next_due_at: None }));
        }
        fixture.store.maintain(nowhere()).await.unwrap();
    }
    assert_eq!(fixture.standing(id).await, ["x@far.test 0 false true", "y@near.test 0 false true"]);

    assert_eq!(fixture.act(id, QueueAction::Release).await, Ok(2));
    assert_eq!(fixture.act(id, QueueAction::Release).await, Ok(0), "it is released already");
    let claims = [fixture.claim().await.unwrap(), fixture.claim().await.unwrap()];
    let mut domains = claims.each_ref().map(|claim| claim.domain.to_string());
    domains.sort();
    assert_eq!(domains, ["far.test", "near.test"]);
    assert_eq!(fixture.told(id, 2).await, ["held", "released", "claimed", "claimed"]);
}

/// An attempt that has begun goes on when its message is put on hold. What it defers, or its worker loses, is on hold.
pub(crate) async fn a_hold_lets_an_attempt_end(fixture: Fixture) {
    let id = fixture.send("1", &["w@far.test", "x@far.test", "y@far.test", "z@far.test"]).await;
    let claim = fixture.claim().await.unwrap();
    assert_eq!(fixture.act(id, QueueAction::Hold).await, Ok(4));
    fixture.store.renew_claim(&claim.lease, MINUTE).await.unwrap();
    fixture.store.settle(&claim.lease, finished(id, &["x@far.test"]), body(b"")).await.unwrap();
    fixture.store.settle(&claim.lease, deferred(id, "y@far.test", 5, "451 later"), body(b"")).await.unwrap();
    let standing = ["w@far.test 1 true true", "y@far.test 1 false true", "z@far.test 1 true true"];
    assert_eq!(fixture.standing(id).await, standing);
    // Released while some are being tried: they are not due before that has ended.
    assert_eq!(fixture.act(id, QueueAction::Release).await, Ok(3));
    let again = fixture.claim().await.unwrap();
    assert_eq!(claimed(&again), [("y@far.test".to_owned(), 2)]);
    fixture.store.settle(&claim.lease, deferred(id, "w@far.test", 5, "451 later"), body(b"")).await.unwrap();

    assert_eq!(fixture.act(id, QueueAction::Hold).await, Ok(3));
    fixture.clock.advance(HOUR);
    assert_eq!(fixture.claim().await, None, "their leases have run out, and they are on hold");
    let standing = ["w@far.test 1 false true", "y@far.test 2 false true", "z@far.test 1 false true"];
    assert_eq!(fixture.standing(id).await, standing);
    fixture.store.settle(&again.lease, finished(id, &["y@far.test"]), body(b"")).await.unwrap();
    assert_eq!(fixture.act(id, QueueAction::Release).await, Ok(2));
    let claim = fixture.claim().await.unwrap();
    assert_eq!(claimed(&claim), [("w@far.test".to_owned(), 2), ("z@far.test".to_owned(), 2)]);
}

/// One message is tried again at once; the others wait. Its attempts go on being counted.
pub(crate) async fn a_retry_is_about_one_message(fixture: Fixture) {
    let id = fixture.send("1", &["x@far.test", "y@far.test"]).await;
    fixture.send("2", &["x@far.test"]).await;
    let claim = fixture.claim().await.unwrap();
    assert_eq!(fixture.act(id, QueueAction::Retry).await, Ok(0), "it is being tried");
    fixture.defer(&claim, 3600).await;
    assert_eq!(fixture.claim().await, None);
    assert_eq!(fixture.act(id, QueueAction::Retry).await, Ok(2));
    assert_eq!(fixture.act(id, QueueAction::Retry).await, Ok(0), "it is due already");
    let claim = fixture.claim().await.unwrap();
    assert_eq!(claimed(&claim), [("x@far.test".to_owned(), 2), ("y@far.test".to_owned(), 2)]);
    assert_eq!(claim.messages[0].id, id);
    assert_eq!(fixture.claim().await, None);
}

/// Who waits for work learns of what is released or retried.
pub(crate) async fn an_action_wakes_those_who_wait(fixture: Fixture) {
    let id = fixture.send("1", &["x@far.test"]).await;
    let claim = fixture.claim().await.unwrap();
    fixture.defer(&claim, 3600).await;
    let mut changes = fixture.store.queue_changes();
    fixture.act(id, QueueAction::Retry).await.unwrap();
    changes.changed().await.unwrap();
    fixture.act(id, QueueAction::Hold).await.unwrap();
    changes.mark_unchanged();
    fixture.act(id, QueueAction::Release).await.unwrap();
    changes.changed().await.unwrap();
}

/// What is removed is gone from the queue without a word to its sender. Maildrops keep it, and so does an attempt.
pub(crate) async fn a_removed_message_is_gone(fixture: Fixture) {
    let id = fixture.send("1", &["a@local.test", "x@far.test", "y@near.test"]).await;
    let claim = fixture.claim().await.unwrap();
    let before = fixture.standing(id).await;
    assert_eq!(fixture.act(id, QueueAction::Remove).await, Err(StoreError::MessageClaimed));
    assert_eq!(fixture.standing(id).await, before);
    assert_eq!(fixture.told(id, 3).await, ["claimed"]);
    fixture.defer(&claim, 3600).await;
    fixture.act(id, QueueAction::Hold).await.unwrap();
    assert_eq!(fixture.act(id, QueueAction::Remove).await, Ok(2));
    assert_eq!(fixture.told(id, 4).await, ["deferred", "held", "deleted"]);
    assert_eq!(fixture.queued().await, Vec::<String>::new());
    assert_eq!(fixture.store.queued(id).await, Err(StoreError::NotQueued));
    assert_eq!(fixture.listed("a@local.test").await, [id]);
    assert_eq!(fixture.raw(id).await.unwrap(), b"Subject: x\r\n\r\nx\r\n");
    fixture.delete("a@local.test", &[id]).await;
    assert_eq!(fixture.raw(id).await, Err(StoreError::MessageUnknown));

    // A worker whose lease has run out has lost it. The message goes with its last recipient.
    let id = fixture.send("2", &["x@far.test"]).await;
    let claim = fixture.claim().await.unwrap();
    fixture.clock.advance(HOUR);
    assert_eq!(fixture.act(id, QueueAction::Remove).await, Ok(1));
    let settled = fixture.store.settle(&claim.lease, finished(id, &["x@far.test"]), body(b"")).await;
    assert_eq!(settled, Err(StoreError::LeaseLost));
    assert_eq!(fixture.raw(id).await, Err(StoreError::MessageUnknown));
    let delivered = fixture.send("3", &["a@local.test"]).await;
    for unqueued in [id, delivered, MessageId::from_number(0), MessageId::from_number(u64::MAX)] {
        assert_eq!(fixture.store.queued(unqueued).await, Err(StoreError::NotQueued));
        use QueueAction::{GiveUp, Hold, Release, Remove, Retry};
        for action in [Retry, Hold, Release, Remove, GiveUp] {
            assert_eq!(fixture.act(unqueued, action).await, Err(StoreError::NotQueued), "{action:?}");
        }
    }
}

/// What is given up goes to the next gateway with the reason, on hold or not.
pub(crate) async fn a_given_up_message_is_left_to_a_gateway(fixture: Fixture) {
    let id = fixture.send("1", &["x@far.test", "y@near.test"]).await;
    let claim = fixture.claim().await.unwrap();
    assert_eq!(fixture.act(id, QueueAction::GiveUp).await, Err(StoreError::MessageClaimed));
    fixture.defer(&claim, 3600).await;
    fixture.act(id, QueueAction::Hold).await.unwrap();
    let mut changes = fixture.store.queue_changes();
    assert_eq!(fixture.act(id, QueueAction::GiveUp).await, Ok(2));
    changes.changed().await.unwrap();
    for _ in 0..2 {
        let claim = fixture.claim().await.unwrap();
        let [message] = &claim.messages[..] else { panic!("{claim:?}") };
        let said: Vec<_> = message.recipients.iter().map(|recipient| recipient.said_by_store.as_deref()).collect();
        assert_eq!(said, [Some(GIVEN_UP)]);
        let recipient = message.recipients[0].mailbox.to_string();
        fixture.store.settle(&claim.lease, finished(id, &[&recipient]), body(b"")).await.unwrap();
    }
    assert_eq!(fixture.act(id, QueueAction::GiveUp).await, Err(StoreError::NotQueued));
}

/// A message of many recipients is acted on as a whole.
pub(crate) async fn an_action_is_about_all_recipients(fixture: Fixture) {
    const RECIPIENTS: usize = 2500;
    let recipients: Vec<String> = (0..RECIPIENTS).map(|number| format!("{number:04}@far.test")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    fixture.send("before", &["x@far.test"]).await;
    let id = fixture.send("1", &recipients).await;
    fixture.send("after", &["x@far.test"]).await;
    let found = fixture.store.queued(id).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.recipient.to_string()).collect::<Vec<_>>(), recipients);
    for action in [QueueAction::Hold, QueueAction::Release, QueueAction::Remove] {
        assert_eq!(fixture.act(id, action).await, Ok(RECIPIENTS as u64));
    }
    assert_eq!(fixture.queued().await, ["x@far.test 0 false", "x@far.test 0 false"]);
}

/// Mail for a full mailbox here, which the store delivers by itself, waits on hold like other mail.
pub(crate) async fn local_mail_waits_on_hold(fixture: Fixture) {
    let local = LocalMail { domains: vec!["local.test".parse().unwrap()], ..LocalMail::default() };
    let quota = |messages| Account { quota: Quota { messages, octets: None }, ..account("a@local.test") };
    fixture.store.put_accounts(vec![quota(Some(0))]).await.unwrap();
    let id = fixture.send("1", &["a@local.test"]).await;
    fixture.store.put_accounts(vec![quota(None)]).await.unwrap();
    fixture.act(id, QueueAction::Hold).await.unwrap();
    fixture.clock.advance(100 * HOUR);
    fixture.store.maintain(local.clone()).await.unwrap();
    let looked = fixture.store.claim(MINUTE, 9, Vec::new(), local.clone(), Abilities::ALL).await;
    assert_eq!(looked, Ok(ClaimOutcome::NothingDue { next_due_at: None }));
    assert_eq!(fixture.listed("a@local.test").await, []);
    fixture.act(id, QueueAction::Release).await.unwrap();
    fixture.store.maintain(local).await.unwrap();
    assert_eq!(fixture.listed("a@local.test").await, [id]);
    assert_eq!(fixture.store.queued(id).await, Err(StoreError::NotQueued));
}

/// What an operator holds may wait for ever, and nobody need be told of that.
pub(crate) async fn what_is_on_hold_is_counted_by_itself(fixture: Fixture) {
    let waiting = async || fixture.store.backlog().await.map(|Backlog { oldest, held }| (oldest, held));
    assert_eq!(waiting().await, Ok((None, 0)));
    let first = fixture.send("1", &["x@far.test", "y@far.test", "a@local.test"]).await;
    let first_at = fixture.clock.now();
    fixture.clock.advance(HOUR);
    fixture.send("2", &["x@far.test"]).await;
    let second_at = fixture.clock.now();
    assert_eq!(waiting().await, Ok((Some(first_at), 0)));
    fixture.act(first, QueueAction::Hold).await.unwrap();
    assert_eq!(waiting().await, Ok((Some(second_at), 2)));
    fixture.act(first, QueueAction::Release).await.unwrap();
    assert_eq!(waiting().await, Ok((Some(first_at), 0)));
    fixture.act(first, QueueAction::Hold).await.unwrap();
    fixture.act(first, QueueAction::Remove).await.unwrap();
    assert_eq!(waiting().await, Ok((Some(second_at), 0)));
}

/// A message is removed or claimed, never both.
pub(crate) async fn claims_and_removals_exclude_each_other(fixture: Fixture) {
    let names: Vec<_> = (0..24).map(|number| number.to_string()).collect();
    let sent = join_all(names.iter().map(|name| fixture.send(name, &["x@far.test", "y@far.test"]))).await;
    let claim = async |_| match fixture.store.claim(MINUTE, 2, Vec::new(), nowhere(), Abilities::ALL).await.unwrap() {
        ClaimOutcome::Claimed(claim) => claim.messages,
        ClaimOutcome::NothingDue { .. } => Vec::new(),
    };
    let remove = async |id: MessageId| match fixture.act(id, QueueAction::Remove).await {
        Ok(2) => Some(id),
        Err(StoreError::MessageClaimed) => None,
        other => panic!("{other:?}"),
    };
    let (claims, removed) =
        tokio::join!(join_all((0..8).map(claim)), join_all(sent.iter().rev().map(|id| remove(*id))));
    let claimed: BTreeSet<_> = claims.iter().flatten().map(|message| message.id).collect();
    let removed: BTreeSet<_> = removed.into_iter().flatten().collect();
    assert!(claimed.is_disjoint(&removed), "{claimed:?} {removed:?}");
    let waiting: BTreeSet<_> =
        fixture.store.queue(None, 100).await.unwrap().entries.iter().map(|entry| entry.message).collect();
    assert!(waiting.is_superset(&claimed) && waiting.is_disjoint(&removed));
    assert_eq!(waiting.len() + removed.len(), sent.len());
}
