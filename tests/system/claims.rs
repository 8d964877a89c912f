//! Messages that are claimed together, and what becomes of the others when one of them goes wrong.

use reqwest::Method;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use town_config::PortKey;
use town_tests::{Answer, EXMAIL, FakePeer, Line, PATIENCE, Plan, TestTown, USR1, eventually, polite};

/// A town and its peer, which takes nothing until all that was sent to it is to be claimed at once.
struct Together {
    town: TestTown,
    peer: FakePeer,
    is_open: Arc<AtomicBool>,
}

impl Together {
    async fn start(script: impl Fn(&Line<'_>) -> Answer + Send + Sync + 'static) -> Self {
        let is_open = Arc::new(AtomicBool::new(false));
        let open = Arc::clone(&is_open);
        let peer = FakePeer::start(move |line| match open.load(Ordering::SeqCst) {
            true => script(line),
            false => Answer::Part("421 4.3.2 later".to_owned()),
        })
        .await;
        let plan = Plan::default().peer("peer.example", peer.port()).relay("retry = [\"1h\"]");
        Self { town: TestTown::start(plan).await, peer, is_open }
    }

    /// Sends a message that waits for the peer.
    async fn queue(&self, recipients: &[&str], message: &[u8]) {
        self.town.send(USR1, recipients, message).await;
        eventually("an attempt", PATIENCE, async || {
            let queue = self.town.queue(EXMAIL).await;
            queue.iter().all(|entry| !entry.last_reply.is_empty() && !entry.leased).then_some(())
        })
        .await;
    }

    /// Has all that waits claimed at once, and waits until that was seen to; returns what still waits.
    async fn relay(&self) -> Vec<internal_api::QueueEntry> {
        self.is_open.store(true, Ordering::SeqCst);
        let tried_before: HashMap<_, _> = self.town.queue(EXMAIL).await.iter().map(attempts).collect();
        self.town.call(Method::POST, EXMAIL, PortKey::Store, "/v1/queue/flush").await;
        eventually("all to be tried", PATIENCE, async || {
            let queue = self.town.queue(EXMAIL).await;
            let tried = |entry| {
                let (key, attempts) = attempts(entry);
                attempts > tried_before[&key] && !entry.leased
            };
            queue.iter().all(tried).then_some(queue)
        })
        .await
    }

    /// How often the peer has taken a message that has this line.
    fn taken(&self, line: &str) -> usize {
        self.peer.transcript().iter().filter(|said| *said == line).count()
    }
}

fn attempts(entry: &internal_api::QueueEntry) -> ((internal_api::MessageId, String), u32) {
    ((entry.message, entry.recipient.to_string()), entry.attempts)
}

fn numbered(number: usize) -> Vec<u8> {
    format!("Subject: {number}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn damaged_messages_fail_alone() {
    let together = Together::start(polite).await;
    for subject in ["bad", "worse", "good"] {
        together.queue(&["a@peer.example"], format!("Subject: {subject}\r\n\r\n").as_bytes()).await;
    }
    let database = rusqlite::Connection::open(together.town.state().join(EXMAIL).join("store.db")).unwrap();
    let damage = "UPDATE messages SET body = zeroblob(octets) WHERE CAST(body AS TEXT) NOT LIKE '%good%'";
    assert_eq!(database.execute(damage, []).unwrap(), 2);
    assert_eq!(together.relay().await, []);
    assert_eq!(together.taken("C: Subject: good"), 1);
    assert_eq!(together.taken("S: 250 2.0.0 taken"), 1);
    let reports = together.town.mail_of(USR1, 2).await;
    for report in reports {
        let report = String::from_utf8(report).unwrap();
        assert!(report.contains("the message was damaged while it was queued"), "{report}");
        assert!(!report.contains("Subject: good"), "{report}");
    }
}

#[tokio::test]
async fn after_two_that_break_the_connection_the_others_wait() {
    let together = Together::start(|line| match line.message.contains("poison") {
        true => Answer::Close,
        false => polite(line),
    })
    .await;
    for subject in ["poison one", "poison two", "good"] {
        together.queue(&["a@peer.example"], format!("Subject: {subject}\r\n\r\n").as_bytes()).await;
    }
    let replies: Vec<_> = together.relay().await.into_iter().map(|entry| entry.last_reply).collect();
    let [one, two, good] = &replies[..] else { panic!("{replies:?}") };
    assert!(one.ends_with(": the connection was closed") && one == two, "{replies:?}");
    assert_eq!(*good, format!("451 4.4.2 not tried, because peer.example broke off others: {one}"));
}

/// Takes one message over each connection, as some do, and says so to the next.
fn one_a_connection() -> impl Fn(&Line<'_>) -> Answer + Send + Sync + 'static {
    let taken = Mutex::new(HashMap::<usize, usize>::new());
    move |line| {
        if line.text.starts_with("MAIL") {
            let mut taken = taken.lock().unwrap();
            let begun = taken.entry(line.connection).or_default();
            *begun += 1;
            if *begun > 1 {
                return Answer::Part("421 4.7.0 one message for each connection".to_owned());
            }
        }
        polite(line)
    }
}

#[tokio::test]
async fn an_exchange_that_ends_a_kept_connection_gets_the_message_over_a_new_one() {
    let together = Together::start(one_a_connection()).await;
    for number in 0..6 {
        together.queue(&["a@peer.example"], &numbered(number)).await;
    }
    assert_eq!(together.relay().await, []);
    for number in 0..6 {
        assert_eq!(together.taken(&format!("C: Subject: {number}")), 1, "{number}");
    }
}

#[tokio::test]
async fn an_exchange_that_ends_a_connection_that_waited_gets_the_message_over_a_new_one() {
    let together = Together::start(one_a_connection()).await;
    together.is_open.store(true, Ordering::SeqCst);
    for number in 0..2 {
        together.town.send(USR1, &["a@peer.example"], &numbered(number)).await;
        together.peer.heard("S: 250 2.0.0 taken", number + 1).await;
    }
    together.town.drained(EXMAIL).await;
}

#[tokio::test]
async fn a_reply_too_many_is_not_taken_for_the_reply_to_the_next_message() {
    let first = AtomicBool::new(true);
    let together = Together::start(move |line| match line.text {
        "." if first.swap(false, Ordering::SeqCst) => "250 2.0.0 taken\n250 2.0.0 taken".into(),
        "RCPT TO:<a-bad@peer.example>" => "550 5.1.1 no a-bad".into(),
        _ => polite(line),
    })
    .await;
    together.queue(&["x@peer.example"], &numbered(1)).await;
    together.queue(&["a-bad@peer.example", "b-good@peer.example"], &numbered(2)).await;
    assert_eq!(together.relay().await, []);
    assert_eq!(together.taken("C: Subject: 2"), 1);
    let report = String::from_utf8(together.town.mail_of(USR1, 1).await.remove(0)).unwrap();
    assert!(report.contains("rfc822; a-bad@peer.example") && !report.contains("rfc822; b-good@"), "{report}");
}

#[tokio::test]
async fn a_thousand_long_replies_do_not_lose_the_report_of_a_failure() {
    let together = Together::start(|line| match line.text {
        "RCPT TO:<bad@peer.example>" => "550 5.1.1 no bad".into(),
        text if text.starts_with("RCPT") => Answer::Say(format!("450 4.2.0 {}", "€".repeat(1000))),
        _ => polite(line),
    })
    .await;
    let recipients: Vec<_> = (1..1000).map(|number| format!("r{number}@peer.example")).collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).chain(["bad@peer.example"]).collect();
    together.queue(&recipients, &numbered(1)).await;
    assert_eq!(together.relay().await.len(), 999);
    let report = String::from_utf8(together.town.mail_of(USR1, 1).await.remove(0)).unwrap();
    assert!(report.contains("550 5.1.1 no bad"), "{report}");
}
