//! The battery on SQLite, and what is this backend's own.

mod copies;
mod garbled;
mod lifecycle;
mod snapshots;
mod statements;

use super::{OpenError, Options, SqliteStore, writer::WriteTransaction};
use crate::{
    metrics::Metrics,
    store::{
        Abilities, Lifecycle, Messages, Store, StoreError, StoredMessage,
        contract::{Fixture, account, body, contract_tests, finished, mailbox, manual_clock, octets, submission},
    },
};
use internal_api::MessageId;
use mail_net::ManualClock;
use prometheus_client::registry::Registry;
use rusqlite::Connection;
use std::{fs, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;

contract_tests!(fixture);

async fn fixture() -> Fixture {
    in_directory(TempDir::new().unwrap(), false).await
}

async fn in_directory(directory: TempDir, adds_return_path: bool) -> Fixture {
    let clock = manual_clock();
    let store = open(directory.path(), &clock, adds_return_path).unwrap();
    Fixture::new(Arc::new(store), clock, Box::new(directory)).await
}

fn open(directory: &Path, clock: &ManualClock, adds_return_path: bool) -> Result<SqliteStore, OpenError> {
    let metrics = Metrics::new(&mut Registry::default());
    let stack = "local.test".to_owned();
    SqliteStore::open(Options {
        directory: directory.to_owned(),
        stack,
        adds_return_path,
        clock: clock.clock(),
        metrics,
    })
}

/// A store as it would be found if the machine had stopped now: nothing was closed or folded.
fn crash(directory: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    fs::create_dir(copy.path().join("bodies")).unwrap();
    for name in ["store.db", "store.db-wal"] {
        fs::copy(directory.join(name), copy.path().join(name)).unwrap();
    }
    for entry in fs::read_dir(directory.join("bodies")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join("bodies").join(entry.file_name())).unwrap();
    }
    copy
}

fn body_files(directory: &Path) -> usize {
    fs::read_dir(directory.join("bodies")).unwrap().count()
}

/// Does what only a damaged disk or a bug would do.
fn tamper(directory: &Path, sql: &str) {
    Connection::open(directory.join("store.db")).unwrap().execute_batch(sql).unwrap();
}

#[tokio::test]
async fn what_was_answered_survives_a_crash() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let before = in_directory(directory, false).await;
    let small = before.send("small", &["a@local.test", "x@far.test"]).await;
    let large = before.submit("large", &["a@local.test"], &octets(700_000)).await.unwrap().id;
    let deleted = before.send("deleted", &["b@local.test"]).await;
    let session = before.open("b@local.test").await.unwrap().session;
    before.store.update_maildrop(&mailbox("b@local.test"), &session, vec![deleted]).await.unwrap();
    let claim = before.claim().await.unwrap();

    let copy = crash(&path);
    fs::write(copy.path().join("bodies/left-behind"), b"half a message").unwrap();
    let after = in_directory(copy, false).await;
    assert_eq!(after.listed("a@local.test").await, [small, large]);
    assert_eq!(after.listed("b@local.test").await, []);
    assert_eq!(after.raw(large).await.unwrap(), octets(700_000));
    assert_eq!(after.queued().await, ["x@far.test 1 true"]);
    after.store.settle(&claim.lease, finished(small, &["x@far.test"]), body(b"")).await.unwrap();
    assert!(after.submit("deleted", &["b@local.test"], b"\r\n").await.unwrap().repeated);
    assert!(after.send("new", &["a@local.test"]).await > deleted);
}

#[tokio::test]
async fn orphans_of_a_crash_are_removed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let id = fixture.submit("t", &["a@local.test"], &octets(300_000)).await.unwrap().id;
    fs::write(path.join("bodies/left-behind"), b"half a message").unwrap();
    fixture.store.close().await;
    let store = open(&path, &fixture.clock, false).unwrap();
    assert_eq!(body_files(&path), 1);
    assert_eq!(store.raw(id).await.unwrap().octets, 300_000);
}

#[tokio::test]
async fn a_large_body_is_one_file_and_goes_with_the_last_who_has_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let recipients = ["a@local.test", "b@local.test", "x@far.test"];
    let id = fixture.submit("t", &recipients, &octets(300_000)).await.unwrap().id;
    fixture.submit("t", &recipients, &octets(300_000)).await.unwrap();
    assert_eq!(body_files(&path), 1);
    for address in ["a@local.test", "b@local.test"] {
        let session = fixture.open(address).await.unwrap().session;
        fixture.store.update_maildrop(&mailbox(address), &session, vec![id]).await.unwrap();
    }
    assert_eq!(fixture.raw(id).await.unwrap(), octets(300_000));
    let claim = fixture.claim().await.unwrap();
    fixture.store.settle(&claim.lease, finished(id, &["x@far.test"]), body(b"")).await.unwrap();
    // The file goes after the answer; whoever is answered next comes after that.
    fixture.store.probe().await.unwrap();
    assert_eq!(body_files(&path), 0);
}

#[tokio::test]
async fn an_abandoned_upload_leaves_no_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let bad = [octets(300_000), b"\n".to_vec()].concat();
    assert_eq!(fixture.submit("t", &["a@local.test"], &bad).await, Err(StoreError::BareLineEnding));
    assert_eq!(body_files(&path), 0);
}

#[tokio::test]
async fn return_path_is_part_of_what_was_delivered_while_it_was_asked_for() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, true).await;
    let octets = [b"S: x\r\n".to_vec(), octets(300_000)];
    let mut ids = Vec::new();
    for (n, octets) in octets.iter().enumerate() {
        ids.push(fixture.submit(&format!("{n}"), &["a@local.test"], octets).await.unwrap().id);
    }
    fixture.store.close().await;
    // What follows is delivered plain; what was there stays as it was.
    let store = open(&path, &fixture.clock, false).unwrap();
    let plain = store.submit(submission("plain", &["a@local.test"]), body(b"S: x\r\n")).await.unwrap().id;
    let fixture = Fixture::new(Arc::new(store), fixture.clock.clone(), Box::new(fixture)).await;
    let prefix = b"Return-Path: <sender@local.test>\r\n";
    let listed = fixture.open("a@local.test").await.unwrap().messages;
    let lengths: Vec<_> = listed.iter().map(|entry| entry.octets as usize).collect();
    assert_eq!(lengths, [prefix.len() + 6, prefix.len() + 300_000, 6]);
    for (id, octets) in ids.iter().zip(&octets) {
        assert_eq!(&fixture.raw(*id).await.unwrap(), octets);
        let delivered = fixture.store.delivered_raw(&mailbox("a@local.test"), *id).await.unwrap();
        assert_eq!(delivered.octets as usize, prefix.len() + octets.len());
    }
    assert_eq!(fixture.store.delivered_raw(&mailbox("a@local.test"), plain).await.unwrap().octets, 6);
}

#[tokio::test]
async fn a_directory_has_one_store() {
    let directory = TempDir::new().unwrap();
    let clock = manual_clock();
    let first = open(directory.path(), &clock, false).unwrap();
    let error = open(directory.path(), &clock, false).err().unwrap();
    let expected =
        "is in use by another mailbox-store; stop it, or choose another directory (--data; --state of mailtown)";
    assert_eq!(error.to_string(), format!("{} {expected}", directory.path().display()));
    first.close().await;
    open(directory.path(), &clock, false).unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let directory = TempDir::new().unwrap();
    let clock = manual_clock();
    open(directory.path(), &clock, false).unwrap().close().await;
    tamper(directory.path(), "PRAGMA user_version = 99");
    let error = open(directory.path(), &clock, false).err().unwrap();
    let path = directory.path().join("store.db");
    let expected = "has schema version 99, this program knows 10; use a newer mailbox-store";
    assert_eq!(error.to_string(), format!("{} {expected}", path.display()));
}

/// One record that cannot be decoded is quarantined; everything else goes on.
#[tokio::test]
async fn damage_is_quarantined() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let recipients = ["a@local.test", "x@far.test"];
    let good = fixture.send("good", &recipients).await;
    let reverse_path = fixture.send("reverse-path", &recipients).await;
    let recipient = fixture.send("recipient", &recipients).await;
    let file = fixture.submit("file", &recipients, &octets(300_000)).await.unwrap().id;
    let gone = fixture.send("gone", &recipients).await;
    let shorter = fixture.submit("shorter", &["a@local.test"], &octets(400_000)).await.unwrap().id;
    tamper(
        &path,
        &format!(
            "UPDATE messages SET reverse_path = 'nonsense' WHERE id = {};
             UPDATE queue SET recipient = 'nobody anywhere' WHERE message_id = {};
             DELETE FROM messages WHERE id = {};",
            reverse_path.number(),
            recipient.number(),
            gone.number()
        ),
    );
    for entry in fs::read_dir(path.join("bodies")).unwrap() {
        let path = entry.unwrap().path();
        if fs::metadata(&path).unwrap().len() == 300_000 {
            fs::remove_file(path).unwrap();
        } else {
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(399_999).unwrap();
        }
    }
    // Claiming finds what is wrong in the queue, and gives what is not.
    let claim = fixture.claim().await.unwrap();
    assert_eq!(claim.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [good]);
    assert_eq!(fixture.queued().await, ["x@far.test 1 true"]);
    assert_eq!(fixture.claim().await, None);
    assert_eq!(fixture.listed("a@local.test").await, [good, recipient, shorter]);
    // Reading finds the rest.
    assert_eq!(fixture.raw(shorter).await, Err(StoreError::Damaged(shorter)));
    assert_eq!(fixture.raw(file).await, Err(StoreError::Damaged(file)));
    let delivered = fixture.store.delivered_raw(&mailbox("a@local.test"), gone).await;
    assert_eq!(delivered.err(), Some(StoreError::Damaged(gone)));
    assert_eq!(fixture.listed("a@local.test").await, [good, recipient]);
    let summary = fixture.store.mailbox(&mailbox("a@local.test")).await.unwrap();
    assert_eq!((summary.messages, summary.octets), (2, 34));
}

/// People's listings quarantine what they cannot show, too.
#[tokio::test]
async fn listings_skip_damage() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let bad = fixture.send("bad", &["a@local.test", "x@far.test"]).await;
    let good = fixture.send("good", &["a@local.test", "x@far.test"]).await;
    tamper(&path, &format!("UPDATE messages SET received_at_ms = {} WHERE id = {}", i64::MAX, bad.number()));
    let start = MessageId::from_number(0);
    let page = fixture.store.messages(start, 10).await.unwrap();
    assert_eq!(page.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [good]);
    let page = fixture.store.maildrop(&mailbox("a@local.test"), start, 10).await.unwrap();
    assert_eq!(page.messages.iter().map(|message| message.id).collect::<Vec<_>>(), [good]);
    assert_eq!(fixture.queued().await, ["x@far.test 0 false"]);
    assert_eq!(fixture.store.message(bad).await, Err(StoreError::Damaged(bad)));
}

/// While nothing can be written the store says so, and takes up its work again by itself.
#[tokio::test]
async fn a_full_disk_is_a_temporary_failure() {
    let directory = TempDir::new().unwrap();
    let clock = manual_clock();
    let store = Arc::new(open(directory.path(), &clock, false).unwrap());
    let fixture = Fixture::new(Arc::clone(&store) as Arc<dyn Store>, clock, Box::new(directory)).await;
    let before = fixture.send("before", &["a@local.test"]).await;
    let allow = async |pages: i64| {
        let set =
            move |tx: &mut WriteTransaction<'_>| Ok(tx.connection.pragma_update(None, "max_page_count", pages)?);
        store.writer.write(set).await.unwrap();
    };
    allow(1).await;
    let outcomes = futures_util::future::join_all(["1", "2"].map(|transaction| {
        let fixture = &fixture;
        async move { fixture.submit(transaction, &["a@local.test"], &octets(200_000)).await }
    }));
    for outcome in outcomes.await {
        let full = StoreError::Unavailable("database or disk is full".to_owned());
        assert_eq!(outcome, Err(full));
    }
    assert_eq!(fixture.listed("a@local.test").await, [before]);
    allow(1_000_000).await;
    let after = fixture.submit("1", &["a@local.test"], &octets(200_000)).await.unwrap();
    assert!(!after.repeated);
    assert_eq!(fixture.listed("a@local.test").await, [before, after.id]);
}

/// When a whole group fails every one in it is told, and what it had spooled is gone.
#[tokio::test]
async fn a_group_that_fails_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let clock = manual_clock();
    let store = Arc::new(open(&path, &clock, false).unwrap());
    let fixture = Fixture::new(Arc::clone(&store) as Arc<dyn Store>, clock, Box::new(directory)).await;
    let impatient = |tx: &mut WriteTransaction<'_>| Ok(tx.connection.busy_timeout(Duration::ZERO)?);
    store.writer.write(impatient).await.unwrap();
    // Another process holds the database: the writer cannot begin.
    let other = Connection::open(path.join("store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = fixture.submit("during", &["a@local.test"], &octets(300_000)).await;
    assert_eq!(refused, Err(StoreError::Unavailable("database is locked".to_owned())));
    assert_eq!(body_files(&path), 0);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(!fixture.submit("during", &["a@local.test"], &octets(300_000)).await.unwrap().repeated);
}

/// A bug in one change fails that change, and nothing else.
#[tokio::test]
async fn a_panic_ends_nothing() {
    let directory = TempDir::new().unwrap();
    let clock = manual_clock();
    let store = Arc::new(open(directory.path(), &clock, false).unwrap());
    let fixture = Fixture::new(Arc::clone(&store) as Arc<dyn Store>, clock, Box::new(directory)).await;
    let bug = |tx: &mut WriteTransaction<'_>| -> Result<(), StoreError> {
        tx.connection.execute("DELETE FROM accounts", [])?;
        panic!("a bug")
    };
    assert_eq!(store.writer.write(bug).await, Err(StoreError::Internal("a change panicked".to_owned())));
    fixture.send("t", &["a@local.test"]).await;
    assert_eq!(fixture.queued().await, Vec::<String>::new());
}

#[tokio::test]
async fn return_path_stays_apart_from_a_message_that_begins_with_no_field() {
    let fixture = in_directory(TempDir::new().unwrap(), true).await;
    let large = [b"no field\r\n".to_vec(), octets(300_000)].concat();
    let table: [(&[u8], &str); 4] =
        [(b"Subject: x\r\n", ""), (b"no field\r\n", "\r\n"), (b" folded\r\n", "\r\n"), (&large, "\r\n")];
    let return_path = "Return-Path: <sender@local.test>\r\n";
    for (number, (message, line)) in table.into_iter().enumerate() {
        let id = fixture.submit(&number.to_string(), &["a@local.test"], message).await.unwrap().id;
        let expected = [return_path.as_bytes(), line.as_bytes(), message].concat();
        assert!(fixture.delivered("a@local.test", id).await.unwrap() == expected, "{number}");
        let session = fixture.open("a@local.test").await.unwrap();
        assert_eq!(session.messages[number].octets, expected.len() as u64);
        fixture.store.close_maildrop(&mailbox("a@local.test"), &session.session).await.unwrap();
    }
}
