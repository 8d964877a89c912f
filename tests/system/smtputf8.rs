//! SMTPUTF8 (RFC 6531) through a whole town.

use town_config::PortKey;
use town_tests::{EXMAIL, FakePeer, GMAIL, PATIENCE, Plan, Pop3Client, SmtpClient, TestTown, USR1, polite};

const USER: &str = "用户@gmail.com";
/// An account of gmail.com in a domain beyond ASCII, and the same address as the name system has it.
const READER: &str = "leser@bücher.example";
const READER_IN_ASCII: &str = "leser@xn--bcher-kva.example";
const GLOBAL: &[u8] = "Subject: größe\r\n\r\nhello\r\n".as_bytes();
const PLAIN: &[u8] = b"Subject: size\r\n\r\nhello\r\n";

fn plan() -> Plan {
    let domains = "domains = [\"gmail.com\", \"bücher.example\"]";
    let plan = Plan::default().rfc().server(GMAIL, domains).account(USER, "pass").account(READER, "pass");
    plan.mx("xn--bcher-kva.example", "\"gmail-smtp-in.l.google.com.\"")
}

/// Sends a message with SMTPUTF8, and returns the replies to the recipients.
async fn send(town: &TestTown, sender: &str, recipients: &[&str], message: &[u8]) -> Vec<String> {
    let mut client = SmtpClient::connect(town.address(EXMAIL, PortKey::Smtp)).await.unwrap();
    client.hello().await;
    let said = client.command(&format!("MAIL FROM:<{sender}> BODY=8BITMIME SMTPUTF8")).await.unwrap();
    assert!(said.starts_with("250 "), "{said}");
    let mut replies = Vec::new();
    for recipient in recipients {
        replies.push(client.command(&format!("RCPT TO:<{recipient}>")).await.unwrap());
    }
    let said = client.command("DATA").await.unwrap();
    assert!(said.starts_with("354 "), "{said}");
    client.write(&[message, b".\r\n"].concat()).await.unwrap();
    let said = client.reply().await.unwrap();
    assert!(said.starts_with("250 "), "{said}");
    replies
}

/// What is in the maildrop of a user of gmail.com, once there is something.
async fn arrived(town: &TestTown, user: &str) -> String {
    town_tests::eventually("mail", PATIENCE, async || {
        let mut client = Pop3Client::connect(town.address(GMAIL, PortKey::Pop)).await.unwrap();
        client.log_in(user, "pass").await.unwrap();
        let message = if client.stat().await.0 == 0 { None } else { Some(client.retr(1).await) };
        client.quit().await;
        message.map(|message| String::from_utf8(message).unwrap())
    })
    .await
}

#[tokio::test]
async fn mail_reaches_addresses_beyond_ascii() {
    let town = TestTown::start(plan()).await;
    let replies = send(&town, USR1, &[USER, READER, "niemand@bücher.example"], GLOBAL).await;
    assert!(replies.iter().all(|reply| reply.starts_with("250 ")), "{replies:?}");
    for (user, named) in [(USER, "用户@gmail.com"), (READER_IN_ASCII, READER_IN_ASCII)] {
        let message = arrived(&town, user).await;
        assert!(message.contains("with UTF8SMTP") && message.contains("Subject: größe\r\n"), "{message}");
        assert!(message.contains(&format!("for <{named}>")), "{message}");
    }
    // Who is told of a failure has shown that they read UTF-8.
    let report = String::from_utf8(town.mail_within(USR1, 1, PATIENCE).await.remove(0)).unwrap();
    assert!(report.contains("Content-Type: message/global-headers"), "{report}");
    assert!(report.contains("Final-Recipient: rfc822; niemand@xn--bcher-kva.example"), "{report}");
    town.stop().await;
}

/// A sender beyond ASCII gets its failure message, which needs SMTPUTF8 too.
#[tokio::test]
async fn a_failure_message_finds_a_sender_beyond_ascii() {
    let town = TestTown::start(plan()).await;
    let mut client = SmtpClient::connect(town.address(GMAIL, PortKey::Smtp)).await.unwrap();
    client.hello().await;
    for line in [format!("MAIL FROM:<{USER}> SMTPUTF8"), "RCPT TO:<nobody@mail.sustech.edu.cn>".to_owned()] {
        let said = client.command(&line).await.unwrap();
        assert!(said.starts_with("250 "), "{line}: {said}");
    }
    client.command("DATA").await.unwrap();
    client.write(b"Subject: x\r\n\r\n.\r\n").await.unwrap();
    assert!(client.reply().await.unwrap().starts_with("250 "));
    let report = arrived(&town, USER).await;
    assert!(report.contains(&format!("To: <{USER}>\r\n")) && report.contains("Status: 5.1.1"), "{report}");
    let stored = town.messages(GMAIL).await.messages;
    assert!(stored.iter().any(|message| message.reverse_path.mailbox().is_none() && message.parameters.smtputf8));
    town.stop().await;
}

/// RFC 6531 §3.2: a message that does not need the extension goes without it, also with others that do.
#[tokio::test]
async fn a_server_without_the_extension_gets_what_does_not_need_it() {
    let peer = FakePeer::start(polite).await;
    let town = TestTown::start(plan().peer("peer.example", peer.port())).await;
    send(&town, USR1, &["a@peer.example", "é@peer.example"], PLAIN).await;
    let first = String::from_utf8(town.mail_within(USR1, 1, PATIENCE).await.remove(0)).unwrap();
    assert!(first.contains("Status: 5.6.7\r\n") && !first.contains("a@peer.example"), "{first}");
    send(&town, USR1, &["b@peer.example"], GLOBAL).await;
    let second = String::from_utf8(town.mail_within(USR1, 2, PATIENCE).await.remove(1)).unwrap();
    assert!(second.contains("Status: 5.6.9\r\n"), "{second}");
    town.drained(EXMAIL).await;
    let heard = peer.transcript();
    let about = |text: &str| heard.iter().filter(|line| line.starts_with("C: ") && line.contains(text)).count();
    assert_eq!((about("RCPT TO:<a@"), about("é@"), about("b@"), about("SMTPUTF8")), (1, 0, 0, 0), "{heard:?}");
    town.stop().await;
}
