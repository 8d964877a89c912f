//! REQUIRETLS (RFC 8689) through a whole town.

use crate::starttls::{command, dial, reply, trusting};
use internal_api::Message;
use mail_net::LineStream;
use town_config::PortKey;
use town_tests::{EXMAIL, FakePeer, GMAIL, PATIENCE, Plan, TestTown, USR, USR1, polite};

/// A client of exmail.qq.com that has introduced itself over TLS.
async fn encrypted(town: &TestTown) -> LineStream {
    let mut client = dial(town, PortKey::Smtp).await;
    reply(&mut client).await;
    command(&mut client, "EHLO laptop\r\n").await;
    command(&mut client, "STARTTLS\r\n").await;
    let authority = town.state().join("tls/ca.pem");
    let mut client = client.upgrade(trusting(&authority, "exmail.qq.com")).await.unwrap();
    command(&mut client, "EHLO laptop\r\n").await;
    client
}

/// Sends a message from usr1 with these parameters of MAIL.
async fn send(client: &mut LineStream, parameters: &str, recipient: &str) {
    let mail = format!("MAIL FROM:<{USR1}> {parameters}\r\n");
    for line in
        [mail, format!("RCPT TO:<{recipient}>\r\n"), "BDAT 25 LAST\r\nSubject: s\r\n\r\nsecret me\r\n".to_owned()]
    {
        let said = command(client, &line).await;
        assert!(said[0].starts_with("250 "), "{line}: {said:?}");
    }
}

/// The messages that came for usr1, and were written by a server.
async fn reports(town: &TestTown, count: usize) -> Vec<String> {
    let mail = town.mail_within(USR1, count, PATIENCE).await;
    mail.into_iter().map(|message| String::from_utf8(message).unwrap()).collect()
}

async fn messages(town: &TestTown, server: &str) -> Vec<Message> {
    town.messages(server).await.messages
}

/// In both profiles, whatever `relay.tls` is there.
#[tokio::test]
async fn it_holds_for_the_whole_way() {
    for plan in [Plan::default(), Plan::default().rfc()] {
        let town = TestTown::start(plan).await;
        send(&mut encrypted(&town).await, "REQUIRETLS", USR).await;
        town.mail_of(USR, 1).await;
        let arrived = messages(&town, GMAIL).await;
        assert!(arrived[0].parameters.requiretls, "{arrived:?}");
        town.drained(EXMAIL).await;
        town.stop().await;
    }
}

/// The others of the same claim are not kept by it.
#[tokio::test]
async fn a_server_without_tls_gets_none_of_it_and_the_sender_learns_that() {
    let peer = FakePeer::start(polite).await;
    let town = TestTown::start(Plan::default().rfc().peer("peer.example", peer.port())).await;
    let mut client = encrypted(&town).await;
    send(&mut client, "REQUIRETLS RET=FULL", "a@peer.example").await;
    send(&mut client, "RET=FULL", "b@peer.example").await;
    let report = reports(&town, 1).await.remove(0);
    assert!(report.contains("Status: 5.7.10\r\n"), "{report}");
    // RFC 8689 §5: never the message itself.
    assert!(report.contains("Subject: s") && !report.contains("secret"), "{report}");
    town.drained(EXMAIL).await;
    let heard = peer.transcript();
    let about = |who: &str| heard.iter().filter(|line| line.contains(&format!("RCPT TO:<{who}@"))).count();
    assert_eq!((about("a"), about("b")), (0, 1), "{heard:?}");
    let stored = messages(&town, EXMAIL).await;
    assert!(stored.iter().any(|message| message.parameters.requiretls && message.reverse_path.mailbox().is_none()));
    town.stop().await;
}

/// Anybody can forge an answer that comes over plain DNS.
#[tokio::test]
async fn what_was_looked_up_over_dns_is_not_safe() {
    let town = TestTown::start(Plan::default().rfc().relay("lookup = \"dns\"\ntls = \"verify\"")).await;
    let mut client = encrypted(&town).await;
    // Its connection is verified, and kept for a moment.
    send(&mut client, "", USR).await;
    town.drained(EXMAIL).await;
    send(&mut client, "REQUIRETLS", USR).await;
    let report = reports(&town, 1).await.remove(0);
    assert!(report.contains("Status: 5.7.10\r\n") && report.contains("over DNS"), "{report}");
    town.stop().await;
}

/// What MAIL says counts, and not the header (RFC 8689 §4.1).
#[tokio::test]
async fn a_message_that_both_requires_and_waives_tls_requires_it() {
    let peer = FakePeer::start(polite).await;
    let plan = Plan::default().rfc().relay("tls = \"verify\"");
    let town = TestTown::start(plan.peer("peer.example", peer.port())).await;
    let mut client = encrypted(&town).await;
    let mail = format!("MAIL FROM:<{USR1}> REQUIRETLS\r\n");
    for line in [&mail, "RCPT TO:<a@peer.example>\r\n", "BDAT 20 LAST\r\nTLS-Required: No\r\n\r\n"] {
        let said = command(&mut client, line).await;
        assert!(said[0].starts_with("250 "), "{line}: {said:?}");
    }
    let report = reports(&town, 1).await.remove(0);
    assert!(report.contains("Status: 5.7.10\r\n"), "{report}");
    town.stop().await;
}
