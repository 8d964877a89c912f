//! Quotas and retention.

use super::*;
use crate::store::{Alias, AliasName, Newcomers, QueueAction, Upcoming};
use std::path::Path;
use town_config::{Config, Relay};

fn limited(address: &str, messages: Option<u64>, octets: Option<u64>) -> Account {
    Account { quota: Quota { messages, octets }, ..account(address) }
}

fn deliver_here(message: MessageId, recipient: &str) -> Settlement {
    let outcome = Outcome::DeliverHere { retry_after_seconds: 60, reply: "452 4.2.2 still full".to_owned() };
    let outcomes = vec![RecipientOutcome { recipient: mailbox(recipient), outcome }];
    Settlement { message, outcomes, failure_message: None }
}

/// A full mailbox takes nothing more; what came meanwhile waits in the queue, and is delivered once there is room.
pub(crate) async fn a_full_mailbox_keeps_its_mail_waiting(fixture: Fixture) {
    let (a, b) = (mailbox("a@local.test"), mailbox("b@local.test"));
    let accounts = |messages, octets| vec![limited("a@local.test", messages, octets), account("b@local.test")];
    fixture.store.put_accounts(accounts(Some(2), None)).await.unwrap();
    let first = fixture.send("1", &["a@local.test"]).await;
    let second = fixture.send("2", &["a@local.test"]).await;
    let third = fixture.send("3", &["a@local.test", "b@local.test"]).await;
    assert_eq!(fixture.listed("a@local.test").await, [first, second]);
    assert_eq!(fixture.listed("b@local.test").await, [third]);
    let summary = fixture.store.mailbox(&a).await.unwrap();
    assert_eq!((summary.messages, summary.quota_messages, summary.quota_octets), (2, Some(2), None));
    let unlimited = fixture.store.mailbox(&b).await.unwrap();
    assert_eq!((unlimited.quota_messages, unlimited.quota_octets), (None, None));
    assert_eq!(fixture.store.mailboxes("", 9).await.unwrap().mailboxes, [summary, unlimited]);
    let queue = fixture.store.queue(None, 9).await.unwrap().entries;
    assert_eq!(queue.iter().map(|entry| entry.last_reply.as_str()).collect::<Vec<_>>(), ["452 4.2.2 mailbox full"]);

    // Still no room.
    let claim = fixture.claim().await.unwrap();
    assert_eq!((claim.domain.as_str(), claim.messages[0].id), ("local.test", third));
    fixture.store.settle(&claim.lease, deliver_here(third, "a@local.test"), body(b"")).await.unwrap();
    assert_eq!(fixture.queued().await, ["a@local.test 1 false"]);
    assert_eq!(fixture.store.queue(None, 9).await.unwrap().entries[0].last_reply, "452 4.2.2 still full");
    assert_eq!(fixture.claim().await, None);

    fixture.delete("a@local.test", &[first]).await;
    fixture.clock.advance(MINUTE);
    let claim = fixture.claim().await.unwrap();
    let stranger = fixture.store.settle("not the lease", deliver_here(third, "a@local.test"), body(b"")).await;
    assert_eq!(stranger, Err(StoreError::LeaseLost));
    // Nobody gets it twice, be it one who has it already or one who is named twice.
    let mut twice = deliver_here(third, "a@local.test");
    twice.outcomes.push(twice.outcomes[0].clone());
    for settlement in [deliver_here(third, "b@local.test"), twice] {
        assert_eq!(fixture.store.settle(&claim.lease, settlement, body(b"")).await, Err(StoreError::LeaseLost));
    }
    assert_eq!(fixture.listed("a@local.test").await, [second]);
    fixture.store.settle(&claim.lease, deliver_here(third, "a@local.test"), body(b"")).await.unwrap();
    assert_eq!(fixture.queued().await, Vec::<String>::new());
    assert_eq!(fixture.listed("a@local.test").await, [second, third]);
    assert_eq!(fixture.delivered("a@local.test", third).await.unwrap(), b"Subject: x\r\n\r\nx\r\n");

    // Octets are limited like messages, and a limit that is gone limits nothing.
    fixture.store.put_accounts(accounts(None, Some(3 * 17 - 1))).await.unwrap();
    let fourth = fixture.send("4", &["a@local.test"]).await;
    assert_eq!(fixture.listed("a@local.test").await, [second, third]);
    fixture.store.put_accounts(accounts(None, None)).await.unwrap();
    let fifth = fixture.send("5", &["a@local.test"]).await;
    assert_eq!(fixture.listed("a@local.test").await, [second, third, fifth]);
    let claim = fixture.claim().await.unwrap();
    fixture.store.settle(&claim.lease, deliver_here(fourth, "a@local.test"), body(b"")).await.unwrap();
    assert_eq!(fixture.listed("a@local.test").await, [second, third, fourth, fifth]);
    let summary = fixture.store.mailbox(&a).await.unwrap();
    assert_eq!((summary.messages, summary.octets), (4, 4 * 17));
}

/// The store itself delivers what waits for room here. Only what failed is claimed, with the reason.
pub(crate) async fn local_mail_is_delivered_once_there_is_room(fixture: Fixture) {
    let relay = Relay { retry: vec![MINUTE], expiry: 2 * HOUR, ..Relay::default() };
    let local = LocalMail { domains: vec!["local.test".parse().unwrap()], relay, ..LocalMail::default() };
    let look = async || fixture.store.claim(MINUTE, 100, Vec::new(), local.clone(), Abilities::ALL).await.unwrap();
    // Whether there was anything to settle.
    let settles = async || {
        let now = fixture.clock.now();
        matches!(look().await, ClaimOutcome::NothingDue { next_due_at } if next_due_at == Some(now))
    };
    let reasons = async || match look().await {
        ClaimOutcome::Claimed(claim) => {
            let recipients = claim.messages.iter().flat_map(|message| &message.recipients);
            recipients.map(|recipient| recipient.said_by_store.clone().unwrap_or_default()).collect()
        }
        ClaimOutcome::NothingDue { .. } => Vec::new(),
    };
    let quota = |messages, octets| vec![limited("a@local.test", messages, octets), account("b@local.test")];
    fixture.store.put_accounts(quota(Some(1), None)).await.unwrap();
    let first = fixture.send("1", &["a@local.test"]).await;
    let second = fixture.send("2", &["a@local.test", "b@local.test"]).await;
    let full = "452 4.2.2 <a@local.test>: mailbox full, try again later";

    assert!(settles().await);
    assert_eq!(fixture.queued().await, ["a@local.test 1 false"]);
    assert_eq!(fixture.store.queue(None, 9).await.unwrap().entries[0].last_reply, full);
    fixture.delete("a@local.test", &[first]).await;
    assert!(!settles().await, "not due yet");
    fixture.clock.advance(MINUTE);
    assert!(settles().await);
    assert_eq!(fixture.queued().await, Vec::<String>::new());
    assert_eq!(fixture.listed("a@local.test").await, [second]);
    assert_eq!(fixture.listed("b@local.test").await, [second]);
    assert_eq!(fixture.delivered("a@local.test", second).await.unwrap(), b"Subject: x\r\n\r\nx\r\n");

    // What waits too long, what never fits and what has no mailbox is for the gateway to report.
    let third = fixture.send("3", &["a@local.test", "nobody@local.test"]).await;
    assert_eq!(reasons().await, ["550 5.1.1 <nobody@local.test>: no such mailbox here"]);
    assert_eq!(fixture.queued().await, ["a@local.test 1 false", "nobody@local.test 1 true"]);
    fixture.clock.advance(2 * HOUR);
    assert_eq!(reasons().await, [full, "550 5.1.1 <nobody@local.test>: no such mailbox here"]);
    assert_eq!(fixture.raw(third).await.unwrap(), b"Subject: x\r\n\r\nx\r\n");
    fixture.store.put_accounts(quota(None, Some(16))).await.unwrap();
    fixture.send("4", &["a@local.test"]).await;
    let never = "552 5.2.2 <a@local.test>: a message of 17 octets is more than this mailbox may hold";
    assert_eq!(reasons().await, [never]);
}

/// Without any gateway, maintenance delivers what waits for room. What only a gateway can report stays in the queue.
pub(crate) async fn maintenance_delivers_local_mail(fixture: Fixture) {
    let relay = Relay { retry: vec![MINUTE], ..Relay::default() };
    let local = LocalMail { domains: vec!["local.test".parse().unwrap()], relay, ..LocalMail::default() };
    let maintain = async || fixture.store.maintain(local.clone()).await.unwrap();
    let quota = vec![limited("a@local.test", Some(1), None), account("b@local.test")];
    fixture.store.put_accounts(quota).await.unwrap();
    let first = fixture.send("1", &["a@local.test"]).await;
    let second = fixture.send("2", &["a@local.test", "nobody@local.test", "x@far.test"]).await;

    maintain().await;
    let waiting = ["a@local.test 1 false", "nobody@local.test 0 false", "x@far.test 0 false"];
    assert_eq!(fixture.queued().await, waiting);
    let full = "452 4.2.2 <a@local.test>: mailbox full, try again later";
    assert_eq!(fixture.store.queue(None, 9).await.unwrap().entries[0].last_reply, full);
    fixture.delete("a@local.test", &[first]).await;
    maintain().await;
    assert_eq!(fixture.queued().await, waiting, "not due yet");
    fixture.clock.advance(MINUTE);
    maintain().await;
    assert_eq!(fixture.listed("a@local.test").await, [second]);
    assert_eq!(fixture.queued().await, waiting[1..]);

    // A gateway gets the rest after a second at most.
    fixture.clock.advance(SECOND);
    let mut domains = [fixture.claim().await.unwrap().domain, fixture.claim().await.unwrap().domain];
    domains.sort();
    assert_eq!(domains.map(|domain| domain.to_string()), ["far.test", "local.test"]);
    assert_eq!(fixture.queued().await, ["nobody@local.test 1 true", "x@far.test 1 true"]);

    // No single change looks at a long queue.
    fixture.store.put_accounts(vec![limited("b@local.test", Some(0), None)]).await.unwrap();
    for n in 0..=100 {
        fixture.send(&format!("many {n}"), &["b@local.test"]).await;
    }
    fixture.store.put_accounts(vec![account("b@local.test")]).await.unwrap();
    maintain().await;
    assert_eq!(fixture.listed("b@local.test").await.len(), 101);
}

/// A server that takes every domain, and gives everybody a mailbox.
fn whoever() -> LocalMail {
    let text = "accept = \"any\"\nprofile = \"rfc\"\n[server.\"a.test\"]\nsmtp = 1\npop = 2\ndomains = [\"*\"]\n";
    let config = Config::parse(text, Path::new("config.toml")).unwrap();
    let stack = Arc::new(config.stack("a.test").unwrap().clone());
    let password = StoredPassword { hash: "hash of all".to_owned(), verifier: None };
    LocalMail::of(&stack, Some(Newcomers { stack: Arc::clone(&stack), password }))
}

/// Mail that came before its recipients could have mailboxes. Two spellings of one mailbox get one message.
pub(crate) async fn mail_that_waits_makes_mailboxes(fixture: Fixture) {
    let local = whoever();
    let first = fixture.send("1", &["X+tag@far.test", "x@far.test", "all@far.test"]).await;
    let targets = vec![mailbox("a@local.test")];
    let name = AliasName::Address(mailbox("all@far.test"));
    fixture.store.put_aliases(vec![Alias { name, targets }]).await.unwrap();
    let ClaimOutcome::Claimed(claim) =
        fixture.store.claim(MINUTE, 9, Vec::new(), local.clone(), Abilities::ALL).await.unwrap()
    else {
        panic!("an alias gets no mailbox");
    };
    let [left] = &claim.messages[0].recipients[..] else { panic!("{claim:?}") };
    assert_eq!(left.said_by_store.as_deref(), Some("550 5.1.1 <all@far.test>: no such mailbox here"));
    let end = finished(first, &["all@far.test"]);
    fixture.store.settle(&claim.lease, end, body(b"")).await.unwrap();
    assert_eq!(fixture.queued().await, Vec::<String>::new());
    assert_eq!(fixture.listed("X@far.test").await, [first]);
    let summary = fixture.store.mailbox(&mailbox("X@far.test")).await.unwrap();
    assert_eq!((summary.messages, summary.octets), (1, 17));
    assert_eq!(fixture.store.password(&summary.address).await.unwrap().unwrap().hash, "hash of all");
    fixture.delete("X@far.test", &[first]).await;
    while fixture.store.sweep().await.unwrap() {}
    assert_eq!(fixture.raw(first).await, Err(StoreError::MessageUnknown), "the last one takes the message along");

    // Without any gateway, and in each domain.
    let second = fixture.send("2", &["y@far.test", "z@other.test"]).await;
    fixture.store.maintain(local).await.unwrap();
    assert_eq!(fixture.listed("y@far.test").await, [second]);
    assert_eq!(fixture.listed("z@other.test").await, [second]);
    assert_eq!(fixture.queued().await, Vec::<String>::new());
}

/// Whichever way it is made or changed, and although it was asked for in vain before.
pub(crate) async fn an_account_is_known_as_soon_as_it_is_there(fixture: Fixture) {
    let store = &fixture.store;
    store.set_address_rules(AddressRules { ignores_case: true, delimiter: None });
    let known = async |name: &str| {
        let (account, password) = (store.account(&mailbox(name)).await, store.password(&mailbox(name)).await);
        (account.unwrap().map(|account| account.to_string()), password.unwrap().map(|password| password.hash))
    };
    let unknown = (None, None);
    let here = |name: &str, hash: &str| (Some(name.to_owned()), Some(hash.to_owned()));
    let new = |name: &str| Account { password_hash: None, ..account(name) };
    let password = |hash: &str| StoredPassword { hash: hash.to_owned(), verifier: None };

    assert_eq!(known("put@far.test").await, unknown);
    store.put_accounts(vec![new("put@far.test")]).await.unwrap();
    assert_eq!(known("put@far.test").await, (Some("put@far.test".to_owned()), None));
    store.set_password(&mailbox("put@far.test"), password("1")).await.unwrap();
    assert_eq!(known("put@far.test").await, here("put@far.test", "1"));

    assert_eq!(known("added@far.test").await, unknown);
    store.add_account(new("added@far.test"), password("2")).await.unwrap();
    assert_eq!(known("added@far.test").await, here("added@far.test", "2"));

    assert_eq!(known("admitted@far.test").await, unknown);
    store.admit_accounts(vec![new("admitted@far.test")], password("3")).await.unwrap();
    assert_eq!(known("admitted@far.test").await, here("admitted@far.test", "3"));

    assert_eq!(known("claimed@far.test").await, unknown);
    fixture.send("1", &["claimed@far.test"]).await;
    drop(store.claim(MINUTE, 9, Vec::new(), whoever(), Abilities::ALL).await.unwrap());
    assert_eq!(known("claimed@far.test").await, here("claimed@far.test", "hash of all"));

    assert_eq!(known("waited@far.test").await, unknown);
    fixture.send("2", &["waited@far.test"]).await;
    store.maintain(whoever()).await.unwrap();
    assert_eq!(known("waited@far.test").await, here("waited@far.test", "hash of all"));

    assert_eq!(store.remove_empty_account(&mailbox("added@far.test")).await, Ok(true));
    assert_eq!(known("added@far.test").await, unknown);
}

/// A gateway may know of a domain before the store does.
pub(crate) async fn mail_for_nobody_is_not_for_a_full_mailbox(fixture: Fixture) {
    let message = fixture.send("1", &["x@far.test"]).await;
    let claim = fixture.claim().await.unwrap();
    fixture.store.settle(&claim.lease, deliver_here(message, "x@far.test"), body(b"")).await.unwrap();
    assert_eq!(fixture.queued().await, ["x@far.test 1 false"]);
    let entry = fixture.store.queue(None, 9).await.unwrap().entries.remove(0);
    assert_eq!(entry.last_reply, "450 4.1.1 <x@far.test>: no mailbox here now");
}

/// Such a gateway may spell a recipient as the sender does, and not as the account is spelled here.
pub(crate) async fn what_a_gateway_delivers_here_finds_the_account_by_the_rules(fixture: Fixture) {
    let id = fixture.send("1", &["X+tag@far.test"]).await;
    fixture.store.put_accounts(vec![account("x@far.test")]).await.unwrap();
    let settle = async || {
        let claim = fixture.claim().await.unwrap();
        fixture.store.settle(&claim.lease, deliver_here(id, "X+tag@far.test"), body(b"")).await.unwrap();
    };
    settle().await;
    assert_eq!(fixture.queued().await, ["X+tag@far.test 1 false"], "by the strictest rules it is somebody else");
    fixture.clock.advance(MINUTE);
    fixture.store.set_address_rules(whoever().rules);
    settle().await;
    assert_eq!(fixture.queued().await, Vec::<String>::new());
    assert_eq!(fixture.listed("x@far.test").await, [id]);
}

/// Maildrops lose what is old. The queue does not, and neither do others who have the message.
pub(crate) async fn old_mail_expires(fixture: Fixture) {
    let old = fixture.send("old", &["a@local.test"]).await;
    let queued = fixture.send("queued", &["a@local.test", "x@far.test"]).await;
    fixture.clock.advance(2 * HOUR);
    let new = fixture.send("new", &["a@local.test"]).await;
    fixture.store.expire(3 * HOUR).await.unwrap();
    assert_eq!(fixture.listed("a@local.test").await, [old, queued, new]);
    fixture.store.expire(HOUR).await.unwrap();
    assert_eq!(fixture.listed("a@local.test").await, [new]);
    assert_eq!(fixture.raw(old).await, Err(StoreError::MessageUnknown));
    assert_eq!(fixture.raw(queued).await.unwrap(), b"Subject: x\r\n\r\nx\r\n");
    let summary = fixture.store.mailbox(&mailbox("a@local.test")).await.unwrap();
    assert_eq!((summary.messages, summary.octets), (1, 17));
}

/// What a virtual clock goes to next.
pub(crate) async fn what_is_ahead_is_known(fixture: Fixture) {
    let start = fixture.clock.now();
    let upcoming = async || fixture.store.upcoming().await.unwrap();
    let nothing = Upcoming { queue: None, oldest_delivered: None };
    assert_eq!((upcoming().await, fixture.store.newest_event_at().await.unwrap()), (nothing, None));
    let first = fixture.send("1", &["a@local.test", "x@far.test"]).await;
    fixture.clock.advance(MINUTE);
    fixture.send("2", &["a@local.test"]).await;
    assert_eq!(fixture.store.newest_event_at().await.unwrap(), Some(start + MINUTE));
    assert_eq!(upcoming().await, Upcoming { queue: Some(start), oldest_delivered: Some(start) });

    let claim = fixture.claim().await.unwrap();
    assert_eq!(upcoming().await.queue, Some(start + 2 * MINUTE), "the end of the lease");
    fixture.store.settle(&claim.lease, deferred(first, "x@far.test", 3600, "450 later"), body(b"")).await.unwrap();
    assert_eq!(upcoming().await.queue, Some(start + MINUTE + HOUR));
    fixture.store.act(first, QueueAction::Hold).await.unwrap();
    assert_eq!(upcoming().await.queue, None, "nothing happens to what is on hold");
    fixture.delete("a@local.test", &[first]).await;
    while fixture.store.sweep().await.unwrap() {}
    assert_eq!(upcoming().await.oldest_delivered, Some(start + MINUTE));
}
