//! AUTH (RFC 4954) against whole towns: what no dialogue can show, because it has random or changing parts.

use crate::logs::NativeTown;
use mail_proto::sasl::{ClientError, ClientExchange};
use reqwest::Method;
use std::fs;
use town_config::PortKey;
use town_tests::{EXMAIL, Plan, Pop3Client, SmtpClient, TestTown, USR, USR1, USR2};

/// `\0usr1@mail.sustech.edu.cn\0pass1`.
pub(crate) const PLAIN: &str = "AUTH PLAIN AHVzcjFAbWFpbC5zdXN0ZWNoLmVkdS5jbgBwYXNzMQ==";
/// The same with `guessed-secret` as the password.
pub(crate) const GUESS: &str = "AUTH PLAIN AHVzcjFAbWFpbC5zdXN0ZWNoLmVkdS5jbgBndWVzc2VkLXNlY3JldA==";
pub(crate) const SUCCESS: &str = "235 2.7.0 authentication successful";
pub(crate) const REFUSED: &str = "535 5.7.8 authentication credentials invalid";

/// Logs in with SCRAM-SHA-256; returns the last reply, and whether the server has proved that it knows the user.
pub(crate) async fn scram(client: &mut SmtpClient, user: &str, password: &str) -> (String, Result<(), ClientError>) {
    let mut exchange = ClientExchange::scram(user, &password.to_owned().into(), "rOprNGfwEbeRWgbNEkqO").unwrap();
    let command = format!("AUTH {} {}", exchange.mechanism(), exchange.initial());
    let mut reply = client.command(&command).await.unwrap();
    while let Some(challenge) = reply.strip_prefix("334 ") {
        let response = exchange.challenge(challenge).unwrap();
        reply = client.command(&response).await.unwrap();
    }
    (reply, exchange.succeeded())
}

async fn connect(town: &TestTown) -> SmtpClient {
    let mut client = town.smtp(EXMAIL).await;
    client.hello().await;
    client
}

#[tokio::test]
async fn scram_proves_both_sides() {
    let town = TestTown::start(Plan::default()).await;
    let mut client = connect(&town).await;
    assert_eq!(scram(&mut client, USR1, "pass1").await, (SUCCESS.to_owned(), Ok(())));
    client.send(USR1, &[USR2, USR], b"Subject: proved\r\n\r\n").await.unwrap();
    assert_eq!(town.mail_of(USR, 1).await.len(), 1);
    let mut client = connect(&town).await;
    assert_eq!(scram(&mut client, "usr1", "pass1").await.0, SUCCESS);
    for (user, password) in [(USR1, "pass2"), ("nobody@mail.sustech.edu.cn", "pass1"), (USR, "pass")] {
        let mut client = connect(&town).await;
        let (reply, proved) = scram(&mut client, user, password).await;
        assert_eq!((reply.as_str(), proved), (REFUSED, Err(ClientError::Impostor)), "{user}");
        assert_eq!(client.command("NOOP").await.unwrap(), "250 2.0.0 OK");
    }
    town.stop().await;
}

/// Two connections of one unknown user see the same salt, as those of a known one do, and never the same nonce.
#[tokio::test]
async fn challenges_do_not_tell_who_exists() {
    let town = TestTown::start(Plan::default()).await;
    let mut seen = Vec::new();
    for user in ["dXNyMQ==", "bm9ib2R5"] {
        for _ in 0..2 {
            let mut client = connect(&town).await;
            // `n,,n=usr1,r=abc` and `n,,n=nobody,r=abc`.
            let initial = if user == "dXNyMQ==" { "biwsbj11c3IxLHI9YWJj" } else { "biwsbj1ub2JvZHkscj1hYmM=" };
            let reply = client.command(&format!("AUTH SCRAM-SHA-256 {initial}")).await.unwrap();
            seen.push(reply);
        }
    }
    assert!(seen.iter().all(|reply| reply.starts_with("334 ") && reply.len() == seen[0].len()), "{seen:?}");
    let different: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(different.len(), seen.len(), "each has a nonce of its own");
    town.stop().await;
}

#[tokio::test]
async fn a_server_may_require_logins() {
    let town = TestTown::start(Plan::default().setting("require_auth = true")).await;
    let mut client = connect(&town).await;
    let mail = format!("MAIL FROM:<{USR1}>");
    assert_eq!(client.command(&mail).await.unwrap(), "530 5.7.0 authentication required to send as a local user");
    // Other servers deliver as before.
    assert_eq!(client.command("MAIL FROM:<a@far.example>").await.unwrap(), "250 2.1.0 OK");
    assert_eq!(client.command("RSET").await.unwrap(), "250 2.0.0 OK");
    assert_eq!(client.command(PLAIN).await.unwrap(), SUCCESS);
    client.send(USR1, &[USR2, USR], b"Subject: required\r\n\r\n").await.unwrap();
    assert_eq!((town.mail_of(USR2, 1).await.len(), town.mail_of(USR, 1).await.len()), (1, 1));
    town.stop().await;
}

/// Who is logged in stays with the message.
#[tokio::test]
async fn the_trace_field_tells_of_the_login() {
    let town = TestTown::start(Plan::default().rfc()).await;
    let mut client = connect(&town).await;
    assert_eq!(client.command(PLAIN).await.unwrap(), SUCCESS);
    client.send(USR1, &[USR2], b"Subject: traced\r\n\r\n").await.unwrap();
    let mail = town.mail_of(USR2, 1).await;
    let text = String::from_utf8_lossy(&mail[0]);
    assert!(text.contains("with ESMTPA"), "{text}");
    town.stop().await;
}

/// Failed logins are logged with the client's address, counted, and no credential is written anywhere.
#[tokio::test]
async fn logins_are_logged_without_credentials() {
    let town = NativeTown::start_verbose(Plan::default()).await;
    let mut client = town.site.smtp(EXMAIL).await;
    client.hello().await;
    assert_eq!(client.command(GUESS).await.unwrap(), REFUSED);
    assert_eq!(client.command("AUTH LOGIN").await.unwrap(), "334 VXNlcm5hbWU6");
    assert_eq!(client.command("*").await.unwrap(), "501 5.7.0 authentication cancelled");
    assert_eq!(client.command(PLAIN).await.unwrap(), SUCCESS);
    town.logged(&["smtp.login_failed", "peer=127.0.0.1", "reason=\"authentication credentials invalid\""]).await;
    town.logged(&["smtp.login ", &format!("user=\"{USR1}\"")]).await;
    let log = fs::read_to_string(town.site.directory().join("log")).unwrap();
    for secret in ["guessed-secret", "pass1", "AHVzcjFA", "Z3Vlc3NlZC1zZWNyZXQ"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    let metrics = town.site.call(Method::GET, EXMAIL, PortKey::SmtpHttp, "/metrics").await.text().await.unwrap();
    for (outcome, count) in [("ok", 1), ("wrong_password", 1), ("cancelled", 1), ("unavailable", 0)] {
        let line = format!("mailtown_smtp_logins_total{{outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

/// For test-beds: whoever logs in, with whatever password, and whoever they then want to be.
#[tokio::test]
async fn a_test_bed_takes_every_login() {
    let town = TestTown::start(Plan::default().setting("auth = \"any\"")).await;
    let mut client = town.smtp(EXMAIL).await;
    let hello = client.command("EHLO laptop").await.unwrap();
    assert!(hello.ends_with("AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER"), "{hello}");
    assert_eq!(client.command(GUESS).await.unwrap(), SUCCESS);
    client.send("anybody@elsewhere.example", &[USR2, USR], b"Subject: any\r\n\r\n").await.unwrap();
    assert_eq!(town.mail_of(USR, 1).await.len(), 1);
    // `\0\xc3\xbc\0x`: a user that is no address.
    let mut client = connect(&town).await;
    assert_eq!(client.command("AUTH PLAIN AMO8AHg=").await.unwrap(), SUCCESS);
    let mut maildrop = Pop3Client::connect(town.address(EXMAIL, PortKey::Pop)).await.unwrap();
    maildrop.log_in(USR2, "whatever").await.unwrap();
    let mut nobodys = Pop3Client::connect(town.address(EXMAIL, PortKey::Pop)).await.unwrap();
    assert!(nobodys.log_in("nobody@mail.sustech.edu.cn", "whatever").await.is_err());
    town.stop().await;
}
