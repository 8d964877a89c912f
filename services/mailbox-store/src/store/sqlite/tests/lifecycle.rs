//! What grows old, fills up or rots: checksums, migrations, free space.

use super::*;
use crate::store::contract::{HOUR, MINUTE, nowhere};
use crate::store::{check, sqlite::SqliteSnapshot};
use futures_util::StreamExt;
use indicatif::ProgressBar;
use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, Ordering},
};

/// A login of a user who exists takes as long as one of a user who does not: neither is read again. Nobody but a test
/// changes accounts behind a store's back.
#[tokio::test]
async fn neither_who_exists_nor_who_does_not_is_read_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let (somebody, nobody) = (mailbox("a@local.test"), mailbox("nobody@local.test"));
    let asked = async || {
        let store = &fixture.store;
        let accounts = (store.account(&somebody).await.unwrap(), store.account(&nobody).await.unwrap());
        let hash = async |address| store.password(address).await.unwrap().map(|password| password.hash);
        (accounts, hash(&somebody).await, hash(&nobody).await)
    };
    let known = asked().await;
    assert_eq!(known, ((Some(somebody.clone()), None), Some("hash of a@local.test".to_owned()), None));
    tamper(&path, "UPDATE accounts SET address = 'nobody@local.test' WHERE address = 'a@local.test'");
    assert_eq!(asked().await, known);
    fixture.store.put_accounts(Vec::new()).await.unwrap();
    assert_eq!(asked().await, ((None, Some(nobody.clone())), None, Some("hash of a@local.test".to_owned())));
}

/// One octet of each body is changed: nobody gets them whole, and the rest goes on.
#[tokio::test]
async fn a_changed_body_is_noticed_and_quarantined() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let metrics = Metrics::new(&mut Registry::default());
    let clock = manual_clock();
    let options = Options {
        directory: path.clone(),
        stack: "local.test".to_owned(),
        adds_return_path: true,
        clock: clock.clock(),
        metrics: metrics.clone(),
    };
    let store = Arc::new(SqliteStore::open(options).unwrap());
    let fixture = Fixture::new(store, clock, Box::new(directory)).await;
    let small = fixture.send("small", &["a@local.test", "x@far.test"]).await;
    let large = fixture.submit("large", &["a@local.test"], &octets(700_000)).await.unwrap().id;
    let good = fixture.submit("good", &["a@local.test"], &octets(600_000)).await.unwrap().id;
    let sql = format!("UPDATE messages SET body = X'{}' WHERE id = {}", "78".repeat(17), small.number());
    tamper(&path, &sql);
    for entry in fs::read_dir(path.join("bodies")).unwrap() {
        let path = entry.unwrap().path();
        if fs::metadata(&path).unwrap().len() == 700_000 {
            OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"!", 650_000).unwrap();
        }
    }
    assert_eq!(fixture.raw(small).await, Err(StoreError::Damaged(small)));
    let StoredMessage { octets: announced, mut chunks } =
        fixture.store.delivered_raw(&mailbox("a@local.test"), large).await.unwrap();
    let mut read = 0;
    let error = loop {
        match chunks.next().await.unwrap() {
            Ok(chunk) => read += chunk.len() as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(error, StoreError::Damaged(large));
    assert!(read < announced, "{read} of {announced}");
    assert!(chunks.next().await.is_none());
    // Three records: two deliveries and a queue entry.
    assert_eq!(metrics.quarantined.get(), 3);
    assert_eq!(fixture.listed("a@local.test").await, [good]);
    assert_eq!(fixture.raw(good).await.unwrap(), octets(600_000));
    assert_eq!(fixture.claim().await, None);
}

#[tokio::test]
async fn a_database_of_version_1_is_brought_up_to_date() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    fs::create_dir(path.join("bodies")).unwrap();
    fs::File::create(path.join("bodies/large")).unwrap().write_all(&octets(300_000)).unwrap();
    Connection::open(path.join("store.db")).unwrap().execute_batch(include_str!("v1.sql")).unwrap();

    let fixture = in_directory(directory, false).await;
    let [small, large] = [101, 102].map(MessageId::from_number);
    assert_eq!(fixture.listed("a@local.test").await, [small, large]);
    assert_eq!(fixture.raw(small).await.unwrap(), b"Subject: x\r\n\r\nx\r\n");
    assert_eq!(fixture.raw(large).await.unwrap(), octets(300_000));
    assert!(fixture.submit("second", &["a@local.test"], b"\r\n").await.unwrap().repeated);
    assert_eq!(fixture.queued().await, ["x@far.test 3 false"]);
    let new = fixture.send("third", &["a@local.test"]).await;
    assert!(new > large);
    fixture.store.close().await;

    let connection = Connection::open(path.join("store.db")).unwrap();
    let mut checksums = connection.prepare("SELECT checksum IS NULL FROM messages ORDER BY id").unwrap();
    let unverified: Vec<bool> = checksums.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(unverified, [true, true, false]);
    let schema = |connection: &Connection| -> Vec<String> {
        let mut statement = connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").unwrap();
        let mut schema: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        schema.iter_mut().for_each(|sql| sql.retain(|character| !character.is_whitespace()));
        schema.sort();
        schema
    };
    let fresh = TempDir::new().unwrap();
    open(fresh.path(), &fixture.clock, false).unwrap().close().await;
    assert_eq!(schema(&connection), schema(&Connection::open(fresh.path().join("store.db")).unwrap()));
}

/// Pages that deleted mail leaves are used again; the file never shrinks, and does not grow either.
#[tokio::test]
async fn the_space_of_deleted_mail_is_used_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let mut sizes = Vec::new();
    for round in 0..4 {
        for number in 0..30 {
            let octets = if number % 10 == 0 { octets(300_000) } else { octets(50_000) };
            fixture.submit(&format!("{round}-{number}"), &["a@local.test"], &octets).await.unwrap();
        }
        fixture.clock.advance(2 * HOUR);
        fixture.store.expire(HOUR).await.unwrap();
        fixture.store.probe().await.unwrap();
        assert_eq!(body_files(&path), 0);
        let connection = Connection::open(path.join("store.db")).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        sizes.push(fs::metadata(path.join("store.db")).unwrap().len());
    }
    let slack = 16 * 4096;
    assert!(sizes[0] > 27 * 50_000, "{sizes:?}");
    assert!(sizes[3] <= sizes[0] + slack, "{sizes:?}");
}

#[tokio::test]
async fn an_open_maildrop_does_not_expire() {
    let fixture = fixture().await;
    let old = fixture.send("old", &["a@local.test"]).await;
    fixture.clock.advance(2 * HOUR);
    let session = fixture.open("a@local.test").await.unwrap().session;
    fixture.store.expire(HOUR).await.unwrap();
    assert_eq!(fixture.raw(old).await.unwrap().len(), 17);
    fixture.clock.advance(MINUTE);
    fixture.store.expire(HOUR).await.unwrap();
    assert_eq!(fixture.raw(old).await, Err(StoreError::MessageUnknown));
    let late = fixture.store.update_maildrop(&mailbox("a@local.test"), &session, vec![old]).await;
    // What is not there counts as deleted.
    assert_eq!(late, Ok(()));
}

/// A check reads what a crash has left in the log, changes nothing, and takes an upload's remains for what they are.
#[tokio::test]
async fn a_check_after_a_crash_is_clean() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, true).await;
    let small = fixture.send("small", &["a@local.test", "x@far.test"]).await;
    let large = fixture.submit("large", &["a@local.test"], &octets(300_000)).await.unwrap().id;
    let copy = crash(&path);
    fs::write(copy.path().join("bodies/left-behind"), b"half a message").unwrap();
    let report = check::check(
        &mut SqliteSnapshot::of_directory(copy.path()).unwrap(),
        &ProgressBar::hidden(),
        fixture.clock.now(),
    )
    .unwrap();
    assert_eq!(report.findings, Vec::<String>::new());
    assert_eq!(report.notes.len(), 1, "{report:?}");
    assert!(report.counts.contains(&("checksums right", 2)), "{report:?}");
    let after = in_directory(copy, true).await;
    assert_eq!(after.listed("a@local.test").await, [small, large]);
}

/// Wherever the machine stops: an event is there if and only if its change is.
#[tokio::test]
async fn an_event_survives_a_crash_together_with_its_change() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let stops = {
        let is_done = Arc::clone(&is_done);
        tokio::task::spawn_blocking(move || {
            let mut copies = Vec::new();
            while !is_done.load(Ordering::SeqCst) && copies.len() < 200 {
                copies.push(crash(&path));
            }
            copies
        })
    };
    for number in 0..40 {
        let id = fixture.send(&number.to_string(), &["a@local.test", "x@far.test"]).await;
        fixture.delete("a@local.test", &[id]).await;
        let claim = fixture.claim().await.unwrap();
        fixture.store.settle(&claim.lease, finished(id, &["x@far.test"]), body(b"")).await.unwrap();
    }
    is_done.store(true, Ordering::SeqCst);
    let copies = stops.await.unwrap();
    let mut told = std::collections::BTreeSet::new();
    for copy in copies {
        let database = Connection::open(copy.path().join("store.db")).unwrap();
        let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let events =
            |kind: &str| count(&format!("SELECT COUNT(*) FROM events WHERE detail LIKE '%\"kind\":\"{kind}\"%'"));
        let untold = "SELECT COUNT(*) FROM submissions WHERE message_id NOT IN (SELECT message_id FROM events)";
        assert_eq!(count(untold), 0);
        assert_eq!(events("accepted"), count("SELECT COUNT(*) FROM submissions"));
        assert_eq!(events("delivered") - events("deleted"), count("SELECT COUNT(*) FROM deliveries"));
        assert_eq!(events("queued") - events("finished"), count("SELECT COUNT(*) FROM queue"));
        let under_way = count("SELECT COUNT(*) FROM queue WHERE lease IS NOT NULL");
        assert_eq!(events("claimed") - events("finished"), under_way);
        told.insert(count("SELECT COUNT(*) FROM events"));
    }
    assert!(told.len() > 3, "the machine stopped at different moments: {told:?}");
}

/// When its events cannot be written a change does not happen.
#[tokio::test]
async fn a_change_that_cannot_tell_of_itself_fails() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_owned();
    let fixture = in_directory(directory, false).await;
    let before = fixture.send("before", &["a@local.test", "x@far.test"]).await;
    tamper(&path, "ALTER TABLE events RENAME TO elsewhere");
    let refused = fixture.submit("during", &["a@local.test"], b"S: x\r\n").await;
    assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
    assert!(fixture.store.claim(MINUTE, 9, Vec::new(), nowhere(), Abilities::ALL).await.is_err());
    assert_eq!(fixture.listed("a@local.test").await, [before]);
    assert_eq!(fixture.queued().await, ["x@far.test 0 false"]);
    tamper(&path, "ALTER TABLE elsewhere RENAME TO events");
    assert!(!fixture.submit("during", &["a@local.test"], b"S: x\r\n").await.unwrap().repeated);
}
