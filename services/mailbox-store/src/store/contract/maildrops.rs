//! Accounts, and sessions on their maildrops.

use super::*;
use std::collections::BTreeSet;

/// Accounts are added and updated, never removed. A hash that is not given stays.
pub(crate) async fn accounts_are_added_and_updated(fixture: Fixture) {
    let id = fixture.send("t", &["a@local.test"]).await;
    let (a, b, c) = (mailbox("a@local.test"), mailbox("b@local.test"), mailbox("c@local.test"));
    let hash = |text: &str| Ok(Some(text.to_owned()));
    let without_hash = |address: &Mailbox| Account {
        address: address.clone(),
        password_hash: None,
        quota: Quota { messages: Some(7), octets: None },
    };
    assert_eq!(fixture.store.put_accounts(vec![without_hash(&b), without_hash(&c)]).await, Ok(1));
    assert_eq!(fixture.listed("a@local.test").await, [id]);
    assert_eq!(fixture.store.password_hash(&a).await, hash("hash of a@local.test"));
    assert_eq!(fixture.store.password_hash(&b).await, hash("hash of b@local.test"));
    assert_eq!(fixture.store.mailbox(&b).await.unwrap().quota_messages, Some(7));
    assert_eq!(fixture.store.password_hash(&c).await, Ok(None));
    let hashes = fixture.store.password_hashes().await.unwrap();
    assert_eq!(hashes.keys().collect::<BTreeSet<_>>(), BTreeSet::from([&a, &b]));

    let anew = Account { password_hash: Some("new".to_owned()), ..account("a@local.test") };
    assert_eq!(fixture.store.put_accounts(vec![anew, account("b@local.test")]).await, Ok(1));
    assert_eq!(fixture.store.mailbox(&a).await.unwrap().messages, 1);
    assert_eq!(fixture.store.password_hash(&a).await, hash("new"));
    fixture.store.set_password_hash(&c, "newer".to_owned()).await.unwrap();
    assert_eq!(fixture.store.password_hash(&c).await, hash("newer"));
    let unknown = fixture.store.set_password_hash(&mailbox("x@local.test"), "x".to_owned()).await;
    assert_eq!(unknown, Err(StoreError::MailboxUnknown));
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
    let late = fixture.send("4", &["a@local.test"]).await;
    fixture.store.update_maildrop(&a, &session, vec![own, shared, shared, unknown]).await.unwrap();
    assert_eq!(fixture.listed("a@local.test").await, [kept, late]);
    assert_eq!(fixture.listed("b@local.test").await, [shared]);
    assert_eq!(fixture.raw(own).await, Err(StoreError::MessageUnknown));
    assert_eq!(fixture.raw(shared).await.unwrap(), b"Subject: x\r\n\r\nx\r\n");
    let summary = fixture.store.mailbox(&a).await.unwrap();
    let listed = fixture.open("a@local.test").await.unwrap().messages;
    assert_eq!((summary.messages, summary.octets), (2, listed.iter().map(|entry| entry.octets).sum()));
    assert_eq!(fixture.store.update_maildrop(&a, &session, vec![]).await, Err(StoreError::LeaseLost));
}
