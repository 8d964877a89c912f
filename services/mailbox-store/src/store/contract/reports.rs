//! Reports of successes (RFC 3461 §5.2): who has got a message waits in the queue until its sender is told.

use super::*;
use crate::store::QueueAction;
use internal_api::{EventKind, reports::DELIVERED};
use mail_proto::smtp::Recipient;
use town_config::Quota;

fn wanted(address: &str, notify: &str) -> Recipient {
    Recipient { mailbox: mailbox(address), original: None, notify: Some(notify.parse().unwrap()) }
}

impl Fixture {
    async fn send_wanted(&self, transaction: &str, recipients: Vec<Recipient>) -> MessageId {
        let submission = Submission { recipients, ..submission(transaction, &[]) };
        self.store.submit(submission, body(b"Subject: x\r\n\r\nx\r\n")).await.unwrap().id
    }

    /// Claims for a gateway of `local.test`.
    async fn claim_local(&self) -> Option<Claim> {
        let local = LocalMail { domains: vec!["local.test".parse().unwrap()], ..LocalMail::default() };
        match self.store.claim(MINUTE, 100, Vec::new(), local, Abilities::ALL).await.unwrap() {
            ClaimOutcome::Claimed(claim) => Some(claim),
            ClaimOutcome::NothingDue { .. } => None,
        }
    }

    /// Settles recipients of a claim together with the report of it.
    async fn report(&self, claim: &Claim, recipients: &[&str]) -> MessageId {
        let mut report = submission(&format!("report {}", claim.lease), &["b@local.test"]);
        report.reverse_path = "<>".parse().unwrap();
        let settlement = Settlement { failure_message: Some(report), ..finished(claim.messages[0].id, recipients) };
        self.store.settle(&claim.lease, settlement, body(b"Subject: told\r\n\r\n")).await.unwrap();
        *self.listed("b@local.test").await.last().unwrap()
    }
}

/// What each claimed recipient of the only message is said to be.
fn said(claim: &Claim) -> Vec<(String, Option<&str>)> {
    let [message] = &claim.messages[..] else { panic!("{claim:?}") };
    let recipients = message.recipients.iter();
    recipients.map(|recipient| (recipient.mailbox.to_string(), recipient.said_by_store.as_deref())).collect()
}

/// A delivery and what is owed to its sender are one, the report and its end as well. Nobody gets the message twice.
pub(crate) async fn a_delivery_waits_for_its_report(fixture: Fixture) {
    fixture.aliases(&[("list@local.test", &["a@local.test", "x@far.test"])]).await;
    let recipients = vec![wanted("a@local.test", "SUCCESS"), wanted("list@local.test", "SUCCESS,FAILURE")];
    let id = fixture.send_wanted("1", recipients).await;
    fixture.send_wanted("2", vec![wanted("a@local.test", "FAILURE"), wanted("b@local.test", "NEVER")]).await;
    assert_eq!(fixture.listed("a@local.test").await.len(), 2);
    let waiting = ["a@local.test 0 false", "list@local.test 0 false", "x@far.test 0 false"];
    assert_eq!(fixture.queued().await, waiting);

    // Wherever its domain is by now, it is not to be relayed.
    let mut claims = [fixture.claim().await.unwrap(), fixture.claim().await.unwrap()];
    claims.sort_by(|one, other| one.domain.as_str().cmp(other.domain.as_str()));
    assert_eq!(said(&claims[0]), [("x@far.test".to_owned(), None)]);
    let owed = |address: &str, said| (address.to_owned(), Some(said));
    let expanded = "251 2.1.5 <list@local.test>: expanded";
    assert_eq!(said(&claims[1]), [owed("a@local.test", DELIVERED), owed("list@local.test", expanded)]);

    // Neither a gateway that puts it off nor one that dies changes what is owed.
    let put_off = deferred(id, "a@local.test", 0, "451 4.3.0 not now");
    fixture.store.settle(&claims[1].lease, put_off, body(b"")).await.unwrap();
    fixture.clock.advance(2 * MINUTE);
    let again = loop {
        let claim = fixture.claim_local().await.unwrap();
        if claim.domain.as_str() == "local.test" {
            break claim;
        }
    };
    assert_eq!(said(&again), said(&claims[1]));
    let report = fixture.report(&again, &["a@local.test", "list@local.test"]).await;
    assert!(fixture.queued().await.iter().all(|line| line.starts_with("x@far.test")));
    assert_eq!(fixture.listed("a@local.test").await.len(), 2);
    let told = fixture.store.message_events(id).await.unwrap();
    assert_eq!(told.last().unwrap().kind, EventKind::Reported { as_message: report });

    // The message goes with the last that holds it.
    fixture.delete("a@local.test", &[id]).await;
    fixture.raw(id).await.unwrap();
    fixture.clock.advance(2 * MINUTE);
    let claim = fixture.claim().await.unwrap();
    fixture.store.settle(&claim.lease, finished(id, &["x@far.test"]), body(b"")).await.unwrap();
    assert_eq!(fixture.raw(id).await, Err(StoreError::MessageUnknown));
}

/// The same for a mailbox that had no room at first.
pub(crate) async fn a_late_delivery_waits_for_its_report(fixture: Fixture) {
    let small =
        |messages| Account { quota: Quota { messages: Some(messages), octets: None }, ..account("a@local.test") };
    fixture.store.put_accounts(vec![small(0)]).await.unwrap();
    fixture.store.put_accounts(vec![small(1)]).await.unwrap();
    let first = fixture.send("1", &["a@local.test"]).await;
    let id = fixture.send_wanted("2", vec![wanted("a@local.test", "SUCCESS")]).await;
    assert_eq!(fixture.claim_local().await, None, "the mailbox is full");
    fixture.delete("a@local.test", &[first]).await;
    fixture.clock.advance(MINUTE);
    let mut looks = 0;
    let claim = loop {
        looks += 1;
        assert!(looks < 10, "it is to be reported at once");
        if let Some(claim) = fixture.claim_local().await {
            break claim;
        }
    };
    assert_eq!(fixture.listed("a@local.test").await, [id]);
    assert_eq!(said(&claim), [("a@local.test".to_owned(), Some(DELIVERED))]);
    fixture.report(&claim, &["a@local.test"]).await;
    assert_eq!(fixture.queued().await, Vec::<String>::new());
    fixture.raw(id).await.unwrap();
    fixture.delete("a@local.test", &[id]).await;
    assert_eq!(fixture.raw(id).await, Err(StoreError::MessageUnknown));
}

/// The store remembers that a delay was told: in the change that submits the report, and as long as the recipient waits.
pub(crate) async fn a_delay_is_told_once(fixture: Fixture) {
    let id = fixture.send("1", &["x@far.test", "y@far.test"]).await;
    let told = |claim: &Claim| -> Vec<_> {
        claim.messages[0].recipients.iter().map(|recipient| recipient.delay_told).collect()
    };
    let claim = fixture.claim().await.unwrap();
    assert_eq!(told(&claim), [Some(false), Some(false)]);
    let mut report = submission("report", &["b@local.test"]);
    report.reverse_path = "<>".parse().unwrap();
    let put_off = |recipient: &str, delay_told| {
        let outcome =
            Outcome::Deferred { retry_after_seconds: 0, reply: "451 later".to_owned(), untried: false, delay_told };
        RecipientOutcome { recipient: mailbox(recipient), outcome }
    };
    let outcomes = vec![put_off("x@far.test", true), put_off("y@far.test", false)];
    let settlement = Settlement { message: id, outcomes, failure_message: Some(report) };
    fixture.store.settle(&claim.lease, settlement, body(b"Subject: late\r\n\r\n")).await.unwrap();
    let [report] = fixture.listed("b@local.test").await[..] else { panic!("there is one report") };
    let events = fixture.store.message_events(id).await.unwrap();
    assert_eq!(events.last().unwrap().kind, EventKind::Reported { as_message: report });

    let claim = fixture.claim().await.unwrap();
    assert_eq!(told(&claim), [Some(true), Some(false)]);
    fixture.store.settle(&claim.lease, deferred(id, "x@far.test", 0, "451 later"), body(b"")).await.unwrap();
    let claim = fixture.claim().await.unwrap();
    assert_eq!(told(&claim), [Some(true)]);
}

/// An operator who gives a message up does not change what a maildrop has got.
pub(crate) async fn a_delivery_cannot_be_given_up(fixture: Fixture) {
    let id = fixture.send_wanted("1", vec![wanted("a@local.test", "SUCCESS")]).await;
    assert_eq!(fixture.store.act(id, QueueAction::GiveUp).await, Ok(1));
    let claim = fixture.claim_local().await.unwrap();
    assert_eq!(said(&claim), [("a@local.test".to_owned(), Some(DELIVERED))]);
}
