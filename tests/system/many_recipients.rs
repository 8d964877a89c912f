//! A message for more recipients than a peer takes in one transaction (RFC 5321 §4.5.3.1.10).

use internal_api::Submission;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use town_tests::{Answer, EXMAIL, FakePeer, Line, Plan, TestTown, USR1, eventually, polite};

/// Ten times what a quiet machine needs.
const SOON: Duration = Duration::from_secs(600);

/// How often each recipient got the message.
type Taken = Arc<Mutex<HashMap<String, usize>>>;

/// A peer that takes `limit` recipients in a transaction, and then says `too_many`.
fn limited(limit: usize, too_many: &'static str, pipelining: bool) -> (impl Fn(&Line<'_>) -> Answer, Taken) {
    let taken = Taken::default();
    let (count, open) = (Arc::clone(&taken), Mutex::new(Vec::new()));
    let script = move |line: &Line<'_>| {
        let mut open = open.lock().unwrap();
        match line.text.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" if !pipelining => return "250 peer.example".into(),
            "MAIL" => open.clear(),
            "RCPT" if open.len() == limit => return too_many.into(),
            "RCPT" => open.push(line.text.to_owned()),
            "." => open.drain(..).for_each(|recipient| *count.lock().unwrap().entry(recipient).or_default() += 1),
            _ => {}
        }
        polite(line)
    };
    (script, taken)
}

async fn submit(town: &TestTown, recipients: usize) {
    let submission = Submission::new(
        "many",
        format!("<{USR1}>").parse().unwrap(),
        (0..recipients).map(|number| format!("r{number}@peer.example").parse().unwrap()),
    );
    town.store(EXMAIL).submit(&submission, b"Subject: many\r\n\r\n"[..].into()).await.unwrap();
}

async fn all_get_it_once(town: &TestTown, taken: &Taken, recipients: usize) {
    eventually("an empty queue", SOON, async || town.queue(EXMAIL).await.is_empty().then_some(())).await;
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), recipients);
    assert!(taken.values().all(|times| *times == 1), "somebody got it twice");
}

#[tokio::test]
async fn two_thousand_recipients_go_thirty_at_a_time() {
    let (script, taken) = limited(30, "452 4.5.3 too many recipients", true);
    let peer = FakePeer::start(script).await;
    // A deferral would take longer than the test may.
    let town = TestTown::start(Plan::default().peer("peer.example", peer.port()).relay("retry = [\"1h\"]")).await;
    submit(&town, 2_000).await;
    all_get_it_once(&town, &taken, 2_000).await;
    let named = peer.transcript().iter().filter(|line| line.starts_with("C: RCPT")).count();
    assert!(named <= 2 * 2_000, "the limit is remembered: {named}");
    assert_eq!(peer.transcript().iter().filter(|line| line.starts_with("-- ") && *line != "-- closed").count(), 1);
}

#[tokio::test]
async fn whatever_says_that_there_are_too_many_leads_to_the_next_transaction() {
    for (limit, too_many, pipelining) in [
        (1, "452 4.5.3 one at a time", true),
        (1, "452 too many", false),
        (7, "452 4.3.1 enough for now", false),
        (7, "552 5.5.3 too many", true),
        (7, "552 too many", false),
    ] {
        let (script, taken) = limited(limit, too_many, pipelining);
        let peer = FakePeer::start(script).await;
        let town = TestTown::start(Plan::default().peer("peer.example", peer.port()).relay("retry = [\"1h\"]")).await;
        submit(&town, 20).await;
        all_get_it_once(&town, &taken, 20).await;
    }
}

#[tokio::test]
async fn a_transaction_that_takes_nobody_ends_it_and_who_was_not_tried_keeps_the_attempt() {
    let transactions = Mutex::new(0);
    let (script, taken) = limited(2, "452 4.5.3 too many", false);
    let peer = FakePeer::start(move |line| {
        let mut transactions = transactions.lock().unwrap();
        *transactions += usize::from(line.text.starts_with("MAIL"));
        if *transactions > 1 && line.text.starts_with("RCPT") { "452 4.3.1 full".into() } else { script(line) }
    })
    .await;
    let town = TestTown::start(Plan::default().peer("peer.example", peer.port()).relay("retry = [\"1h\"]")).await;
    submit(&town, 6).await;
    let queue = eventually("four deferred recipients", SOON, async || {
        let queue = town.queue(EXMAIL).await;
        (queue.len() == 4 && queue.iter().all(|entry| !entry.leased)).then_some(queue)
    })
    .await;
    assert_eq!(taken.lock().unwrap().len(), 2);
    let attempts: Vec<_> = queue.iter().map(|entry| entry.attempts).collect();
    assert_eq!(attempts, [1, 1, 0, 0], "{queue:?}");
}

/// RFC 9422: what a server announces is kept to from the first transaction on.
#[tokio::test]
async fn announced_limits_are_kept() {
    let peer = FakePeer::start(|line| match line.text.split(' ').next() {
        Some("EHLO") => "250-peer.example\n250-PIPELINING\n250 LIMITS RCPTMAX=4 MAILMAX=2".into(),
        _ => polite(line),
    })
    .await;
    let town = TestTown::start(Plan::default().peer("peer.example", peer.port()).relay("retry = [\"1h\"]")).await;
    submit(&town, 18).await;
    eventually("an empty queue", SOON, async || town.queue(EXMAIL).await.is_empty().then_some(())).await;
    let transcript = peer.heard("-- closed", 3).await;
    let mut transactions: Vec<(usize, usize)> = Vec::new();
    for line in &transcript {
        match line {
            line if line.starts_with("-- ") && line != "-- closed" => transactions.push((0, 0)),
            line if line.starts_with("C: MAIL") => transactions.last_mut().unwrap().0 += 1,
            line if line.starts_with("C: RCPT") => transactions.last_mut().unwrap().1 += 1,
            _ => {}
        }
    }
    assert_eq!(transactions, [(2, 8), (2, 8), (1, 2)], "transactions and recipients of each connection");
    town.stop().await;
}
