//! A domain with several exchanges, of which one lacks what a message needs (RFC 5321 §5.1).

use town_tests::{Answer, EXMAIL, FakePeer, Line, PATIENCE, Plan, TestTown, USR1, polite};

const EIGHT_BIT: &[u8] = b"Subject: eight\r\n\r\n\xc3\xa4\r\n";

/// A peer that takes everything, and only seven bits.
fn old(line: &Line<'_>) -> Answer {
    if line.text.starts_with("EHLO") { "250-peer.example\n250 PIPELINING".into() } else { polite(line) }
}

/// Two exchanges at these ports; the first is preferred.
fn plan(first: u16, second: u16) -> Plan {
    let exchanges =
        "[{ preference = 10, exchange = \"one.example.\" }, { preference = 20, exchange = \"two.example.\" }]";
    let plan = Plan::default().relay("retry = [\"1h\"]").mx("peer.example", exchanges);
    plan.p("one.example", first).p("two.example", second)
}

#[tokio::test]
async fn what_the_first_exchange_cannot_take_goes_to_the_next() {
    let (lacking, able) = (FakePeer::start(old).await, FakePeer::start(polite).await);
    let town = TestTown::start(plan(lacking.port(), able.port())).await;
    town.send(USR1, &["a@peer.example"], EIGHT_BIT).await;
    able.heard("C: Subject: eight", 1).await;
    town.drained(EXMAIL).await;
    assert!(!lacking.transcript().iter().any(|line| line.starts_with("C: MAIL")), "{:?}", lacking.transcript());
}

/// And the other mail goes over the connection that there is.
#[tokio::test]
async fn what_no_exchange_can_take_fails_for_good() {
    let (one, two) = (FakePeer::start(old).await, FakePeer::start(old).await);
    let town = TestTown::start(plan(one.port(), two.port())).await;
    town.send(USR1, &["a@peer.example"], EIGHT_BIT).await;
    let report = String::from_utf8(town.mail_within(USR1, 1, PATIENCE).await.remove(0)).unwrap();
    assert!(report.contains("Status: 5.6.3\r\n"), "{report}");
    two.heard("C: QUIT", 1).await;
    town.send(USR1, &["a@peer.example"], b"Subject: seven\r\n\r\na\r\n").await;
    one.heard("C: Subject: seven", 1).await;
    town.drained(EXMAIL).await;
}

#[tokio::test]
async fn an_exchange_that_is_down_may_be_able_to_take_it() {
    let lacking = FakePeer::start(old).await;
    let silent = Plan::default().silent_port();
    let town = TestTown::start(plan(lacking.port(), silent)).await;
    town.send(USR1, &["a@peer.example"], EIGHT_BIT).await;
    let entry = town.deferred(EXMAIL).await;
    assert_eq!(entry.last_reply, format!("451 4.4.1 two.example (127.0.0.1:{silent}): connection refused"));
    town.send(USR1, &["b@peer.example"], b"Subject: seven\r\n\r\na\r\n").await;
    lacking.heard("C: Subject: seven", 1).await;
}

/// An exchange that could take the message ends each connection before.
#[tokio::test]
async fn an_exchange_that_keeps_no_connection_is_not_asked_for_ever() {
    let lacking = FakePeer::start(old).await;
    let fleeting = FakePeer::start(|line| match line.text.starts_with("EHLO") {
        true => "250-two.example\n250 8BITMIME\n421 4.3.2 enough".into(),
        false => polite(line),
    })
    .await;
    let town = TestTown::start(plan(lacking.port(), fleeting.port())).await;
    town.send(USR1, &["a@peer.example"], EIGHT_BIT).await;
    assert!(town.deferred(EXMAIL).await.last_reply.starts_with('4'));
    let connections =
        fleeting.transcript().iter().filter(|line| line.starts_with("-- ") && *line != "-- closed").count();
    assert!((1..=4).contains(&connections), "{:?}", fleeting.transcript());
}
