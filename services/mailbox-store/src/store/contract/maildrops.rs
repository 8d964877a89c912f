//! Accounts, and sessions on their maildrops.

use super::*;
use std::collections::BTreeSet;

/// Accounts are added and updated, never removed. A hash that is not given stays.
pub(crate) async fn accounts_are_added_and_updated(fixture: Fixture) {
    let id = fixture.send("t", &["a@local.test"]).await;
    let (a, b, c) = (mailbox("a@local.test"), mailbox("b@local.test"), mailbox("c@local.test"));
    let hashed = |text: &str| Ok(Some(StoredPassword { hash: text.to_owned(), verifier: None }));
    let without_hash = |address: &Mailbox| Account {
        address: address.clone(),
        password_hash: None,
        quota: Quota { messages: Some(7), octets: None },
    };
    assert_eq!(fixture.store.put_accounts(vec![without_hash(&b), without_hash(&c)]).await, Ok(1));
    assert_eq!(fixture.listed("a@local.test").await, [id]);
    assert_eq!(fixture.store.password(&a).await, hashed("hash of a@local.test"));
    assert_eq!(fixture.store.password(&b).await, hashed("hash of b@local.test"));
    assert_eq!(fixture.store.mailbox(&b).await.unwrap().quota_messages, Some(7));
    assert_eq!(fixture.store.password(&c).await, Ok(None));
    let passwords = fixture.store.passwords().await.unwrap();
    assert_eq!(passwords.keys().collect::<BTreeSet<_>>(), BTreeSet::from([&a, &b]));

    let anew = Account { password_hash: Some("new".to_owned()), ..account("a@local.test") };
    assert_eq!(fixture.store.put_accounts(vec![anew, account("b@local.test")]).await, Ok(1));
    assert_eq!(fixture.store.mailbox(&a).await.unwrap().messages, 1);
    assert_eq!(fixture.store.password(&a).await, hashed("new"));
    let newer = StoredPassword { hash: "newer".to_owned(), verifier: None };
    fixture.store.set_password(&c, newer.clone()).await.unwrap();
    assert_eq!(fixture.store.password(&c).await, hashed("newer"));
    let unknown = fixture.store.set_password(&mailbox("x@local.test"), newer).await;
    assert_eq!(unknown, Err(StoreError::MailboxUnknown));
}

/// A verifier stays as long as the hash does.
pub(crate) async fn a_verifier_goes_with_its_hash(fixture: Fixture) {
    let (a, b) = (mailbox("a@local.test"), mailbox("b@local.test"));
    let without = async || {
        let addresses = fixture.store.without_verifier(10).await.unwrap();
        addresses.iter().map(Mailbox::to_string).collect::<BTreeSet<_>>()
    };
    assert_eq!(without().await.len(), 2);
    assert_eq!(fixture.store.without_verifier(1).await.unwrap().len(), 1);
    let verifier = ScramVerifier::new("pass", vec![7; 16], 1).unwrap();
    let password = StoredPassword { hash: "hash of a@local.test".to_owned(), verifier: Some(verifier) };
    fixture.store.set_password(&a, password.clone()).await.unwrap();
    assert_eq!(fixture.store.password(&a).await, Ok(Some(password.clone())));
    assert_eq!(fixture.store.passwords().await.unwrap()[&a], password);
    assert_eq!(without().await, BTreeSet::from([b.to_string()]));
    // With the same hash, and with none.
    let quota = Quota { messages: Some(7), octets: None };
    for hash in [Some("hash of a@local.test".to_owned()), None] {
        let same = Account { password_hash: hash, quota, ..account("a@local.test") };
        fixture.store.put_accounts(vec![same]).await.unwrap();
        assert_eq!(fixture.store.password(&a).await, Ok(Some(password.clone())));
    }
    let other = Account { password_hash: Some("other".to_owned()), ..account("a@local.test") };
    fixture.store.put_accounts(vec![other]).await.unwrap();
    let expected = StoredPassword { hash: "other".to_owned(), verifier: None };
    assert_eq!(fixture.store.password(&a).await, Ok(Some(expected)));
    assert_eq!(without().await.len(), 2);
}

/// Whoever proposes first decides, for all stores.
pub(crate) async fn a_secret_is_made_once(fixture: Fixture) {
    assert_eq!(fixture.store.secret("one", "first".to_owned()).await.as_deref(), Ok("first"));
    assert_eq!(fixture.store.secret("one", "second".to_owned()).await.as_deref(), Ok("first"));
    assert_eq!(fixture.store.secret("two", "third".to_owned()).await.as_deref(), Ok("third"));
}

/// One session a maildrop; the lock lives as long as its lease, and trying to get it does not prolong it.
pub(crate) async fn a_maildrop_has_one_session(fixture: Fixture) {
    let a = mailbox("a@local.test");
    let first = fixture.open("a@local.test").await.unwrap().session;
    fixture.open("b@local.test").await.unwrap();
    fixture.clock.advance(30 * SECOND);
    assert_eq!(fixture.open("a@local.test").await, Err(StoreError::MaildropInUse));
    fixture.store.renew_maildrop(&a, &first, MINUTE).await.unwrap();
    fixture.clock.advance(59 * SECOND);
    assert_eq!(fixture.open("a@local.test").await, Err(StoreError::MaildropInUse));
    assert_eq!(fixture.store.renew_maildrop(&a, "another", MINUTE).await, Err(StoreError::LeaseLost));
    fixture.clock.advance(SECOND);
    assert_eq!(fixture.store.renew_maildrop(&a, &first, MINUTE).await, Err(StoreError::LeaseLost));
    let second = fixture.open("a@local.test").await.unwrap().session;
    assert_ne!(first, second);
    // The one who lost it cannot unlock it for others.
    fixture.store.close_maildrop(&a, &first).await.unwrap();
    assert_eq!(fixture.open("a@local.test").await, Err(StoreError::MaildropInUse));
    fixture.store.close_maildrop(&a, &second).await.unwrap();
    fixture.open("a@local.test").await.unwrap();
}

/// A caller that got no response opens again under the same name, or closes what may be open.
pub(crate) async fn a_session_opens_twice_under_its_name(fixture: Fixture) {
    let (a, id) = (mailbox("a@local.test"), fixture.send("t", &["a@local.test"]).await);
    let open = async |name: &str| fixture.open_named("a@local.test", name).await;
    let first = open("one").await.unwrap();
    fixture.clock.advance(59 * SECOND);
    let again = open("one").await.unwrap();
    assert_eq!((first.session.as_str(), &first), ("one", &again));
    fixture.clock.advance(59 * SECOND);
    assert_eq!(open("other").await, Err(StoreError::MaildropInUse));
    fixture.store.update_maildrop(&a, "one", vec![id]).await.unwrap();
    assert_eq!(open("other").await.unwrap().messages, []);
    fixture.store.close_maildrop(&a, "other").await.unwrap();
    open("one").await.unwrap();
}

/// An update deletes all or, once the lock is lost, nothing.
pub(crate) async fn an_update_is_all_or_nothing(fixture: Fixture) {
    let a = mailbox("a@local.test");
    let kept = fixture.send("1", &["a@local.test"]).await;
    let shared = fixture.send("2", &["a@local.test", "b@local.test"]).await;
    let own = fixture.send("3", &["a@local.test"]).await;
    let unknown = MessageId::from_number(u64::MAX);

    let lost = fixture.open("a@local.test").await.unwrap().session;
    fixture.clock.advance(MINUTE);
    let late = fixture.store.update_maildrop(&a, &lost, vec![own, shared]).await;
    assert_eq!(late, Err(StoreError::LeaseLost));
    assert_eq!(fixture.listed("a@local.test").await, [kept, shared, own]);

    let session = fixture.open("a@local.test").await.unwrap().session;
    let late_one = fixture.send("4", &["a@local.test"]).await;
    fixture.store.update_maildrop(&a, &session, vec![own, shared, shared, unknown]).await.unwrap();
    assert_eq!(fixture.listed("a@local.test").await, [kept, late_one]);
    assert_eq!(fixture.listed("b@local.test").await, [shared]);
    assert_eq!(fixture.raw(own).await, Err(StoreError::MessageUnknown));
    assert_eq!(fixture.raw(shared).await.unwrap(), b"Subject: x\r\n\r\nx\r\n");
    let summary = fixture.store.mailbox(&a).await.unwrap();
    let listed = fixture.open("a@local.test").await.unwrap().messages;
    assert_eq!((summary.messages, summary.octets), (2, listed.iter().map(|entry| entry.octets).sum()));
    let late = fixture.store.update_maildrop(&a, &session, vec![own, kept]).await;
    assert_eq!(late, Err(StoreError::LeaseLost));
    assert_eq!(fixture.store.mailbox(&a).await.unwrap().messages, 2);
}

/// A caller that got no response to an update repeats it, whoever has locked the maildrop since.
pub(crate) async fn an_update_can_be_repeated(fixture: Fixture) {
    const MANY: u64 = 600;
    let a = mailbox("a@local.test");
    let kept = fixture.send("kept", &["a@local.test"]).await;
    for count in [1, MANY] {
        let mut sent = Vec::new();
        for number in 0..count {
            sent.push(fixture.send(&format!("{number} of {count}"), &["a@local.test"]).await);
        }
        let session = fixture.open("a@local.test").await.unwrap().session;
        let update = async |delete: &[MessageId]| fixture.store.update_maildrop(&a, &session, delete.to_vec()).await;
        assert_eq!(update(&sent).await, Ok(()));
        assert_eq!(update(&sent).await, Ok(()));
        let other = fixture.open("a@local.test").await.unwrap().session;
        assert_eq!(update(&sent).await, Ok(()));
        assert_eq!(fixture.open("a@local.test").await, Err(StoreError::MaildropInUse));
        sent.push(kept);
        assert_eq!(update(&sent).await, Err(StoreError::LeaseLost));
        fixture.store.close_maildrop(&a, &other).await.unwrap();
        assert_eq!(fixture.listed("a@local.test").await, [kept]);
        assert_eq!(fixture.store.mailbox(&a).await.unwrap().messages, 1);
    }
}

/// Many entries are hidden at once and removed later. Until then nobody sees them, whoever looks, and nothing that comes
/// late goes with them.
pub(crate) async fn many_are_deleted_in_one_small_change(fixture: Fixture) {
    const MANY: u64 = 1200;
    let a = mailbox("a@local.test");
    let limited = Account { quota: Quota { messages: Some(MANY + 1), octets: None }, ..account("a@local.test") };
    fixture.store.put_accounts(vec![limited]).await.unwrap();
    let shared = fixture.send("shared", &["a@local.test", "b@local.test", "x@far.test"]).await;
    let mut sent = vec![shared];
    for number in 1..MANY {
        sent.push(fixture.send(&number.to_string(), &["a@local.test"]).await);
    }
    let fill = fixture.send("fill", &["a@local.test"]).await;
    let full = fixture.send("full", &["a@local.test"]).await;
    let kept = sent.remove(700);

    let mut changes = fixture.store.deletions();
    fixture.delete("a@local.test", &sent).await;
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let seen = async || {
        assert_eq!(fixture.listed("a@local.test").await, [kept, fill]);
        assert_eq!(fixture.listed("b@local.test").await, [shared]);
        let page = fixture.store.maildrop(&a, MessageId::from_number(0), 9).await.unwrap();
        assert_eq!(page.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [kept, fill]);
        let page = fixture.store.messages(MessageId::from_number(0), 9).await.unwrap();
        assert_eq!(page.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [shared, kept, fill, full]);
        assert_eq!(page.messages[0].mailboxes, [mailbox("b@local.test")]);
        assert_eq!(fixture.raw(sent[1]).await, Err(StoreError::MessageUnknown));
        assert_eq!(fixture.store.message(sent[1]).await, Err(StoreError::MessageUnknown));
        assert_eq!(fixture.delivered("a@local.test", sent[1]).await, Err(StoreError::MessageUnknown));
        assert_eq!(fixture.delivered("a@local.test", shared).await, Err(StoreError::MessageUnknown));
        assert_eq!(fixture.delivered("a@local.test", kept).await.unwrap().len(), 17);
        let summary = fixture.store.mailbox(&a).await.unwrap();
        assert_eq!((summary.messages, summary.octets), (2, 2 * 17));
    };
    seen().await;
    // What is hidden is counted once, whoever deletes it.
    fixture.delete("a@local.test", &sent[..10]).await;
    fixture.store.expire(HOUR).await.unwrap();
    seen().await;
    // A part is gone, and the rest still hidden.
    assert!(fixture.store.sweep().await.unwrap());
    seen().await;
    while fixture.store.sweep().await.unwrap() {}
    seen().await;
    assert!(!fixture.store.sweep().await.unwrap());
    assert!(!changes.has_changed().unwrap());
    fixture.delete("a@local.test", &[kept, fill]).await;
    assert_eq!(fixture.store.mailbox(&a).await.unwrap().messages, 0);
}

/// A message that waited for room comes into a maildrop late. It does not go with what was deleted around it.
pub(crate) async fn what_comes_late_is_not_deleted(fixture: Fixture) {
    let a = mailbox("a@local.test");
    let limited = |messages| Account { quota: Quota { messages, octets: None }, ..account("a@local.test") };
    fixture.store.put_accounts(vec![limited(Some(300))]).await.unwrap();
    for number in 0..300 {
        fixture.send(&number.to_string(), &["a@local.test"]).await;
    }
    let waited = fixture.send("waited", &["a@local.test"]).await;
    fixture.store.put_accounts(vec![limited(None)]).await.unwrap();
    for number in 301..600 {
        fixture.send(&number.to_string(), &["a@local.test"]).await;
    }
    let listed = fixture.listed("a@local.test").await;
    fixture.delete("a@local.test", &listed).await;
    let deliver_here = async || {
        let claim = fixture.claim().await.unwrap();
        let outcome = Outcome::DeliverHere { retry_after_seconds: 60, reply: "452 4.2.2 full".to_owned() };
        let outcomes = vec![RecipientOutcome { recipient: a.clone(), outcome }];
        let settlement = Settlement { message: waited, outcomes, failure_message: None };
        fixture.store.settle(&claim.lease, settlement, body(b"")).await.unwrap();
    };
    deliver_here().await;
    assert_eq!(fixture.listed("a@local.test").await, []);
    assert_eq!(fixture.queued().await, ["a@local.test 1 false"]);
    while fixture.store.sweep().await.unwrap() {}
    fixture.clock.advance(MINUTE);
    deliver_here().await;
    assert_eq!(fixture.listed("a@local.test").await, [waited]);
    assert_eq!(fixture.store.mailbox(&a).await.unwrap().messages, 1);
    assert_eq!(fixture.queued().await, Vec::<String>::new());
}

/// Several small messages come at once, in the order asked for, up to the first that does not.
pub(crate) async fn small_messages_are_read_together(fixture: Fixture) {
    let a = mailbox("a@local.test");
    let mut sent = Vec::new();
    for number in 0..4 {
        let octets = format!("Subject: {number}\r\n\r\n").into_bytes();
        sent.push(fixture.submit(&number.to_string(), &["a@local.test"], &octets).await.unwrap().id);
    }
    let large = fixture.submit("large", &["a@local.test"], &octets(INLINE_OCTETS as usize + 1)).await.unwrap().id;
    let elsewhere = fixture.send("elsewhere", &["b@local.test"]).await;
    let read = async |ids: &[MessageId]| {
        let found = fixture.store.delivered_inline(&a, ids.to_vec()).await.unwrap();
        for (id, octets) in &found {
            assert_eq!(fixture.delivered("a@local.test", *id).await.as_deref(), Ok(&**octets));
        }
        found.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(read(&[]).await, []);
    assert_eq!(read(&[sent[2], sent[0], sent[3]]).await, [sent[2], sent[0], sent[3]]);
    assert_eq!(read(&[sent[0], large, sent[1]]).await, [sent[0]]);
    assert_eq!(read(&[sent[1], elsewhere, sent[0]]).await, [sent[1]]);
    fixture.delete("a@local.test", &sent[1..2]).await;
    assert_eq!(read(&[sent[0], sent[1], sent[2]]).await, [sent[0]]);
}

/// Accounts that the configuration does not have.
pub(crate) async fn accounts_come_and_go(fixture: Fixture) {
    let (store, c) = (&fixture.store, mailbox("c@local.test"));
    let password = StoredPassword { hash: "hash".to_owned(), verifier: Some(ScramVerifier::of_nobody(b"s", "c")) };
    store.add_account(account("c@local.test"), password.clone()).await.unwrap();
    assert_eq!(store.password(&c).await, Ok(Some(password.clone())));
    for taken in ["a@local.test", "c@local.test"] {
        assert_eq!(
            store.add_account(account(taken), password.clone()).await,
            Err(StoreError::AccountExists),
            "{taken}"
        );
    }
    let locked = StoredPassword { hash: "!hash".to_owned(), verifier: None };
    store.set_password(&c, locked).await.unwrap();
    let without: Vec<_> = store.without_verifier(9).await.unwrap();
    assert_eq!(without, [mailbox("a@local.test"), mailbox("b@local.test")], "nobody logs in to a disabled account");
    let listed = async |after: &str| {
        let page = store.accounts(after, 2).await.unwrap();
        let line = |account: &AccountSummary| {
            format!("{} {:?} {} {}", account.address, account.source, account.enabled, account.messages)
        };
        (page.accounts.iter().map(line).collect::<Vec<_>>().join(", "), page.next_after)
    };
    let id = fixture.send("t", &["c@local.test"]).await;
    let first = ("a@local.test Left true 0, b@local.test Left true 0".to_owned(), Some("b@local.test".to_owned()));
    assert_eq!(listed("").await, first);
    assert_eq!(listed("b@local.test").await, ("c@local.test Api false 1".to_owned(), None));
    // Those of the API are no unnamed ones, until the configuration takes them over.
    assert_eq!(store.put_accounts(vec![account("a@local.test")]).await, Ok(1));
    assert_eq!(store.remove_empty_account(&c).await, Ok(false));
    fixture.delete("c@local.test", &[id]).await;
    assert_eq!(store.remove_empty_account(&c).await, Ok(true));
    assert_eq!(store.remove_empty_account(&c).await, Err(StoreError::MailboxUnknown));
    assert_eq!(store.password(&c).await, Ok(None));
    store.add_account(account("c@local.test"), password).await.unwrap();
    store.put_accounts(vec![account("c@local.test")]).await.unwrap();
    assert_eq!(listed("b@local.test").await, ("c@local.test Left true 0".to_owned(), None));
}

/// Those who get a mailbox with one message have it in one change, and each has one.
pub(crate) async fn newcomers_are_admitted_at_once(fixture: Fixture) {
    let store = &fixture.store;
    store.set_address_rules(AddressRules { ignores_case: true, delimiter: None });
    let password = StoredPassword { hash: "hash".to_owned(), verifier: None };
    let numbered = (0..1200).map(|number| format!("u{number}@local.test"));
    let names = ["A@local.test", "new@local.test", "New@local.test"].map(str::to_owned).into_iter().chain(numbered);
    let accounts: Vec<_> = names.map(|name| Account { password_hash: None, ..account(&name) }).collect();
    let admitted = store.admit_accounts(accounts.clone(), password.clone()).await.unwrap();
    assert_eq!(admitted.len(), 1201, "one of the two spellings, and not the one that is there");
    assert_eq!(store.admit_accounts(accounts, password.clone()).await, Ok(Vec::new()));
    assert_eq!(store.password(&mailbox("u1199@local.test")).await, Ok(Some(password)));
    assert_eq!(store.mailbox(&mailbox("A@local.test")).await, Err(StoreError::MailboxUnknown));
}

/// They were added while case did count.
pub(crate) async fn spellings_of_one_address_are_found(fixture: Fixture) {
    let store = &fixture.store;
    assert_eq!(store.alike(9).await, Ok(Vec::new()));
    let names = ["A@local.test", "c@local.test", "C@local.test", "other@local.test", "other@far.test"];
    store.put_accounts(names.map(account).to_vec()).await.unwrap();
    let pair = |one: &str, other: &str| (mailbox(one), mailbox(other));
    let expected = vec![pair("A@local.test", "a@local.test"), pair("C@local.test", "c@local.test")];
    assert_eq!(store.alike(9).await, Ok(expected.clone()));
    assert_eq!(store.alike(1).await, Ok(expected[..1].to_vec()));
    store.set_address_rules(AddressRules { ignores_case: true, delimiter: None });
    fixture.send("1", &["A@LOCAL.test", "c@local.test", "OTHER@local.test"]).await;
    for (name, messages) in names.into_iter().zip([1, 1, 0, 1, 0]) {
        assert_eq!(store.mailbox(&mailbox(name)).await.unwrap().messages, messages, "{name}");
    }
}
