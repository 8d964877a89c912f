//! The ports for submissions (RFC 6409), in clear and over TLS (RFC 8314).

use crate::{
    logs::NativeTown,
    starttls::{command, dial, documented, keywords, reply, trusting},
};
use mail_net::{LineStream, TlsError};
use std::path::{Path, PathBuf};
use town_config::PortKey;
use town_tests::{EXMAIL, GMAIL, Plan, Site, SmtpClient, TestTown, USR, USR1, USR2};

/// `\0usr1@mail.sustech.edu.cn\0pass1`.
const LOGIN: &str = "AUTH PLAIN AHVzcjFAbWFpbC5zdXN0ZWNoLmVkdS5jbgBwYXNzMQ==\r\n";
const GREETING: [&str; 1] = ["220 exmail.qq.com SMTP server ready"];

fn authority(site: &Site) -> PathBuf {
    site.state().join("tls/ca.pem")
}

/// A client that has said EHLO on the port of submissions.
async fn over_tls(site: &Site, authority: &Path) -> (LineStream, Vec<String>) {
    let client = dial(site, PortKey::Submissions).await;
    let mut client = client.upgrade(trusting(authority, "smtp.exmail.qq.com")).await.unwrap();
    assert_eq!(reply(&mut client).await, GREETING);
    let hello = command(&mut client, "EHLO laptop\r\n").await;
    (client, hello)
}

async fn send(client: &mut LineStream, sender: &str, recipient: &str) {
    command(client, &format!("MAIL FROM:<{sender}>\r\n")).await;
    command(client, &format!("RCPT TO:<{recipient}>\r\n")).await;
    let accepted = command(client, "BDAT 8 LAST\r\nA: b\r\n\r\n").await;
    assert!(accepted[0].starts_with("250 2.0.0 OK queued as"), "{accepted:?}");
}

#[tokio::test]
async fn each_port_announces_what_it_has() {
    let town = TestTown::start(Plan::default().rfc()).await;
    let mut client = dial(&town, PortKey::Submission).await;
    assert_eq!(reply(&mut client).await, GREETING);
    let hello = command(&mut client, "EHLO laptop\r\n").await;
    assert_eq!(keywords(&hello), documented(false));
    command(&mut client, "STARTTLS\r\n").await;
    let mut client = client.upgrade(trusting(&authority(&town), "localhost")).await.unwrap();
    let hello = command(&mut client, "EHLO laptop\r\n").await;
    assert_eq!(keywords(&hello), documented(true));

    let (mut client, hello) = over_tls(&town, &authority(&town)).await;
    assert_eq!(keywords(&hello), documented(true));
    assert_eq!(command(&mut client, "STARTTLS\r\n").await, ["503 5.5.1 TLS is spoken already"]);
    send(&mut client, USR1, USR2).await;
    assert_eq!(command(&mut client, LOGIN).await, ["235 2.7.0 authentication successful"]);
    send(&mut client, USR1, USR2).await;
    let mail = town.mail_of(USR2, 2).await;
    for (message, protocol) in mail.iter().zip(["with ESMTPS\r\n", "with ESMTPSA\r\n"]) {
        let text = String::from_utf8_lossy(message);
        assert!(text.contains(protocol), "{text}");
    }
    town.stop().await;
}

/// RFC 6409 §4.3, §6.1.
#[tokio::test]
async fn only_submissions_are_taken() {
    let town = TestTown::start(Plan::default()).await;
    for key in [PortKey::Submission, PortKey::Submissions] {
        let mut client = match key {
            PortKey::Submissions => over_tls(&town, &authority(&town)).await.0,
            _ => {
                let mut client = dial(&town, key).await;
                reply(&mut client).await;
                command(&mut client, "EHLO laptop\r\n").await;
                client
            }
        };
        for (path, expected) in [
            ("<a@far.example>", "550 5.7.1 <a@far.example>: only local users may send on this port, or log in first"),
            ("<>", "550 5.7.1 <>: only local users may send on this port, or log in first"),
            ("<nobody@mail.sustech.edu.cn>", "550 5.1.0 <nobody@mail.sustech.edu.cn>: no such sender here"),
            ("<usr1@mail.sustech.edu.cn>", "250 2.1.0 OK"),
        ] {
            assert_eq!(command(&mut client, &format!("MAIL FROM:{path}\r\n")).await, [expected]);
        }
        command(&mut client, "RSET\r\n").await;
        command(&mut client, LOGIN).await;
        // Somebody who is known may send what no failure message is to follow (RFC 8098 §2.1).
        send(&mut client, "", USR).await;
        let yourself =
            "553 5.7.1 <a@far.example>: you are logged in as usr1@mail.sustech.edu.cn, and may send only as yourself";
        assert_eq!(command(&mut client, "MAIL FROM:<a@far.example>\r\n").await, [yourself]);
    }
    assert_eq!(town.mail_of(USR, 2).await.len(), 2);
    town.stop().await;
}

#[tokio::test]
async fn a_server_that_requires_logins_requires_them_there_too() {
    let town = TestTown::start(Plan::default().setting("require_auth = true")).await;
    let mut client = SmtpClient::connect(town.address(EXMAIL, PortKey::Submission)).await.unwrap();
    client.hello().await;
    for (path, expected) in [
        (USR1, "530 5.7.0 authentication required to send as a local user"),
        ("a@far.example", "530 5.7.0 authentication required to submit mail"),
        ("", "530 5.7.0 authentication required to submit mail"),
    ] {
        assert_eq!(client.command(&format!("MAIL FROM:<{path}>")).await.unwrap(), expected);
    }
    town.stop().await;
}

/// RFC 6409 §8.2, §8.3. What has both fields stays as it is.
#[tokio::test]
async fn a_message_gets_the_fields_that_it_lacks() {
    const WHOLE: &[u8] =
        b"Message-ID: <own@a.test>\r\nDate: Thu, 01 Jan 1970 00:00:00 +0000\r\nSubject: whole\r\n\r\nx\r\n";
    // Large enough to stream to the store.
    let large = [b"Subject: large\r\n\r\n".as_slice(), &b"Date: no field\r\n".repeat(10_000)].concat();
    for plan in [Plan::default().rfc(), Plan::default()] {
        let is_rfc = plan.config().contains("\"rfc\"");
        let town = TestTown::start(plan).await;
        for key in [PortKey::Submission, PortKey::Smtp] {
            let mut client = SmtpClient::connect(town.address(EXMAIL, key)).await.unwrap();
            client.hello().await;
            for message in [b"Subject: small\r\n\r\nx\r\n", WHOLE, &large] {
                client.send(USR1, &[USR2], message).await.unwrap();
            }
        }
        for (number, message) in town.mail_of(USR2, 6).await.iter().enumerate() {
            let header_octets = message.windows(4).position(|octets| octets == b"\r\n\r\n").unwrap() + 2;
            let header = String::from_utf8_lossy(&message[..header_octets]);
            let count = |field: &str| header.lines().filter(|line| line.starts_with(field)).count();
            let expected = usize::from((is_rfc && number < 3) || number % 3 == 1);
            assert_eq!([count("Date: "), count("Message-ID: <")], [expected; 2], "message {number}: {header}");
            if number % 3 == 1 {
                assert!(message.ends_with(WHOLE), "{header}");
            }
            if number % 3 == 2 {
                assert!(message.ends_with(&large[b"Subject: large\r\n".len()..]), "{header}");
            }
        }
        town.stop().await;
    }
}

/// Who takes one port for the other is told so, and so is the operator.
#[tokio::test]
async fn a_client_that_mistakes_the_port_is_told() {
    let town = NativeTown::start(Plan::default()).await;
    let mut client = SmtpClient::connect_silently(town.site.address(EXMAIL, PortKey::Submissions)).await.unwrap();
    let told = client.command("EHLO laptop").await.unwrap();
    assert_eq!(told, "421 4.7.0 this port begins with TLS");
    assert_eq!(client.rest().await.unwrap(), "");
    town.logged(&["smtp.tls_failed", "peer=127.0.0.1:", "error=\"the client does not begin with TLS\""]).await;
    let client = dial(&town.site, PortKey::Submission).await;
    let failed = client.upgrade(trusting(&authority(&town.site), "localhost")).await;
    assert!(matches!(failed, Err(TlsError::Handshake(_))), "{failed:?}");
    town.logged(&["smtp.tls_failed", "error=\"TLS where nobody has asked for it\""]).await;
    // Others are served.
    over_tls(&town.site, &authority(&town.site)).await;
}

/// The keys are optional, and the ports may be chosen by the system.
#[tokio::test]
async fn a_town_without_the_keys_has_no_such_ports() {
    let plan = Plan::default();
    let ports =
        [EXMAIL, GMAIL].map(|server| [PortKey::Submission, PortKey::Submissions].map(|key| plan.port(server, key)));
    let town = TestTown::start_edited(plan, |config| {
        let is_kept = |line: &&str| !line.starts_with("submission");
        config.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
    })
    .await;
    for port in ports.as_flattened() {
        let refused = SmtpClient::connect(([127, 0, 0, 1], *port).into()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    town.send(USR1, &[USR2], b"Subject: without\r\n\r\n").await;
    town.stop().await;
}
