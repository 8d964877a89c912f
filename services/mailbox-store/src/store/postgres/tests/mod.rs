//! The battery on PostgreSQL, and what is this backend's own.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]

mod claims;
mod copies;
mod events;
mod failures;
pub(super) mod server;
mod statements;
mod together;

use super::{Options, PostgresStore};
use crate::{
    metrics::Metrics,
    store::{
        Abilities, Account, Accounts, ClaimOutcome, Lifecycle, Messages, StoreError,
        contract::{
            Fixture, HOUR, MINUTE, account, body, contract_tests, finished, mailbox, manual_clock, octets, submission,
        },
    },
};
use internal_api::{MessageId, Outcome, RecipientOutcome, Settlement};
use mail_net::ManualClock;
use prometheus_client::registry::Registry;
use server::Server;
use std::sync::Arc;
use tempfile::TempDir;
use town_config::Quota;

contract_tests!(fixture);

/// The battery once more, where every transaction is as if it were alone, and some are told to try again.
mod serializable {
    use super::*;

    contract_tests!(fixture);

    async fn fixture() -> Option<Fixture> {
        let town = Town::new().await?;
        town.serialize().await;
        Some(town.into_fixture().await)
    }
}

async fn fixture() -> Option<Fixture> {
    Some(Town::new().await?.into_fixture().await)
}

/// A database of its own, and what its stores share.
struct Town {
    url: String,
    clock: ManualClock,
    spool: TempDir,
}

impl Town {
    async fn new() -> Option<Self> {
        Some(Self::on(Server::shared()?.new_database().await))
    }

    fn on(url: String) -> Self {
        Self { url, clock: manual_clock(), spool: TempDir::new().unwrap() }
    }

    fn options(&self) -> Options {
        Options {
            database: self.url.parse().unwrap(),
            stack: "local.test".to_owned(),
            spool: self.spool.path().to_owned(),
            adds_return_path: false,
            clock: self.clock.clock(),
            metrics: Metrics::new(&mut Registry::default()),
        }
    }

    /// One more store.
    async fn store(&self) -> Arc<PostgresStore> {
        Arc::new(PostgresStore::open(self.options()).await.unwrap())
    }

    /// One more store, with the battery's accounts.
    async fn fixture(&self) -> Fixture {
        Fixture::new(self.store().await, self.clock.clone(), Box::new(())).await
    }

    /// The battery's store and accounts.
    async fn into_fixture(self) -> Fixture {
        let store = self.store().await;
        Fixture::new(store, self.clock.clone(), Box::new(self)).await
    }

    /// From now on transactions are isolated as CockroachDB does it.
    async fn serialize(&self) {
        let stranger = self.stranger().await;
        let database: String = stranger.query_one("SELECT current_database()", &[]).await.unwrap().get(0);
        let isolate = format!("ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'");
        stranger.batch_execute(&isolate).await.unwrap();
    }

    /// A connection of somebody else's.
    async fn stranger(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    async fn number(&self, sql: &str) -> i64 {
        self.stranger().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// How many records there are of what messages consist of.
    async fn records(&self) -> i64 {
        let tables = ["messages", "bodies", "deliveries", "queue", "submissions"];
        let counts = tables.map(|table| format!("(SELECT COUNT(*) FROM {table})"));
        self.number(&format!("SELECT {}", counts.join(" + "))).await
    }
}

#[tokio::test]
async fn a_large_body_is_stored_in_pieces_and_an_incomplete_one_not_at_all() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    let bad = [octets(600_000), b"\n".to_vec()].concat();
    assert_eq!(fixture.submit("bad", &["a@local.test"], &bad).await, Err(StoreError::BareLineEnding));
    assert_eq!(town.records().await, 0);
    let id = fixture.submit("good", &["a@local.test"], &octets(600_000)).await.unwrap().id;
    assert_eq!(town.number("SELECT COUNT(*) FROM bodies").await, 3);
    assert_eq!(town.number("SELECT MAX(octet_length(octets))::bigint FROM bodies").await, 256 * 1024);
    assert_eq!(fixture.raw(id).await.unwrap(), octets(600_000));
    let session = fixture.open("a@local.test").await.unwrap().session;
    fixture.store.update_maildrop(&mailbox("a@local.test"), &session, vec![id]).await.unwrap();
    // What is left is by what the submission is recognised.
    assert_eq!(town.records().await, 1);
    assert_eq!(std::fs::read_dir(town.spool.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn return_path_is_part_of_what_was_delivered_while_it_was_asked_for() {
    let Some(town) = Town::new().await else { return };
    let store = PostgresStore::open(Options { adds_return_path: true, ..town.options() }).await.unwrap();
    let fixture = Fixture::new(Arc::new(store), town.clock.clone(), Box::new(())).await;
    let mut ids = Vec::new();
    for (n, octets) in [b"S: x\r\n".to_vec(), octets(300_000), b"no field\r\n".to_vec()].iter().enumerate() {
        ids.push(fixture.submit(&format!("{n}"), &["a@local.test"], octets).await.unwrap().id);
    }
    // What follows is delivered plain; what was there stays as it was.
    let fixture = town.fixture().await;
    ids.push(fixture.submit("plain", &["a@local.test"], b"S: x\r\n").await.unwrap().id);
    let prefix = "Return-Path: <sender@local.test>\r\n".len() as u64;
    let expected = [prefix + 6, prefix + 300_000, prefix + 2 + 10, 6];
    let listed = fixture.open("a@local.test").await.unwrap().messages;
    assert_eq!(listed.iter().map(|entry| entry.octets).collect::<Vec<_>>(), expected);
    for (id, octets) in ids.into_iter().zip(expected) {
        assert_eq!(fixture.store.delivered_raw(&mailbox("a@local.test"), id).await.unwrap().octets, octets);
    }
}

/// One record that cannot be decoded is quarantined; everything else goes on.
#[tokio::test]
async fn damage_is_quarantined() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    let recipients = ["a@local.test", "x@far.test"];
    let good = fixture.send("good", &recipients).await;
    let reverse_path = fixture.send("reverse-path", &recipients).await;
    let recipient = fixture.send("recipient", &recipients).await;
    let bodiless = fixture.send("bodiless", &recipients).await;
    let gone = fixture.send("gone", &recipients).await;
    let shorter = fixture.submit("shorter", &["a@local.test"], &octets(600_000)).await.unwrap().id;
    let tamper = format!(
        "UPDATE messages SET reverse_path = 'nonsense' WHERE id = {};
         UPDATE queue SET recipient = 'nobody anywhere' WHERE message_id = {};
         DELETE FROM bodies WHERE message_id = {};
         DELETE FROM messages WHERE id = {};
         DELETE FROM bodies WHERE message_id = {} AND piece = 1",
        reverse_path.number(),
        recipient.number(),
        bodiless.number(),
        gone.number(),
        shorter.number()
    );
    town.stranger().await.batch_execute(&tamper).await.unwrap();
    // Claiming finds what is wrong in the queue, and gives what is not.
    let claim = fixture.claim().await.unwrap();
    assert_eq!(claim.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [good]);
    assert_eq!(fixture.queued().await, ["x@far.test 1 true"]);
    assert_eq!(fixture.claim().await, None);
    assert_eq!(fixture.listed("a@local.test").await, [good, recipient, shorter]);
    // Reading finds the rest.
    assert_eq!(fixture.raw(shorter).await, Err(StoreError::Damaged(shorter)));
    assert_eq!(fixture.raw(bodiless).await, Err(StoreError::Damaged(bodiless)));
    let delivered = fixture.store.delivered_raw(&mailbox("a@local.test"), gone).await;
    assert_eq!(delivered.err(), Some(StoreError::Damaged(gone)));
    assert_eq!(fixture.listed("a@local.test").await, [good, recipient]);
    let summary = fixture.store.mailbox(&mailbox("a@local.test")).await.unwrap();
    assert_eq!((summary.messages, summary.octets), (2, 34));
}

/// Quarantined, it could not be settled, and its sender would not be told.
#[tokio::test]
async fn what_is_found_damaged_under_a_lease_is_its_worker_s_to_settle() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    let message = fixture.send("leased", &["a@local.test", "x@far.test"]).await;
    let claim = fixture.claim().await.unwrap();
    let tamper = format!("DELETE FROM bodies WHERE message_id = {}", message.number());
    town.stranger().await.batch_execute(&tamper).await.unwrap();
    assert_eq!(fixture.raw(message).await, Err(StoreError::Damaged(message)));
    assert_eq!(fixture.listed("a@local.test").await, []);
    assert_eq!(fixture.queued().await, ["x@far.test 1 true"]);
    fixture.store.settle(&claim.lease, finished(message, &["x@far.test"]), body(b"")).await.unwrap();
    assert_eq!(fixture.queued().await, Vec::<String>::new());
}

/// People's listings quarantine what they cannot show, too.
#[tokio::test]
async fn listings_skip_damage() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    let bad = fixture.send("bad", &["a@local.test", "x@far.test"]).await;
    let good = fixture.send("good", &["a@local.test", "x@far.test"]).await;
    let tamper = format!("UPDATE messages SET received_at_ms = {} WHERE id = {}", i64::MAX, bad.number());
    town.stranger().await.batch_execute(&tamper).await.unwrap();
    let start = MessageId::from_number(0);
    let page = fixture.store.messages(start, 10).await.unwrap();
    assert_eq!(page.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [good]);
    let page = fixture.store.maildrop(&mailbox("a@local.test"), start, 10).await.unwrap();
    assert_eq!(page.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [good]);
    assert_eq!(fixture.queued().await, ["x@far.test 0 false"]);
    assert_eq!(fixture.store.message(bad).await, Err(StoreError::Damaged(bad)));
}

/// A text that no database can hold fails its own change only, though it was committed in a group.
#[tokio::test]
async fn one_that_cannot_be_stored_spoils_no_group() {
    let Some(town) = Town::new().await else { return };
    let fixture = &town.fixture().await;
    let submitting = (0..40).map(|n| async move {
        let transaction = if n == 20 { "\0".to_owned() } else { n.to_string() };
        fixture.submit(&transaction, &["a@local.test"], b"\r\n").await
    });
    let outcomes = futures_util::future::join_all(submitting).await;
    let refused: Vec<_> = (0..40).filter(|&n| outcomes[n].is_err()).collect();
    assert_eq!(refused, [20]);
    assert!(matches!(outcomes[20], Err(StoreError::Invalid(_))), "{:?}", outcomes[20]);
    assert_eq!(fixture.listed("a@local.test").await.len(), 39);
    // Neither do names that were never given.
    let renewed = fixture.store.renew_claim("\0", crate::store::contract::MINUTE).await;
    assert!(matches!(renewed, Err(StoreError::Invalid(_))), "{renewed:?}");
}

/// What comes together is held to the quota one by one, whichever store it comes through; the rest waits in the queue
/// and is delivered once there is room.
#[tokio::test]
async fn quotas_hold_whatever_comes_together() {
    let Some(town) = Town::new().await else { return };
    let fixtures = [&town.fixture().await, &town.fixture().await];
    let quota = Quota { messages: Some(5), octets: Some(100) };
    let limited = Account { quota, ..account("a@local.test") };
    fixtures[0].store.put_accounts(vec![limited, account("b@local.test")]).await.unwrap();
    let recipients = ["a@local.test", "b@local.test"];
    let submitting = (0..20).map(|n| async move {
        let body = if n == 7 { octets(101) } else { b"S: x\r\n".to_vec() };
        fixtures[n % 2].submit(&format!("{n}"), &recipients, &body).await.unwrap()
    });
    futures_util::future::join_all(submitting).await;
    let summary = fixtures[1].store.mailbox(&mailbox("a@local.test")).await.unwrap();
    assert_eq!((summary.messages, summary.octets, summary.quota_messages), (5, 30, Some(5)));
    let listed = fixtures[1].listed("a@local.test").await;
    assert_eq!((listed.len(), fixtures[0].listed("b@local.test").await.len()), (5, 20));
    let waiting = fixtures[0].store.queue(None, 100).await.unwrap().entries;
    assert_eq!(waiting.iter().filter(|entry| entry.last_reply == "452 4.2.2 mailbox full").count(), 15);

    let session = fixtures[0].open("a@local.test").await.unwrap().session;
    fixtures[0].store.update_maildrop(&mailbox("a@local.test"), &session, listed[..2].to_vec()).await.unwrap();
    let claim = fixtures[1].claim().await.unwrap();
    for message in &claim.messages {
        let outcome = Outcome::DeliverHere { retry_after_seconds: 60, reply: "full".to_owned() };
        let outcomes = vec![RecipientOutcome { recipient: mailbox("a@local.test"), outcome }];
        let settlement = Settlement { message: message.id, outcomes, failure_message: None };
        fixtures[1].store.settle(&claim.lease, settlement.clone(), body(b"")).await.unwrap();
        let again = fixtures[1].store.settle(&claim.lease, settlement, body(b"")).await;
        assert_eq!(again, Err(StoreError::LeaseLost));
    }
    assert_eq!(fixtures[0].listed("a@local.test").await.len(), 5);
    assert_eq!(fixtures[0].queued().await, ["a@local.test 1 false"; 13]);
    assert_eq!(town.number("SELECT SUM(holders)::bigint FROM messages").await, 20 + 5 + 13);
}

/// Old mail goes, but not under the eyes of a session.
#[tokio::test]
async fn old_mail_expires_for_every_store() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    let old = fixture.send("old", &["a@local.test", "b@local.test", "x@far.test"]).await;
    town.clock.advance(2 * HOUR);
    let new = fixture.send("new", &["a@local.test"]).await;
    let session = fixture.open("b@local.test").await.unwrap().session;
    fixture.store.expire(HOUR).await.unwrap();
    assert_eq!(fixture.listed("a@local.test").await, [new]);
    assert_eq!(fixture.store.mailbox(&mailbox("a@local.test")).await.unwrap().messages, 1);
    assert_eq!(fixture.raw(old).await.unwrap(), b"Subject: x\r\n\r\nx\r\n");
    fixture.store.close_maildrop(&mailbox("b@local.test"), &session).await.unwrap();
    fixture.store.expire(HOUR).await.unwrap();
    assert_eq!(fixture.listed("b@local.test").await, []);
    // It is still queued.
    assert_eq!(town.number("SELECT COUNT(*) FROM messages").await, 2);
}

/// Octets that changed are noticed before the last of them leaves.
#[tokio::test]
async fn a_body_with_another_checksum_is_quarantined() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    for length in [100, 600_000] {
        let id = fixture.submit(&format!("{length}"), &["a@local.test"], &octets(length)).await.unwrap().id;
        let tamper = "UPDATE bodies SET octets = set_byte(octets, 50, 0) WHERE piece =
             (SELECT MAX(piece) FROM bodies AS others WHERE others.message_id = bodies.message_id)";
        town.stranger().await.batch_execute(tamper).await.unwrap();
        assert_eq!(fixture.raw(id).await, Err(StoreError::Damaged(id)), "{length}");
        assert_eq!(fixture.listed("a@local.test").await, []);
    }
}
