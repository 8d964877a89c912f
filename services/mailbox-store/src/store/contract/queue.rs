//! Claims and settlements.

use super::*;
use mail_proto::smtp::MailParameters;

fn other_ends_at(fixture: &Fixture) -> Option<Timestamp> {
    Some(fixture.clock.now() + MINUTE)
}

/// A claim takes one domain's due messages, those first that have been due the longest, and counts the attempt.
pub(crate) async fn a_claim_takes_what_is_due(fixture: Fixture) {
    assert_eq!(
        fixture.store.claim(MINUTE, 9, Vec::new(), nowhere(), Abilities::ALL).await,
        Ok(ClaimOutcome::NothingDue { next_due_at: None })
    );
    let first = fixture.send("1", &["y@far.test", "x@far.test", "z@other.test", "a@local.test"]).await;
    fixture.clock.advance(SECOND);
    let second = fixture.send("2", &["x@far.test"]).await;
    let third = fixture.send("3", &["x@far.test"]).await;

    let ClaimOutcome::Claimed(claim) =
        fixture.store.claim(MINUTE, 2, Vec::new(), nowhere(), Abilities::ALL).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(claim.domain.as_str(), "far.test");
    let claimed: Vec<_> = claim.messages.iter().map(|message| message.id).collect();
    assert_eq!(claimed, [first, second]);
    let recipients: Vec<_> = claim.messages[0].recipients.iter().map(|r| (r.mailbox.to_string(), r.attempts)).collect();
    assert_eq!(recipients, [("x@far.test".to_owned(), 1), ("y@far.test".to_owned(), 1)]);
    assert_eq!(claim.messages[0].octets, 17);
    assert_eq!(claim.messages[0].reverse_path.to_string(), "<sender@local.test>");
    assert_eq!(claim.messages[1].queued_at, fixture.clock.now());

    // The rest can be claimed beside it, or except what the caller has enough of.
    let far = || vec!["far.test".parse().unwrap()];
    let ClaimOutcome::Claimed(other) = fixture.store.claim(MINUTE, 9, far(), nowhere(), Abilities::ALL).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(
        fixture.store.claim(MINUTE, 9, far(), nowhere(), Abilities::ALL).await,
        Ok(ClaimOutcome::NothingDue { next_due_at: other_ends_at(&fixture) })
    );
    assert_eq!((other.domain.as_str(), other.messages[0].id), ("other.test", first));
    let rest = fixture.claim().await.unwrap();
    assert_eq!((rest.domain.as_str(), rest.messages[0].id), ("far.test", third));
    assert_ne!(rest.lease, claim.lease);
    let ClaimOutcome::NothingDue { next_due_at } =
        fixture.store.claim(MINUTE, 9, Vec::new(), nowhere(), Abilities::ALL).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(next_due_at, Some(fixture.clock.now() + MINUTE));
    assert_eq!(
        fixture.queued().await,
        ["x@far.test 1 true", "y@far.test 1 true", "z@other.test 1 true", "x@far.test 1 true", "x@far.test 1 true"]
    );
}

/// What a dead worker had claimed is due again when its lease has run out; the worker has lost it then.
pub(crate) async fn a_claim_ends_with_its_lease(fixture: Fixture) {
    let id = fixture.send("1", &["x@far.test"]).await;
    let dead = fixture.claim().await.unwrap();
    fixture.clock.advance(59 * SECOND);
    fixture.store.renew_claim(&dead.lease, MINUTE).await.unwrap();
    fixture.clock.advance(59 * SECOND);
    assert_eq!(fixture.claim().await, None);
    fixture.clock.advance(SECOND);
    assert_eq!(fixture.queued().await, ["x@far.test 1 false"]);
    let heir = fixture.claim().await.unwrap();
    assert_eq!(heir.messages[0].recipients[0].attempts, 2);
    let late = fixture.store.settle(&dead.lease, finished(id, &["x@far.test"]), body(b"")).await;
    assert_eq!(late, Err(StoreError::LeaseLost));
    assert_eq!(fixture.store.renew_claim(&dead.lease, MINUTE).await, Err(StoreError::LeaseLost));
    // One that nobody took in time is still good: its worker may have just sent the message.
    fixture.clock.advance(2 * MINUTE);
    fixture.store.settle(&heir.lease, finished(id, &["x@far.test"]), body(b"")).await.unwrap();
    assert_eq!(fixture.queued().await, Vec::<String>::new());
    assert_eq!(fixture.raw(id).await, Err(StoreError::MessageUnknown));
    assert_eq!(fixture.store.renew_claim(&heir.lease, MINUTE).await, Err(StoreError::LeaseLost));
}

/// Deferred recipients come back in time, finished ones never, and a flush brings all back that are not claimed.
pub(crate) async fn a_settlement_defers_and_a_flush_hurries(fixture: Fixture) {
    let id = fixture.send("1", &["x@far.test", "y@far.test", "z@far.test"]).await;
    let claim = fixture.claim().await.unwrap();
    let said = "451 4.3.0 é ".repeat(1000);
    fixture.store.settle(&claim.lease, deferred(id, "x@far.test", 300, &said), body(b"")).await.unwrap();
    fixture.store.settle(&claim.lease, deferred(id, "y@far.test", u64::MAX, "later"), body(b"")).await.unwrap();
    assert_eq!(fixture.queued().await, ["x@far.test 1 false", "y@far.test 1 false", "z@far.test 1 true"]);
    let entries = fixture.store.queue(None, 10).await.unwrap().entries;
    assert_eq!(entries[0].last_reply, said.chars().take(1000).collect::<String>());
    assert_eq!(entries[0].next_attempt_at, fixture.clock.now() + 5 * MINUTE);

    assert_eq!(fixture.store.flush_queue().await.unwrap().entries, 2);
    assert_eq!(fixture.store.flush_queue().await.unwrap().entries, 0);
    let again = fixture.claim().await.unwrap();
    let recipients: Vec<_> = again.messages[0].recipients.iter().map(|r| (r.mailbox.to_string(), r.attempts)).collect();
    assert_eq!(recipients, [("x@far.test".to_owned(), 2), ("y@far.test".to_owned(), 2)]);
    fixture.store.settle(&again.lease, deferred(id, "x@far.test", 300, ""), body(b"")).await.unwrap();
    fixture.store.settle(&again.lease, finished(id, &["y@far.test"]), body(b"")).await.unwrap();
    fixture.store.settle(&claim.lease, finished(id, &["z@far.test"]), body(b"")).await.unwrap();
    fixture.clock.advance(299 * SECOND);
    assert_eq!(fixture.claim().await, None);
    fixture.clock.advance(SECOND);
    assert_eq!(fixture.claim().await.unwrap().messages[0].recipients[0].mailbox, mailbox("x@far.test"));
}

/// A recipient whom nobody has tried keeps its attempts and its last reply, unless the settlement brings a new reply.
/// A claim brings the message's age.
pub(crate) async fn a_settlement_takes_the_attempt_back(fixture: Fixture) {
    let id = fixture.send("1", &["x@far.test"]).await;
    let first = fixture.claim().await.unwrap();
    assert_eq!(first.messages[0].age_seconds, Some(0));
    fixture.store.settle(&first.lease, deferred(id, "x@far.test", 90, "450 later"), body(b"")).await.unwrap();
    fixture.clock.advance(90 * SECOND + SECOND / 2);
    for (settled, last_reply) in [("", "450 later"), ("451 not tried", "451 not tried"), ("", "451 not tried")] {
        let claim = fixture.claim().await.unwrap();
        let message = &claim.messages[0];
        assert_eq!((message.age_seconds, message.recipients[0].attempts), (Some(90), 2));
        fixture.store.settle(&claim.lease, untried(id, "x@far.test", settled), body(b"")).await.unwrap();
        assert_eq!(fixture.queued().await, ["x@far.test 1 false"]);
        assert_eq!(fixture.store.queue(None, 10).await.unwrap().entries[0].last_reply, last_reply);
    }
    // A settlement of a lost claim changes nothing.
    let lost = fixture.store.settle(&first.lease, untried(id, "x@far.test", "x"), body(b"")).await;
    assert_eq!(lost, Err(StoreError::LeaseLost));
    assert_eq!(fixture.queued().await, ["x@far.test 1 false"]);
}

/// A settlement and its failure message are one: both happen or neither.
pub(crate) async fn a_settlement_carries_its_failure_message(fixture: Fixture) {
    let id = fixture.send("1", &["x@far.test", "y@far.test"]).await;
    let claim = fixture.claim().await.unwrap();
    let mut bounce = submission("bounce", &["a@local.test"]);
    bounce.reverse_path = "<>".parse().unwrap();
    let settlement =
        |recipients: &[&str]| Settlement { failure_message: Some(bounce.clone()), ..finished(id, recipients) };

    let wrong = settlement(&["x@far.test", "stranger@far.test"]);
    let settled = fixture.store.settle(&claim.lease, wrong, body(b"failed\r\n")).await;
    assert_eq!(settled, Err(StoreError::LeaseLost));
    let twice = settlement(&["x@far.test", "x@far.test"]);
    assert_eq!(fixture.store.settle(&claim.lease, twice, body(b"failed\r\n")).await, Err(StoreError::LeaseLost));
    let bare = fixture.store.settle(&claim.lease, settlement(&["x@far.test"]), body(b"failed\n")).await;
    assert_eq!(bare, Err(StoreError::BareLineEnding));
    for (settlement, octets) in [(finished(id, &[]), &b""[..]), (finished(id, &["x@far.test"]), b"whose?\r\n")] {
        let settled = fixture.store.settle(&claim.lease, settlement, body(octets)).await;
        assert!(matches!(settled, Err(StoreError::Invalid(_))), "{settled:?}");
    }
    assert_eq!(fixture.queued().await, ["x@far.test 1 true", "y@far.test 1 true"]);
    assert_eq!(fixture.listed("a@local.test").await, []);

    fixture.store.settle(&claim.lease, settlement(&["x@far.test"]), body(b"failed\r\n")).await.unwrap();
    assert_eq!(fixture.queued().await, ["y@far.test 1 true"]);
    let [failure] = fixture.listed("a@local.test").await[..] else { panic!() };
    assert_eq!(fixture.raw(failure).await.unwrap(), b"failed\r\n");
    assert_eq!(fixture.store.message(failure).await.unwrap().reverse_path.to_string(), "<>");
}

/// Whoever waits for work learns of it.
pub(crate) async fn the_queue_tells_of_changes(fixture: Fixture) {
    let mut changes = fixture.store.queue_changes();
    fixture.send("1", &["a@local.test"]).await;
    assert!(!changes.has_changed().unwrap());
    let id = fixture.send("2", &["x@far.test"]).await;
    changes.changed().await.unwrap();
    let claim = fixture.claim().await.unwrap();
    fixture.store.settle(&claim.lease, deferred(id, "x@far.test", 300, ""), body(b"")).await.unwrap();
    fixture.store.flush_queue().await.unwrap();
    changes.changed().await.unwrap();
}

/// A flush takes many portions, and the whole queue.
pub(crate) async fn a_flush_goes_through_the_whole_queue(fixture: Fixture) {
    const RECIPIENTS: usize = 2500;
    let recipients: Vec<String> = (0..RECIPIENTS).map(|number| format!("{number}@far.test")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let id = fixture.send("1", &recipients).await;
    let claim = fixture.claim().await.unwrap();
    let later = Outcome::Deferred { retry_after_seconds: 300, reply: String::new(), untried: false, delay_told: false };
    let outcomes = recipients[1..]
        .iter()
        .map(|recipient| RecipientOutcome { recipient: mailbox(recipient), outcome: later.clone() });
    let settlement = Settlement { message: id, outcomes: outcomes.collect(), failure_message: None };
    fixture.store.settle(&claim.lease, settlement, body(b"")).await.unwrap();
    assert_eq!(fixture.claim().await, None);
    assert_eq!(fixture.store.flush_queue().await.unwrap().entries, RECIPIENTS as u64 - 1);
    assert_eq!(fixture.store.flush_queue().await.unwrap().entries, 0);
    let claim = fixture.claim().await.unwrap();
    assert_eq!(claim.messages[0].recipients.len(), RECIPIENTS - 1);
}

/// What a gateway of an earlier version cannot relay waits for one that can. Others of the domain go on.
pub(crate) async fn what_a_gateway_cannot_relay_is_withheld(fixture: Fixture) {
    let requiretls = MailParameters { requiretls: true, ..MailParameters::default() };
    let smtputf8 = MailParameters { smtputf8: true, ..MailParameters::default() };
    let abroad = "<s\u{f6}@far.test>";
    let envelopes = [
        ("<s@far.test>", "x@far.test", requiretls),
        ("<s@far.test>", "x@far.test", smtputf8),
        (abroad, "x@far.test", MailParameters::default()),
        ("<s@far.test>", "x\u{f6}@far.test", MailParameters::default()),
    ];
    let mut needy = Vec::new();
    for (number, (reverse_path, recipient, parameters)) in envelopes.into_iter().enumerate() {
        let reverse_path = reverse_path.parse().unwrap();
        let submission = Submission { reverse_path, parameters, ..submission(&number.to_string(), &[recipient]) };
        needy.push(fixture.store.submit(submission, body(b"\r\n")).await.unwrap().id);
        fixture.clock.advance(SECOND);
    }
    let plain = fixture.send("plain", &["x@far.test"]).await;
    let claim = async |abilities| match fixture.store.claim(MINUTE, 1, Vec::new(), nowhere(), abilities).await.unwrap()
    {
        ClaimOutcome::Claimed(claim) => Ok(claim.messages[0].id),
        ClaimOutcome::NothingDue { next_due_at } => Err(next_due_at),
    };
    assert_eq!(claim(Abilities::default()).await, Ok(plain));
    assert_eq!(claim(Abilities::default()).await, Err(Some(fixture.clock.now() + MINUTE)));
    for id in &needy {
        let told = fixture.store.message_events(*id).await.unwrap();
        assert_eq!(told.len(), 2, "accepted and queued: {told:?}");
    }
    let entries = fixture.store.queue(None, 9).await.unwrap().entries;
    let waiting = entries.iter().filter(|entry| entry.message != plain);
    assert!(waiting.clone().all(|entry| entry.attempts == 0 && !entry.leased), "{entries:?}");

    fixture.clock.advance(MINUTE);
    assert_eq!(claim(Abilities { requiretls: true, smtputf8: false }).await, Ok(needy[0]));
    let mut rest = Vec::new();
    for _ in 0..5 {
        rest.extend(claim(Abilities::ALL).await);
        fixture.clock.advance(MINUTE / 5);
    }
    rest.retain(|id| *id != plain);
    rest.sort_unstable();
    assert_eq!(rest, needy[1..]);
}
