//! Mail on its way to a peer that is not at its best.

use reqwest::Method;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use town_config::PortKey;
use town_tests::{
    Answer, EXMAIL, FakePeer, GMAIL, HOUR, PATIENCE, Plan, ProcessTown, Service, TestTown, USR, USR1, eventually,
    polite,
};

/// Fails the first time that a line begins with `verb`.
fn at_first(verb: &'static str, answer: Answer) -> impl Fn(&town_tests::Line<'_>) -> Answer {
    let times = AtomicUsize::new(0);
    move |line| match line.text.starts_with(verb) && times.fetch_add(1, Ordering::Relaxed) == 0 {
        true => answer.clone(),
        false => polite(line),
    }
}

#[tokio::test]
async fn one_transaction_and_one_connection_serve_all_recipients_of_a_domain() {
    // Nothing is answered before DATA: a client that waits for each reply would wait for ever.
    let peer = FakePeer::start(|line| match polite(line) {
        _ if line.text.starts_with("EHLO") => "250-peer.example HELLO\n250 PIPELINING".into(),
        Answer::Say(reply) if line.text.starts_with("MAIL") || line.text.starts_with("RCPT") => Answer::Withhold(reply),
        answer => answer,
    })
    .await;
    let town = TestTown::start(Plan::default().rfc().peer("peer.example", peer.port())).await;
    let message = b"Subject: shared\r\n\r\n.dot\r\n";
    town.send(USR1, &["c@peer.example", "a@peer.example", "b@peer.example"], message).await;
    let transcript = peer.heard("-- closed", 1).await;
    let expected = "-- 1
S: 220 peer.example ready
C: EHLO exmail.qq.com
S: 250-peer.example HELLO
S: 250 PIPELINING
C: MAIL FROM:<usr1@mail.sustech.edu.cn>
C: RCPT TO:<a@peer.example>
C: RCPT TO:<b@peer.example>
C: RCPT TO:<c@peer.example>
C: DATA
S: 250 2.1.0 OK
S: 250 2.1.5 OK
S: 250 2.1.5 OK
S: 250 2.1.5 OK
S: 354 go on
C: Subject: shared
C: 
C: ..dot
C: .
S: 250 2.0.0 taken
C: QUIT
S: 221 2.0.0 Bye
-- closed";
    let is_trace = |said: &str| said.starts_with("C: Received: ") || said.starts_with("C: \t");
    let said: Vec<_> = transcript.iter().map(String::as_str).filter(|said| !is_trace(said)).collect();
    assert_eq!(said.join("\n"), expected);
    town.drained(EXMAIL).await;
}

#[tokio::test]
async fn a_connection_waits_a_moment_for_more_mail() {
    let peer = FakePeer::start(polite).await;
    let town = TestTown::start(Plan::default().peer("peer.example", peer.port())).await;
    for (times, subject) in ["one", "two"].into_iter().enumerate() {
        town.send(USR1, &["a@peer.example"], format!("Subject: {subject}\r\n\r\n").as_bytes()).await;
        peer.heard("S: 250 2.0.0 taken", times + 1).await;
    }
    let transcript = peer.heard("-- closed", 1).await;
    let heard: Vec<_> = transcript.iter().filter(|said| !said.starts_with("S: ")).map(String::as_str).collect();
    let transaction = |subject| {
        let envelope = ["C: MAIL FROM:<usr1@mail.sustech.edu.cn>", "C: RCPT TO:<a@peer.example>"];
        [&envelope[..], &["C: DATA", subject, "C: ", "C: ."]].concat()
    };
    let (one, two) = (transaction("C: Subject: one"), transaction("C: Subject: two"));
    assert_eq!(heard, [&["-- 1", "C: EHLO exmail.qq.com"], &one[..], &two, &["C: QUIT", "-- closed"]].concat());
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_no_attempt() {
    let peer = FakePeer::start(|line| match line.text {
        "." => Answer::Part("250 2.0.0 taken".to_owned()),
        _ => polite(line),
    })
    .await;
    let plan = Plan::default().peer("peer.example", peer.port()).relay("retry = [\"1h\"]");
    let town = TestTown::start(plan).await;
    for times in 1..=2 {
        town.send(USR1, &["a@peer.example"], b"Subject: next\r\n\r\n").await;
        peer.heard("-- closed", times).await;
    }
    town.drained(EXMAIL).await;
}

#[tokio::test]
async fn a_connection_that_waits_makes_room_for_another() {
    let first = Arc::new(FakePeer::start(polite).await);
    let earlier = Arc::clone(&first);
    let second = FakePeer::start(move |line| match line.text {
        "" if !earlier.transcript().iter().any(|said| said == "C: QUIT") => "554 5.3.2 one too many".into(),
        _ => polite(line),
    })
    .await;
    let plan = Plan::default().peer("first.example", first.port()).peer("second.example", second.port());
    let town = TestTown::start(plan.relay("connections = 1\nretry = [\"1h\"]")).await;
    for (peer, recipient) in [(&*first, "a@first.example"), (&second, "b@second.example")] {
        town.send(USR1, &[recipient], b"Subject: room\r\n\r\n").await;
        peer.heard("S: 250 2.0.0 taken", 1).await;
    }
    town.drained(EXMAIL).await;
}

#[tokio::test]
async fn a_peer_that_is_down_gets_its_mail_later() {
    let gateway = Service { binary: "smtp-gateway", server: GMAIL };
    let mut town = ProcessTown::start(Plan::default().relay("retry = [\"1s\"]")).await;
    town.kill(gateway).await;
    let message = b"Subject: patience\r\n\r\n";
    town.send(USR1, &[USR], message).await;
    let entry = town.deferred(EXMAIL).await;
    let address = town.address(GMAIL, PortKey::Smtp);
    assert_eq!(entry.last_reply, format!("451 4.4.1 gmail-smtp-in.l.google.com ({address}): connection refused"));
    town.restart(gateway).await;
    assert_eq!(town.mail_of(USR, 1).await, [message]);
    town.drained(EXMAIL).await;
}

#[tokio::test]
async fn what_is_refused_for_now_is_sent_again_by_itself() {
    for verb in ["RCPT", "DATA", "."] {
        let peer = FakePeer::start(at_first(verb, "451 4.2.0 later".into())).await;
        let town = TestTown::start(Plan::default().peer("peer.example", peer.port()).relay("retry = [\"1h\"]")).await;
        town.send(USR1, &["a@peer.example"], b"Subject: again\r\n\r\n").await;
        let entry = town.deferred(EXMAIL).await;
        assert_eq!((entry.last_reply.as_str(), entry.attempts), ("451 4.2.0 later", 1), "{verb}");
        town.time.advance(HOUR);
        peer.heard("S: 250 2.0.0 taken", 1).await;
        town.drained(EXMAIL).await;
        assert!(town.listing(USR1).await.messages.is_empty(), "{verb}: nothing has failed");
    }
}

#[tokio::test]
async fn a_flush_tries_again_at_once() {
    let peer = FakePeer::start(at_first("RCPT", "451 4.2.0 later".into())).await;
    let town = TestTown::start(Plan::default().peer("peer.example", peer.port()).relay("retry = [\"1h\"]")).await;
    town.send(USR1, &["a@peer.example"], b"Subject: flush\r\n\r\n").await;
    town.deferred(EXMAIL).await;
    let flushed = town.call(Method::POST, EXMAIL, PortKey::Store, "/v1/queue/flush").await;
    assert_eq!(flushed.json::<internal_api::Flushed>().await.unwrap().entries, 1);
    peer.heard("S: 250 2.0.0 taken", 1).await;
    town.drained(EXMAIL).await;
}

#[tokio::test]
async fn one_message_that_breaks_the_connection_does_not_keep_the_others() {
    let peer = FakePeer::start(|line| match line.message.contains("poison") {
        true => Answer::Close,
        false => polite(line),
    })
    .await;
    let plan = Plan::default();
    // First nobody is there, so that all messages are claimed together in the end.
    let (silent, port) = (plan.silent_port(), peer.port());
    let plan = plan.mx("peer.example", "\"peer.example.\"").p("peer.example", silent).relay("retry = [\"1h\"]");
    let town = TestTown::start(plan).await;
    for subject in ["1", "2", "poison", "3", "4"] {
        town.send(USR1, &["a@peer.example"], format!("Subject: {subject}\r\n\r\n").as_bytes()).await;
    }
    eventually("five deferred messages", PATIENCE, async || {
        let queue = town.queue(EXMAIL).await;
        (queue.len() == 5 && queue.iter().all(|entry| !entry.last_reply.is_empty())).then_some(())
    })
    .await;
    let zone = std::fs::read_to_string(town.zone()).unwrap().replace(&silent.to_string(), &port.to_string());
    std::fs::write(town.zone(), zone).unwrap();
    eventually("the new zone", PATIENCE, async || {
        let answer = town.call(Method::GET, EXMAIL, PortKey::DnsHttp, "/v1/resolve?name=peer.example&type=P").await;
        answer.text().await.unwrap().contains(&port.to_string()).then_some(())
    })
    .await;
    town.call(Method::POST, EXMAIL, PortKey::Store, "/v1/queue/flush").await;
    let transcript = peer.heard("S: 250 2.0.0 taken", 4).await;
    for subject in ["1", "2", "3", "4"] {
        assert_eq!(transcript.iter().filter(|line| **line == format!("C: Subject: {subject}")).count(), 1, "{subject}");
    }
    let entry = town.deferred(EXMAIL).await;
    assert_eq!(entry.attempts, 2);
    assert!(entry.last_reply.ends_with(": the connection was closed"), "{}", entry.last_reply);
}

#[tokio::test]
async fn a_peer_that_hangs_is_given_up_for_now() {
    for verb in ["", "EHLO", "MAIL", "DATA"] {
        let peer = FakePeer::start(at_first(verb, Answer::Hang)).await;
        let plan = Plan::default().peer("peer.example", peer.port());
        let town = TestTown::start(plan.relay("retry = [\"1h\"]\nreply_timeout = \"300ms\"")).await;
        town.send(USR1, &["a@peer.example"], b"Subject: hang\r\n\r\n").await;
        let entry = town.deferred(EXMAIL).await;
        let expected = format!("451 4.4.1 peer.example (127.0.0.1:{}): no answer in time", peer.port());
        assert_eq!((entry.last_reply, entry.attempts), (expected, 1), "{verb}");
        town.time.advance(HOUR);
        peer.heard("S: 250 2.0.0 taken", 1).await;
        town.drained(EXMAIL).await;
    }
}

#[tokio::test]
async fn a_slow_peer_does_not_keep_mail_from_others() {
    let slow = FakePeer::start(|_| Answer::Hang).await;
    let town = TestTown::start(Plan::default().peer("slow.example", slow.port())).await;
    town.send(USR1, &["a@slow.example"], b"Subject: slow\r\n\r\n").await;
    slow.heard("-- 1", 1).await;
    town.send(USR1, &[USR], b"Subject: quick\r\n\r\n").await;
    assert_eq!(town.mail_of(USR, 1).await, [b"Subject: quick\r\n\r\n"]);
}

#[tokio::test]
async fn data_that_is_answered_with_success_delivers_nothing() {
    let peer = FakePeer::start(at_first("DATA", "250 2.0.0 fine".into())).await;
    let town = TestTown::start(Plan::default().peer("peer.example", peer.port()).relay("retry = [\"1h\"]")).await;
    town.send(USR1, &["a@peer.example"], b"Subject: kept\r\n\r\n").await;
    let entry = town.deferred(EXMAIL).await;
    assert_eq!(entry.last_reply, "451 4.5.0 DATA was answered with 250 2.0.0 fine");
    town.time.advance(HOUR);
    let transcript = peer.heard("S: 250 2.0.0 taken", 1).await;
    assert!(transcript.contains(&"C: Subject: kept".to_owned()), "{transcript:?}");
    town.drained(EXMAIL).await;
}

#[tokio::test]
async fn what_a_peer_decides_before_it_hangs_up_stands() {
    let peer = FakePeer::start(|line| match line.text {
        "RCPT TO:<no@peer.example>" => "550 5.1.1 never heard of".into(),
        "." => Answer::Close,
        _ => polite(line),
    })
    .await;
    let town = TestTown::start(Plan::default().peer("peer.example", peer.port()).relay("retry = [\"1h\"]")).await;
    town.send(USR1, &["yes@peer.example", "no@peer.example"], b"Subject: cut\r\n\r\n").await;
    let [report] = &town.mail_of(USR1, 1).await[..] else { panic!("more than one failure message") };
    assert!(String::from_utf8_lossy(report).contains("550 5.1.1 never heard of"));
    let entry = town.deferred(EXMAIL).await;
    assert_eq!(entry.recipient.to_string(), "yes@peer.example");
    assert!(entry.last_reply.ends_with(": the connection was closed"), "{}", entry.last_reply);
}

#[tokio::test]
async fn a_goodbye_is_quoted() {
    let peer = FakePeer::start(at_first("RCPT", "421 4.3.2 closing for the night".into())).await;
    let town = TestTown::start(Plan::default().peer("peer.example", peer.port()).relay("retry = [\"1h\"]")).await;
    town.send(USR1, &["a@peer.example"], b"Subject: late\r\n\r\n").await;
    assert_eq!(town.deferred(EXMAIL).await.last_reply, "421 4.3.2 closing for the night");
}

#[tokio::test]
async fn an_exchange_that_is_down_is_more_hopeful_than_one_that_refuses() {
    let peer = FakePeer::start(|_| "554 5.3.2 no mail here".into()).await;
    let plan = Plan::default().relay("retry = [\"1h\"]");
    let silent = plan.silent_port();
    let exchanges =
        "[{ preference = 10, exchange = \"one.example.\" }, { preference = 20, exchange = \"two.example.\" }]";
    let plan = plan.mx("peer.example", exchanges).p("one.example", silent).p("two.example", peer.port());
    let town = TestTown::start(plan).await;
    town.send(USR1, &["a@peer.example"], b"Subject: hope\r\n\r\n").await;
    let entry = town.deferred(EXMAIL).await;
    assert_eq!(entry.last_reply, format!("451 4.4.1 one.example (127.0.0.1:{silent}): connection refused"));
    peer.heard("S: 554 5.3.2 no mail here", 1).await;
}

#[tokio::test]
async fn mail_to_ourselves_under_another_name_does_not_go_round() {
    let plan = Plan::default();
    let address = format!("127.0.0.1:{}", plan.port(EXMAIL, PortKey::Smtp));
    let town = TestTown::start(plan.p_elsewhere("mirror.example", &address)).await;
    town.send(USR1, &["a@mirror.example"], b"Subject: round\r\n\r\n").await;
    let [report] = &town.mail_of(USR1, 1).await[..] else { panic!("more than one failure message") };
    let words = format!("554 5.4.6 mail loops back: mirror.example ({address}) is this server");
    assert!(String::from_utf8_lossy(report).contains(&words), "{}", String::from_utf8_lossy(report));
    town.drained(EXMAIL).await;
}

#[tokio::test]
async fn a_hanging_peer_does_not_keep_a_gateway_from_ending() {
    let gateway = Service { binary: "smtp-gateway", server: EXMAIL };
    let peer = FakePeer::start(|line| if line.text == "." { Answer::Hang } else { polite(line) }).await;
    let mut town = ProcessTown::start(Plan::default().peer("peer.example", peer.port())).await;
    town.send(USR1, &["a@peer.example"], b"Subject: hang\r\n\r\n").await;
    peer.heard("C: .", 1).await;
    town.terminate(gateway);
    // Within the harness's patience, which is a small part of the ten minutes that the peer may take.
    assert_eq!(town.ended(gateway).await.code(), Some(0));
    assert_eq!(town.queue(EXMAIL).await.len(), 1);
}
