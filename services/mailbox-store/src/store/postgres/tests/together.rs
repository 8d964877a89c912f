//! Several stores over one database.

use super::*;
use crate::store::contract::{MINUTE, SECOND, nowhere};
use futures_util::future::{join_all, try_join_all};
use internal_api::Claim;
use std::{collections::BTreeMap, time::Duration};

/// Runs these with databases that isolate transactions as PostgreSQL does by default, and as its kin does.
macro_rules! at_every_isolation {
    ($($test:ident),* $(,)?) => {
        mod read_committed {
            $(#[tokio::test]
            async fn $test() {
                if let Some(town) = super::Town::new().await {
                    super::$test(town).await;
                }
            })*
        }
        mod serializable {
            $(#[tokio::test]
            async fn $test() {
                if let Some(town) = super::Town::new().await {
                    town.serialize().await;
                    super::$test(town).await;
                }
            })*
        }
    };
}

at_every_isolation!(
    all_start_at_once_on_an_empty_database,
    no_message_is_claimed_twice,
    a_maildrop_has_one_session_everywhere,
    the_others_take_over_from_a_dead_store,
    a_submission_repeated_elsewhere_stores_nothing,
    a_message_goes_with_the_last_of_those_who_have_it,
    others_changes_are_noticed,
    no_id_is_given_twice,
);

/// Stores that start at the same moment on an empty database all start.
async fn all_start_at_once_on_an_empty_database(town: Town) {
    let stores = join_all((0..8).map(|_| PostgresStore::open(town.options()))).await;
    let stores: Vec<_> = stores.into_iter().map(Result::unwrap).collect();
    let accounts = || vec![account("a@local.test"), account("b@local.test")];
    try_join_all(stores.iter().map(|store| store.put_accounts(accounts()))).await.unwrap();
    try_join_all(stores.iter().map(Lifecycle::probe)).await.unwrap();
    assert_eq!(stores[3].passwords().await.unwrap().len(), 2);
    assert_eq!(town.number("SELECT COUNT(*) FROM properties").await, 2);
}

/// However many workers of however many stores claim: every recipient is claimed, once.
async fn no_message_is_claimed_twice(town: Town) {
    let fixtures = [town.fixture().await, town.fixture().await, town.fixture().await];
    let mut expected = BTreeMap::new();
    let submitting = (0..120).map(|n| {
        let recipients = [format!("x@d{}.test", n % 3), format!("y@d{}.test", n % 3), format!("z@d{}.test", n % 2)];
        let fixture = &fixtures[n % 3];
        async move {
            let recipients = recipients.each_ref().map(String::as_str);
            (fixture.send(&format!("{n}"), &recipients).await, recipients.map(str::to_owned))
        }
    });
    for (id, recipients) in join_all(submitting).await {
        expected.extend(recipients.into_iter().map(|recipient| ((id, recipient), 1_u32)));
    }
    let working = (0..12).map(|worker| {
        let fixture = &fixtures[worker % 3];
        async move {
            let (mut claims, mut idle): (Vec<Claim>, u32) = (Vec::new(), 0);
            // What others are claiming at the moment is passed over, so one look is not enough.
            while idle < 3 {
                match fixture.store.claim(MINUTE, 7, Vec::new(), nowhere(), Abilities::ALL).await.unwrap() {
                    crate::store::ClaimOutcome::Claimed(claim) => claims.push(claim),
                    crate::store::ClaimOutcome::NothingDue { .. } => idle += 1,
                }
            }
            claims
        }
    });
    let mut claimed = BTreeMap::new();
    for claim in join_all(working).await.into_iter().flatten() {
        assert!(claim.messages.len() <= 7);
        for message in claim.messages {
            for recipient in message.recipients {
                assert_eq!(recipient.mailbox.domain(), &claim.domain);
                assert_eq!(recipient.attempts, 1);
                *claimed.entry((message.id, recipient.mailbox.to_string())).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(claimed, expected);
}

/// One session a maildrop, whichever stores are asked for one.
async fn a_maildrop_has_one_session_everywhere(town: Town) {
    let fixtures = [town.fixture().await, town.fixture().await];
    for _ in 0..5 {
        let opened = join_all((0..10).map(|n| fixtures[n % 2].open("a@local.test"))).await;
        let (held, refused): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert_eq!(refused, vec![Err(StoreError::MaildropInUse); 9]);
        let session = held[0].as_ref().unwrap().session.clone();
        let a = mailbox("a@local.test");
        fixtures[1].store.renew_maildrop(&a, &session, MINUTE).await.unwrap();
        fixtures[0].store.close_maildrop(&a, &session).await.unwrap();
    }
}

/// What a dead store held is everyone's once its leases have run out, and not before.
async fn the_others_take_over_from_a_dead_store(town: Town) {
    let (dead, heir) = (town.fixture().await, town.fixture().await);
    let id = dead.send("1", &["a@local.test", "x@far.test"]).await;
    let claim = dead.claim().await.unwrap();
    dead.open("a@local.test").await.unwrap();
    drop(dead);
    town.clock.advance(59 * SECOND);
    assert_eq!(heir.claim().await, None);
    assert_eq!(heir.open("a@local.test").await, Err(StoreError::MaildropInUse));
    town.clock.advance(SECOND);
    let inherited = heir.claim().await.unwrap();
    assert_eq!((inherited.messages[0].id, inherited.messages[0].recipients[0].attempts), (id, 2));
    assert_eq!(heir.open("a@local.test").await.unwrap().messages.len(), 1);
    assert_eq!(heir.store.renew_claim(&claim.lease, MINUTE).await, Err(StoreError::LeaseLost));
    heir.store.settle(&inherited.lease, finished(id, &["x@far.test"]), body(b"")).await.unwrap();
    assert_eq!(heir.queued().await, Vec::<String>::new());
}

/// A transaction that two stores are sent at the same time is one message.
async fn a_submission_repeated_elsewhere_stores_nothing(town: Town) {
    let fixtures = [town.fixture().await, town.fixture().await];
    // In opposite orders, so that their groups overlap crosswise.
    let submitting = (0..200).map(|n| {
        let fixture = &fixtures[n % 2];
        let transaction = if n % 2 == 0 { n / 2 } else { 99 - n / 2 };
        let body = if transaction % 10 == 0 { octets(300_000) } else { b"S: x\r\n".to_vec() };
        async move {
            let recipients = ["a@local.test", "b@local.test", "x@far.test"];
            (transaction, fixture.submit(&format!("{transaction}"), &recipients, &body).await.unwrap())
        }
    });
    let mut answers: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for (transaction, submitted) in join_all(submitting).await {
        answers.entry(transaction).or_default().push(submitted);
    }
    for pair in answers.values() {
        assert_eq!((pair[0].id, pair[0].repeated), (pair[1].id, !pair[1].repeated));
    }
    let mut ids: Vec<_> = answers.values().map(|pair| pair[0].id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), fixtures[0].listed("a@local.test").await), (100, ids));
    // 100 times a message, its delivery to two, its queue entry and submission; 90 bodies of one piece, 10 of two.
    assert_eq!(town.records().await, 100 * 5 + 90 + 10 * 2);
}

/// Those who let go of a shared message last do so at the same time, and it is gone.
async fn a_message_goes_with_the_last_of_those_who_have_it(town: Town) {
    let fixtures = [town.fixture().await, town.fixture().await];
    let addresses = ["a@local.test", "b@local.test"];
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(fixtures[0].send(&format!("{n}"), &[addresses[0], addresses[1], "x@far.test"]).await);
    }
    let claim = fixtures[0].claim().await.unwrap();
    let deleting = join_all(fixtures.iter().zip(addresses).map(|(fixture, address)| {
        let mut ids = ids.clone();
        if address == addresses[1] {
            ids.reverse();
        }
        async move {
            let session = fixture.open(address).await.unwrap().session;
            fixture.store.update_maildrop(&mailbox(address), &session, ids).await.unwrap();
        }
    }));
    let settling = join_all(
        ids.iter().map(|&id| fixtures[1].store.settle(&claim.lease, finished(id, &["x@far.test"]), body(b""))),
    );
    let (_, settled) = futures_util::join!(deleting, settling);
    settled.into_iter().for_each(Result::unwrap);
    assert_eq!(town.records().await, 40);
    assert_eq!(town.number("SELECT SUM(messages)::bigint FROM accounts").await, 0);
    assert_eq!(town.number("SELECT SUM(octets)::bigint FROM accounts").await, 0);
}

/// Whoever waits for work learns of what another store has queued.
async fn others_changes_are_noticed(town: Town) {
    let (one, other) = (town.fixture().await, town.fixture().await);
    let mut changes = one.store.queue_changes();
    other.send("1", &["x@far.test"]).await;
    tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.expect("in time").unwrap();
    assert!(one.claim().await.is_some());
}

/// When stores draw the same id all but one draw again, whatever they store.
async fn no_id_is_given_twice(town: Town) {
    let last = i64::MAX / 2;
    // Before there is anything to start after.
    let stores = [town.store().await, town.store().await, town.store().await];
    stores[0].put_accounts(vec![account("a@local.test")]).await.unwrap();
    let mut ids = Vec::new();
    for (store, length) in stores.iter().zip([100, 300_000, 100]) {
        // Far in the future, so that all go on counting from here.
        store.database.start_after(last);
        let submission = submission(&format!("{}", ids.len()), &["a@local.test"]);
        ids.push(store.submit(submission, body(&octets(length))).await.unwrap().id.number());
    }
    assert_eq!(ids, [1, 2, 3].map(|n| last as u64 + n));
}
