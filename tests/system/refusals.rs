//! Peers that have enough of a connection, or turn out to be this very server.

use futures_util::future::join_all;
use reqwest::Method;
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
};
use town_config::PortKey;
use town_tests::{Answer, EXMAIL, FakePeer, Line, PATIENCE, Plan, TestTown, USR1, eventually, polite};

/// A town that has just been told to send these two messages to peer.example. They are claimed together, and so they go
/// over one connection.
async fn town_with_two_messages(peer: &FakePeer) -> TestTown {
    let plan = Plan::default();
    let silent = plan.silent_port();
    let town = TestTown::start(plan.peer("peer.example", silent).relay("retry = [\"1h\"]")).await;
    for subject in ["one", "two"] {
        town.send(USR1, &["a@peer.example"], format!("Subject: {subject}\r\n\r\n").as_bytes()).await;
    }
    eventually("two deferred messages", PATIENCE, async || {
        let queue = town.queue(EXMAIL).await;
        queue.iter().all(|entry| !entry.last_reply.is_empty() && !entry.leased).then_some(())
    })
    .await;
    let zone = fs::read_to_string(town.zone()).unwrap().replace(&silent.to_string(), &peer.port().to_string());
    fs::write(town.zone(), zone).unwrap();
    eventually("the new zone", PATIENCE, async || {
        let path = "/v1/resolve?name=peer.example&type=P";
        let answer = town.call(Method::GET, EXMAIL, PortKey::DnsHttp, path).await;
        answer.text().await.unwrap().contains(&peer.port().to_string()).then_some(())
    })
    .await;
    town.call(Method::POST, EXMAIL, PortKey::Store, "/v1/queue/flush").await;
    town
}

/// Takes messages, and answers MAIL with this once it has taken one over the first connection. What is pipelined after it
/// is refused too.
fn enough_after_one(answer: Answer) -> impl Fn(&Line<'_>) -> Answer {
    let (has_taken, has_refused) = (AtomicBool::new(false), AtomicBool::new(false));
    move |line| {
        let verb = line.text.split(' ').next().unwrap_or_default();
        if line.connection > 1 || verb == "QUIT" {
            return polite(line);
        }
        if has_refused.load(Ordering::Relaxed) {
            return "503 5.5.1 no transaction".into();
        }
        if verb == "." {
            has_taken.store(true, Ordering::Relaxed);
        }
        if verb == "MAIL" && has_taken.load(Ordering::Relaxed) {
            has_refused.store(true, Ordering::Relaxed);
            return answer.clone();
        }
        polite(line)
    }
}

#[tokio::test]
async fn a_refusal_of_a_used_connection_is_no_refusal_of_the_message() {
    let part = |reply: &str| Answer::Part(reply.to_owned());
    let answers = [
        "503 5.5.1 bad sequence of commands".into(),
        "503 enough".into(),
        "421 4.7.0 enough messages".into(),
        part("421 4.7.0 enough messages"),
        "451 4.7.1 too much mail over this connection".into(),
        "554 5.7.0 too much mail over this connection".into(),
        Answer::Close,
        Answer::Reset,
    ];
    join_all(answers.map(the_second_message_goes_over_another_connection)).await;
}

/// The first connection takes a message, and refuses the second one so.
async fn the_second_message_goes_over_another_connection(answer: Answer) {
    let peer = FakePeer::start(enough_after_one(answer.clone())).await;
    let town = town_with_two_messages(&peer).await;
    peer.heard("S: 250 2.0.0 taken", 2).await;
    town.drained(EXMAIL).await;
    assert!(town.listing(USR1).await.messages.is_empty(), "{answer:?}: nothing has failed");
    let transcript = peer.heard("-- closed", 2).await;
    let count = |line: &str| transcript.iter().filter(|said| *said == line).count();
    assert_eq!((count("-- 2"), count("-- 3")), (1, 0), "{answer:?}");
    // Both ways a connection that is still open ends properly (RFC 5321 §4.1.4).
    let quits = if matches!(answer, Answer::Say(_)) { 2 } else { 1 };
    assert_eq!(count("C: QUIT"), quits, "{answer:?}: {transcript:?}");
    for subject in ["C: Subject: one", "C: Subject: two"] {
        assert_eq!(count(subject), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn what_a_fresh_connection_says_is_about_the_message() {
    // Of two messages, the second one is refused wherever it comes.
    let has_taken = AtomicBool::new(false);
    let peer = FakePeer::start(move |line| match line.text.split(' ').next().unwrap_or_default() {
        "QUIT" => polite(line),
        "." => {
            has_taken.store(true, Ordering::Relaxed);
            polite(line)
        }
        "MAIL" | "RCPT" | "DATA" if has_taken.load(Ordering::Relaxed) => "503 5.5.1 not again".into(),
        _ => polite(line),
    })
    .await;
    let town = town_with_two_messages(&peer).await;
    let [report] = &town.mail_of(USR1, 1).await[..] else { panic!("more than one failure message") };
    assert!(String::from_utf8_lossy(report).contains("503 5.5.1 not again"), "{}", String::from_utf8_lossy(report));
    let transcript = peer.heard("-- closed", 2).await;
    assert!(!transcript.contains(&"-- 3".to_owned()), "{transcript:?}");
    town.drained(EXMAIL).await;
}

#[tokio::test]
async fn a_refused_sender_is_final_over_a_used_connection_too() {
    let peer = FakePeer::start(enough_after_one("550 5.1.8 no such sender".into())).await;
    let town = town_with_two_messages(&peer).await;
    let [report] = &town.mail_of(USR1, 1).await[..] else { panic!("more than one failure message") };
    assert!(
        String::from_utf8_lossy(report).contains("550 5.1.8 no such sender"),
        "{}",
        String::from_utf8_lossy(report)
    );
    let transcript = peer.heard("-- closed", 1).await;
    assert!(!transcript.contains(&"-- 2".to_owned()), "{transcript:?}");
    town.drained(EXMAIL).await;
}

/// Says hello as the server that talks to it does.
fn our_name(line: &Line<'_>) -> Answer {
    match line.text.split(' ').next() {
        Some("EHLO" | "ehlo") => "250-exmail.qq.com HELLO\n250 PIPELINING".into(),
        _ => polite(line),
    }
}

/// A domain with exchanges that listen on these ports, by their preferences: mx5.peer.example and so on.
fn exchanges(plan: Plan, ports: &[(u16, u16)]) -> Plan {
    let record = |(preference, _): &(u16, u16)| {
        format!("{{ preference = {preference}, exchange = \"mx{preference}.peer.example.\" }}")
    };
    let records: Vec<_> = ports.iter().map(record).collect();
    let plan = plan.mx("peer.example", &format!("[{}]", records.join(", "))).relay("retry = [\"1h\"]");
    ports.iter().fold(plan, |plan, (preference, port)| plan.p(&format!("mx{preference}.peer.example"), *port))
}

#[tokio::test]
async fn an_exchange_with_our_name_ends_the_search_for_now() {
    let refuses = |line: &Line<'_>| if line.text == "QUIT" { polite(line) } else { "554 5.3.2 no mail here".into() };
    let (first, mirror, last) = (FakePeer::start(refuses).await, FakePeer::start(our_name).await, polite_peer().await);
    let plan = exchanges(Plan::default(), &[(5, first.port()), (10, mirror.port()), (20, last.port())]);
    let town = TestTown::start(plan).await;
    town.send(USR1, &["a@peer.example"], b"Subject: mirror\r\n\r\n").await;
    let entry = town.deferred(EXMAIL).await;
    let address = format!("127.0.0.1:{}", mirror.port());
    let expected = format!("451 4.4.6 mx10.peer.example ({address}) calls itself by the name of this server");
    assert_eq!((entry.last_reply, entry.attempts), (expected, 1));
    let transcript = mirror.heard("-- closed", 1).await;
    assert_eq!(&transcript[transcript.len() - 3..], ["C: QUIT", "S: 221 2.0.0 Bye", "-- closed"]);
    assert!(!transcript.iter().any(|line| line.starts_with("C: MAIL")), "{transcript:?}");
    first.heard("-- closed", 1).await;
    assert_eq!(last.transcript(), Vec::<String>::new(), "it is preferred less");
    assert!(town.listing(USR1).await.messages.is_empty(), "nothing has failed");
}

#[tokio::test]
async fn what_is_preferred_to_an_exchange_with_our_name_is_used() {
    let (first, mirror) = (polite_peer().await, FakePeer::start(our_name).await);
    let plan = exchanges(Plan::default(), &[(5, first.port()), (10, mirror.port())]);
    let town = TestTown::start(plan).await;
    town.send(USR1, &["a@peer.example"], b"Subject: fine\r\n\r\n").await;
    first.heard("S: 250 2.0.0 taken", 1).await;
    town.drained(EXMAIL).await;
    assert_eq!(mirror.transcript(), Vec::<String>::new());
}

async fn polite_peer() -> FakePeer {
    FakePeer::start(polite).await
}
