//! All mail that leaves goes to one server, which sends it on.

use std::time::Duration;
use town_tests::{Answer, EXMAIL, FakePeer, Line, Plan, TestTown, USR, USR1, polite};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A smarthost that knows the user "relay" with the password "secret".
fn smarthost(line: &Line<'_>) -> Answer {
    match line.text {
        // "\0relay\0secret" in base64 (RFC 4616 §2).
        "AUTH PLAIN AHJlbGF5AHNlY3JldA==" => "235 2.7.0 welcome".into(),
        text if text.starts_with("AUTH ") => "535 5.7.8 who are you?".into(),
        text if text.starts_with("EHLO ") => "250-smart.example HELLO\n250 AUTH LOGIN PLAIN".into(),
        _ => polite(line),
    }
}

fn plan(port: u16, password: &str) -> Plan {
    Plan::default().rfc().relay("retry = [\"1h\"]").tables(&format!(
        "[relay.smarthost]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"off\"\nuser = \"relay\"\npassword = \"{password}\""
    ))
}

/// Mail for the other domain of the town goes there too, and so does mail for a domain that the zone does not have.
#[tokio::test]
async fn all_mail_that_leaves_goes_to_the_smarthost() {
    let peer = FakePeer::start(smarthost).await;
    let town = TestTown::start(plan(peer.port(), "secret")).await;
    for recipient in [USR, "a@nowhere.example"] {
        town.send(USR1, &[recipient], b"Subject: out\r\n\r\n").await;
        town.drained(EXMAIL).await;
    }
    town.send(USR1, &[USR1], b"Subject: in\r\n\r\n").await;
    town.mail_of(USR1, 1).await;
    let transcript = peer.transcript();
    for recipient in [USR, "a@nowhere.example"] {
        let named = format!("C: RCPT TO:<{recipient}>");
        assert_eq!(transcript.iter().filter(|said| **said == named).count(), 1, "{transcript:?}");
    }
    let position = |wanted: &str| transcript.iter().position(|said| said.starts_with(wanted)).unwrap();
    assert!(position("S: 235 ") < position("C: MAIL "), "{transcript:?}");
    town.stop().await;
}

/// The configuration may be put right: nothing fails for good.
#[tokio::test]
async fn mail_waits_while_the_smarthost_does_not_know_us() {
    let peer = FakePeer::start(smarthost).await;
    let town = TestTown::start(plan(peer.port(), "mistyped")).await;
    town.send(USR1, &["a@nowhere.example"], b"Subject: out\r\n\r\n").await;
    let entry = town.deferred(EXMAIL).await;
    assert!(entry.last_reply.starts_with("451 4.7.8 127.0.0.1 "), "{}", entry.last_reply);
    assert!(entry.last_reply.ends_with("535 5.7.8 who are you?"), "{}", entry.last_reply);
    assert!(!peer.transcript().iter().any(|said| said.starts_with("C: MAIL ")));
    town.time.advance(HOUR);
    peer.heard("S: 535 5.7.8 who are you?", 2).await;
    assert!(town.listing(USR1).await.messages.is_empty());
    town.stop().await;
}
