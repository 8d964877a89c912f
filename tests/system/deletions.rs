//! A QUIT that deletes very many messages: quick, and nobody else's mail waits for it.
//!
//! `MAILTOWN_DELETIONS` is how many (8,000 unless told).

use crate::campaign::setting;
use bytes::Bytes;
use futures_util::future::join_all;
use internal_api::{BatchOutcome, StoreClient, Submission};
use rusqlite::{Connection, OpenFlags, params};
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::time::Instant;
use town_tests::{EXMAIL, PATIENCE, Plan, ProcessTown, Service, SmtpClient, USR1, USR2, eventually};

const STORE: Service = Service { binary: "mailbox-store", server: EXMAIL };
const DELETIONS: u64 = 8_000;
/// Ten times what a quiet machine needs.
const QUIT_WITHIN: Duration = Duration::from_secs(30);
const LOG_OCTETS: u64 = 128 * 1024 * 1024;
/// How many messages travel in one request, two of which are under way at once. More at once would be refused.
const TOGETHER: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quit_deletes_any_number_at_once() {
    let count = setting("MAILTOWN_DELETIONS").unwrap_or(DELETIONS);
    let mut town = ProcessTown::start(Plan::default()).await;
    fill(&town.store(EXMAIL), count).await;
    let (before, usual) = (usual_mail(&town).await, Instant::now());
    let mut client = town.pop3(USR1).await;
    eprintln!("MAILTOWN_DELETIONS={count}: mail takes {before:?} usually; logged in after {:?}", usual.elapsed());
    client.delete(1..=count).await.unwrap();

    let sql = "SELECT message_id FROM deliveries WHERE address = ?1 ORDER BY message_id LIMIT 1 OFFSET ?2";
    let middle: i64 = database(&town.data(EXMAIL))
        .unwrap()
        .query_row(sql, params![USR1, (count / 2) as i64], |row| row.get(0))
        .unwrap();
    let stop = AtomicBool::new(false);
    let (quit, meanwhile) = tokio::join!(
        async {
            let started = Instant::now();
            client.quit().await;
            let elapsed = started.elapsed();
            // Everybody sees it at once, long before it is removed.
            assert_eq!(town.pop3(USR1).await.stat().await, (0, 0));
            assert!(town.listing(USR1).await.messages.is_empty());
            removed(&town.data(EXMAIL), count, middle).await;
            stop.store(true, Ordering::SeqCst);
            elapsed
        },
        mail_until(&town, &stop)
    );
    eprintln!("QUIT took {quit:?}; meanwhile mail took {meanwhile:?}");
    assert!(quit < QUIT_WITHIN, "{quit:?}");
    // What a killed store has not removed yet is removed after its start, and nothing comes back.
    town.kill(STORE).await;
    town.restart(STORE).await;
    assert!(town.listing(USR1).await.messages.is_empty());
    let started = Instant::now();
    removed(&town.data(EXMAIL), count, i64::MAX).await;
    eprintln!("the rest was removed {:?} after the restart", started.elapsed());
    assert!(town.listing(USR1).await.messages.is_empty());
    let log = fs::metadata(town.data(EXMAIL).join("store.db-wal")).map_or(0, |log| log.len());
    eprintln!("the log has {log} octets");
    assert!(log < LOG_OCTETS, "{log}");
}

/// Puts this many messages into a maildrop.
async fn fill(store: &StoreClient, count: u64) {
    let started = Instant::now();
    let numbers: Vec<u64> = (0..count).collect();
    for batches in numbers.chunks(2 * TOGETHER) {
        join_all(batches.chunks(TOGETHER).map(|batch| submit(store, batch))).await;
    }
    eprintln!("filled in {:?}", started.elapsed());
}

async fn submit(store: &StoreClient, numbers: &[u64]) {
    let message = Bytes::from_static(b"Subject: one of many\r\n\r\nand so on\r\n");
    let submission = |number: &u64| {
        Submission::new(format!("fill {number}"), format!("<{USR2}>").parse().unwrap(), [USR1.parse().unwrap()])
    };
    let submissions: Vec<Submission> = numbers.iter().map(submission).collect();
    let messages = submissions.iter().map(|submission| (submission, &message, None));
    let outcomes = store.submit_batch(messages).await.unwrap();
    let refused = outcomes.iter().find(|outcome| !matches!(outcome, BatchOutcome::Accepted(_)));
    assert_eq!(refused, None);
}

/// How long a message takes while nothing else happens.
async fn usual_mail(town: &ProcessTown) -> Duration {
    const MESSAGES: u32 = 200;
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    let started = Instant::now();
    for _ in 0..MESSAGES {
        send(&mut client).await;
    }
    started.elapsed() / MESSAGES
}

/// How long a message takes on average until `stop` is set. All must be accepted.
async fn mail_until(town: &ProcessTown, stop: &AtomicBool) -> Duration {
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    let (started, mut messages) = (Instant::now(), 0);
    while !stop.load(Ordering::SeqCst) {
        send(&mut client).await;
        messages += 1;
    }
    started.elapsed() / messages
}

async fn send(client: &mut SmtpClient) {
    client.send(USR2, &[USR2], b"Subject: other mail\r\n\r\n").await.unwrap();
}

/// Waits until the entries before this one are removed from the database.
async fn removed(data: &Path, count: u64, end: i64) {
    let limit = PATIENCE + Duration::from_millis(count);
    let sql = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE address = ?1 AND message_id < ?2)
             OR EXISTS (SELECT 1 FROM deletions WHERE address = ?1 AND last_id < ?2)";
    eventually("deleted entries to be removed", limit, async || {
        let waits = database(data)?.query_row(sql, params![USR1, end], |row| row.get::<_, bool>(0)).ok()?;
        (!waits).then_some(())
    })
    .await;
}

fn database(data: &Path) -> Option<Connection> {
    Connection::open_with_flags(data.join("store.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).ok()
}
