//! What becomes of mail whose peer fails on purpose, on the town's own clock: when it is tried, how often, and who gets what.

use internal_api::QueueEntry;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use town_tests::{Answer, EXMAIL, FakePeer, Line, PATIENCE, Plan, TestTown, USR1, eventually, polite};

/// The pauses between attempts. The last one is repeated until the mail expires after a day.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(15 * 60), Duration::from_secs(30 * 60), Duration::from_secs(60 * 60)];
const RECIPIENTS: [&str; 4] = ["a@peer.example", "b@peer.example", "c@peer.example", "d@peer.example"];

/// A peer that fails, and what comes of it.
struct Scenario {
    /// Begins the line that is answered with the fault: a verb, `RCPT TO:<…` or `.`; the empty text is the greeting.
    at: &'static str,
    fault: Answer,
    /// How often, before the peer is well.
    times: usize,
    /// How often the message is in the peer's hands, for each recipient in their order.
    taken: [usize; 4],
    /// How many attempts fail for now.
    put_off: usize,
    /// How many failure messages the sender gets.
    failures: usize,
}

/// How often the peer was given the message for each recipient, whatever it said then.
type Given = Arc<Mutex<HashMap<String, usize>>>;

/// The peer of a scenario.
fn peer(at: &'static str, fault: Answer, times: usize) -> (impl Fn(&Line<'_>) -> Answer, Given) {
    let given = Given::default();
    let (count, state) = (Arc::clone(&given), Mutex::new((0, None::<Vec<String>>)));
    let script = move |line: &Line<'_>| {
        let (faults, open) = &mut *state.lock().unwrap();
        let is_it = if at.is_empty() { line.text.is_empty() } else { line.text.starts_with(at) };
        if line.text == "." {
            let recipients = open.take().unwrap_or_default();
            recipients.into_iter().for_each(|recipient| *count.lock().unwrap().entry(recipient).or_default() += 1);
        }
        if is_it && *faults < times {
            *faults += 1;
            return fault.clone();
        }
        let recipient = line.text.strip_prefix("RCPT TO:<").and_then(|rest| rest.split('>').next());
        match (recipient, &mut *open) {
            (Some(recipient), Some(open)) => open.push(recipient.to_owned()),
            (Some(_), None) => return "503 5.5.1 MAIL first".into(),
            _ if line.text.starts_with("MAIL") => *open = Some(Vec::new()),
            (None, open) if line.text == "DATA" && open.as_ref().is_none_or(Vec::is_empty) => {
                return "503 5.5.1 no recipients".into();
            }
            _ => {}
        }
        polite(line)
    };
    (script, given)
}

async fn play(Scenario { at, fault, times, taken, put_off, failures }: Scenario) {
    let name = format!("{fault:?} {times} times at {at:?}");
    let (script, given) = peer(at, fault, times);
    let peer = FakePeer::start(script).await;
    // A peer that is silent is given up in real time.
    let relay = "retry = [\"15m\", \"30m\", \"1h\"]\nexpiry = \"1d\"\nreply_timeout = \"300ms\"\n\
                 timeouts = { final_dot = \"300ms\" }";
    let town = TestTown::start(Plan::default().rfc().peer("peer.example", peer.port()).relay(relay)).await;
    town.send(USR1, &RECIPIENTS, b"Subject: schedule\r\n\r\nx\r\n").await;
    for (attempt, pause) in (1..=put_off).zip(PAUSES) {
        let tried = u32::try_from(attempt).unwrap();
        let queue = eventually(&format!("{name}: attempt {attempt}"), PATIENCE, async || {
            let queue = town.queue(EXMAIL).await;
            let is_over = queue.iter().all(|entry| entry.attempts == tried && !entry.leased);
            (is_over && !queue.is_empty()).then_some(queue)
        })
        .await;
        let due = town.time.clock().wall.now().saturating_add(pause).unwrap();
        let due_ms = due.as_millisecond();
        let is_due_then = |entry: &QueueEntry| entry.next_attempt_at.as_millisecond() == due_ms;
        assert!(queue.iter().all(is_due_then), "{name}: {queue:#?} is due at {due}");
        town.time.advance(pause - Duration::from_millis(1));
        assert!(town.queue(EXMAIL).await.iter().all(|entry| entry.attempts == tried), "{name}: not before its time");
        town.time.advance(Duration::from_millis(1));
    }
    eventually(&format!("{name}: an empty queue"), PATIENCE, async || {
        town.queue(EXMAIL).await.is_empty().then_some(())
    })
    .await;
    let given = given.lock().unwrap().clone();
    let count = |recipient: &str| given.get(recipient).copied().unwrap_or_default();
    assert_eq!(RECIPIENTS.map(count), taken, "{name}");
    assert_eq!(town.mail_of(USR1, failures).await.len(), failures, "{name}");
    assert_eq!(town.listing(USR1).await.messages.len(), failures, "{name}");
    town.stop().await;
}

/// Greylisted, refused for now, silent or gone, at each command: everybody gets the message in the end, once.
#[tokio::test]
async fn what_fails_for_now_is_tried_by_the_schedule() {
    for at in ["", "EHLO", "MAIL", "RCPT", "DATA"] {
        for fault in [Answer::from("451 4.7.1 greylisted"), Answer::Part("421 4.3.2 down".into()), Answer::Close] {
            // Each recipient is refused by itself.
            let times = if at == "RCPT" && fault == Answer::from("451 4.7.1 greylisted") { 8 } else { 2 };
            play(Scenario { at, fault, times, taken: [1; 4], put_off: 2, failures: 0 }).await;
        }
    }
}

#[tokio::test]
async fn who_is_silent_is_tried_by_the_schedule() {
    for at in ["", "EHLO", "MAIL", "RCPT", "DATA"] {
        play(Scenario { at, fault: Answer::Hang, times: 2, taken: [1; 4], put_off: 2, failures: 0 }).await;
    }
}

/// Nobody knows whether a message was taken whose answer did not come: better twice than never (RFC 5321 §4.5.3.2.6).
#[tokio::test]
async fn what_is_lost_after_the_dot_is_sent_again() {
    for fault in [Answer::Close, Answer::Reset, Answer::Hang, "451 4.3.0 not now".into()] {
        play(Scenario { at: ".", fault, times: 1, taken: [2; 4], put_off: 1, failures: 0 }).await;
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_never_tried_again() {
    for at in ["", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        let taken = [usize::from(at == "."); 4];
        let fault = Answer::from("554 5.7.1 never");
        play(Scenario { at, fault, times: usize::MAX, taken, put_off: 0, failures: 1 }).await;
    }
}

#[tokio::test]
async fn half_of_the_recipients_fail() {
    for at in ["RCPT TO:<b", "RCPT TO:<d"] {
        let failed = if at.ends_with('b') { [1, 0, 1, 1] } else { [1, 1, 1, 0] };
        let never = Answer::from("550 5.1.1 nobody");
        play(Scenario { at, fault: never, times: 1, taken: failed, put_off: 0, failures: 1 }).await;
        let later = Answer::from("450 4.2.1 busy");
        play(Scenario { at, fault: later, times: 3, taken: [1; 4], put_off: 3, failures: 0 }).await;
    }
}
