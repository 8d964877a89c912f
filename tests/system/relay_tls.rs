//! Mail between servers over TLS.

use std::time::Duration;
use town_tests::{EXMAIL, FakePeer, GMAIL, PATIENCE, Plan, TestTown, USR, USR1, polite};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How gmail.com says that it has got a message, with these lines in `[relay]` (RFC 3848).
async fn received_with(plan: Plan, relay: &str) -> String {
    let town = TestTown::start(plan.relay(relay)).await;
    town.send(USR1, &[USR], b"Subject: between\r\n\r\nservers\r\n").await;
    let message = String::from_utf8(town.mail_of(USR, 1).await.remove(0)).unwrap();
    let by_gmail = message.split("Received: ").find(|field| field.contains(&format!("by {GMAIL} "))).unwrap();
    let (_, after) = by_gmail.split_once(" with ").unwrap();
    let protocol = after.split_whitespace().next().unwrap().to_owned();
    town.drained(EXMAIL).await;
    town.stop().await;
    protocol
}

#[tokio::test]
async fn the_servers_of_a_town_speak_tls_with_each_other() {
    for (relay, expected) in [("", "ESMTPS"), ("tls = \"verify\"", "ESMTPS"), ("tls = \"off\"", "ESMTP")] {
        assert_eq!(received_with(Plan::default().rfc(), relay).await, expected, "{relay}");
    }
}

/// A domain that its owner has pointed to gmail.com: no certificate of gmail.com holds that name.
#[tokio::test]
async fn a_server_whose_certificate_does_not_hold_its_name_gets_no_verified_mail() {
    let plan = Plan::default().rfc().relay("tls = \"verify\"\nexpiry = \"1h\"\nretry = [\"1h\"]");
    let port = plan.port(GMAIL, town_config::PortKey::Smtp);
    let town = TestTown::start(plan.peer("alias.example", port)).await;
    town.send(USR1, &["a@alias.example"], b"Subject: verified\r\n\r\n").await;
    town.deferred(EXMAIL).await;
    town.time.advance(HOUR);
    let report = String::from_utf8(town.mail_within(USR1, 1, PATIENCE).await.remove(0)).unwrap();
    let said = report.replace("\r\n", " ");
    assert!(report.contains("Diagnostic-Code: X-Mailtown; 451 4.7.5 "), "{report}");
    assert!(
        said.contains("the TLS handshake failed: invalid peer certificate: certificate not valid for name"),
        "{report}"
    );
    town.stop().await;
}

#[tokio::test]
async fn a_server_without_tls_gets_no_verified_mail() {
    let peer = FakePeer::start(polite).await;
    let plan = Plan::default().relay("tls = \"verify\"\nexpiry = \"1h\"\nretry = [\"1h\"]");
    let town = TestTown::start(plan.peer("peer.example", peer.port())).await;
    town.send(USR1, &["a@peer.example"], b"Subject: verified\r\n\r\n").await;
    town.deferred(EXMAIL).await;
    town.time.advance(HOUR);
    let report = String::from_utf8(town.mail_within(USR1, 1, PATIENCE).await.remove(0)).unwrap();
    assert!(report.contains("Status: 5.4.7\r\n"), "{report}");
    assert!(
        report.contains("Diagnostic-Code: X-Mailtown; 451 4.7.5 ") && report.contains("it does not offer STARTTLS"),
        "{report}"
    );
    assert!(!peer.transcript().iter().any(|said| said.starts_with("C: MAIL")), "{:?}", peer.transcript());
    town.stop().await;
}

/// RFC 8689 §3. The others of the same domain wait.
#[tokio::test]
async fn a_sender_may_waive_verified_tls() {
    let peer = FakePeer::start(polite).await;
    let plan = Plan::default().relay("tls = \"verify\"\nretry = [\"1h\"]");
    let town = TestTown::start(plan.peer("peer.example", peer.port())).await;
    town.send(USR1, &["a@peer.example"], b"Subject: report\r\nTLS-Required: No\r\n\r\n").await;
    peer.heard("C: Subject: report", 1).await;
    town.drained(EXMAIL).await;
    // Not over the connection that is kept for a moment.
    town.send(USR1, &["a@peer.example"], b"Subject: verified\r\n\r\nTLS-Required: No\r\n").await;
    let entry = town.deferred(EXMAIL).await;
    assert!(entry.last_reply.starts_with("451 4.7.5 "), "{}", entry.last_reply);
    assert!(!peer.transcript().contains(&"C: Subject: verified".to_owned()), "{:?}", peer.transcript());
    town.stop().await;
}
