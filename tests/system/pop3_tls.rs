//! STLS (RFC 2595), the port `pops` (RFC 8314) and AUTH (RFC 5034) of POP3, against whole towns.

use crate::{
    logs::NativeTown,
    starttls::{dial, trusting},
};
use mail_net::LineStream;
use mail_proto::sasl::ClientExchange;
use reqwest::Method;
use std::fs;
use town_config::PortKey;
use town_tests::{EXMAIL, Plan, Site, TestTown, USR1, USR2};

const GREETING: &str = "+OK POP3 server ready";
const LOGGED_ON: &str = "+OK user successfully logged on";
const WRONG: &str = "-ERR [AUTH] wrong user or password";
/// `\0usr1@mail.sustech.edu.cn\0pass1`.
const PLAIN: &str = "AUTH PLAIN AHVzcjFAbWFpbC5zdXN0ZWNoLmVkdS5jbgBwYXNzMQ==";
/// The same with `guessed-secret` as the password.
const GUESS: &str = "AUTH PLAIN AHVzcjFAbWFpbC5zdXN0ZWNoLmVkdS5jbgBndWVzc2VkLXNlY3JldA==";

async fn line(client: &mut LineStream) -> String {
    let line = client.line(client.deadline()).await.unwrap().unwrap();
    String::from_utf8(line.to_vec()).unwrap()
}

/// Sends octets and a CRLF; returns the next line.
async fn ask(client: &mut LineStream, octets: &str) -> String {
    client.push(format!("{octets}\r\n").as_bytes());
    line(client).await
}

async fn in_clear(site: &Site) -> LineStream {
    let mut client = dial(site, PortKey::Pop).await;
    assert_eq!(line(&mut client).await, GREETING);
    client
}

/// A client that has agreed on TLS, behind STLS and what was sent along with it.
async fn behind_stls(site: &Site, injected: &str) -> LineStream {
    let mut client = in_clear(site).await;
    client.push(format!("STLS\r\n{injected}").as_bytes());
    assert_eq!(line(&mut client).await, "+OK ready to start TLS");
    client.upgrade(trusting(&site.state().join("tls/ca.pem"), "localhost")).await.unwrap()
}

async fn at_pops(site: &Site) -> LineStream {
    let client = dial(site, PortKey::Pops).await;
    let mut client = client.upgrade(trusting(&site.state().join("tls/ca.pem"), "pop.exmail.qq.com")).await.unwrap();
    assert_eq!(line(&mut client).await, GREETING);
    client
}

/// Logs in with SCRAM-SHA-256; returns the last reply.
async fn scram(client: &mut LineStream, user: &str, password: &str) -> String {
    let mut exchange = ClientExchange::scram(user, &password.to_owned().into(), "rOprNGfwEbeRWgbNEkqO").unwrap();
    let mut reply = ask(client, &format!("AUTH {} {}", exchange.mechanism(), exchange.initial())).await;
    while let Some(challenge) = reply.strip_prefix("+ ") {
        let response = exchange.challenge(challenge).unwrap();
        reply = ask(client, &response).await;
    }
    reply
}

#[tokio::test]
async fn a_maildrop_is_read_over_tls_and_with_sasl() {
    let town = TestTown::start(Plan::default()).await;
    town.send(USR2, &[USR1], b"Subject: read over TLS\r\n\r\n").await;
    town.mail_of(USR1, 1).await;
    let mut clients = [behind_stls(&town, "").await, at_pops(&town).await, in_clear(&town).await];
    for client in &mut clients {
        assert_eq!(ask(client, GUESS).await, WRONG);
        assert_eq!(scram(client, USR1, "wrong").await, WRONG);
        assert_eq!(scram(client, "usr1", "pass1").await, LOGGED_ON);
        assert!(ask(client, "STAT").await.starts_with("+OK 1 "));
        assert_eq!(ask(client, PLAIN).await, "-ERR already logged in");
        assert_eq!(ask(client, "QUIT").await, "+OK");
    }
    let mut client = at_pops(&town).await;
    assert_eq!(ask(&mut client, PLAIN).await, LOGGED_ON);
    let mut other = in_clear(&town).await;
    assert_eq!(scram(&mut other, USR1, "pass1").await, "-ERR [IN-USE] another session holds this maildrop");
    town.stop().await;
}

/// RFC 2595 §4: somebody in between may have put commands behind STLS.
#[tokio::test]
async fn what_is_pipelined_after_stls_is_never_acted_on() {
    let town = TestTown::start(Plan::default()).await;
    for injected in ["NOOP\r\n", "USER usr1@mail.sustech.edu.cn\r\nPASS pass1\r\nDELE 1\r\nQUIT\r\n", "US"] {
        let mut client = behind_stls(&town, injected).await;
        assert_eq!(ask(&mut client, "STAT").await, "-ERR log in first", "{injected}");
        assert_eq!(ask(&mut client, "PASS pass1").await, "-ERR USER comes before PASS", "{injected}");
    }
    town.stop().await;
}

#[tokio::test]
async fn passwords_may_need_tls() {
    let town = TestTown::start(Plan::default().tables("[pop3]\nrequire_tls = true\n")).await;
    let mut client = in_clear(&town).await;
    for command in ["USER usr1", "PASS pass1", PLAIN] {
        let reply = ask(&mut client, command).await;
        assert!(reply.starts_with("-ERR [AUTH] say STLS first: "), "{reply}");
    }
    assert_eq!(scram(&mut client, USR1, "pass1").await, LOGGED_ON);
    assert_eq!(ask(&mut client, "QUIT").await, "+OK");
    let mut client = behind_stls(&town, "").await;
    assert_eq!(ask(&mut client, PLAIN).await, LOGGED_ON);
    town.stop().await;
}

/// Each failed login is one line that the filter of fail2ban finds, and no credential is written anywhere.
#[tokio::test]
async fn logins_are_logged_once_and_without_credentials() {
    let town = NativeTown::start_verbose(Plan::default()).await;
    let mut client = in_clear(&town.site).await;
    assert_eq!(ask(&mut client, GUESS).await, WRONG);
    assert_eq!(scram(&mut client, USR1, "guessed-secret").await, WRONG);
    // `user=usr1^Aauth=Bearer guessed-secret^A^A`, and the acknowledgement.
    assert!(
        ask(&mut client, "AUTH XOAUTH2 dXNlcj11c3IxAWF1dGg9QmVhcmVyIGd1ZXNzZWQtc2VjcmV0AQE=").await.starts_with("+ ")
    );
    assert_eq!(ask(&mut client, "").await, WRONG);
    assert_eq!(ask(&mut client, "USER @").await, "+OK");
    assert_eq!(ask(&mut client, "PASS guessed-secret").await, WRONG);
    assert_eq!(ask(&mut client, "AUTH LOGIN").await, "+ VXNlcm5hbWU6");
    assert_eq!(ask(&mut client, "*").await, "-ERR authentication cancelled");
    assert_eq!(ask(&mut client, PLAIN).await, LOGGED_ON);
    town.logged(&["pop3.login ", "peer=127.0.0.1"]).await;
    let log = fs::read_to_string(town.site.directory().join("log")).unwrap();
    let refused =
        log.lines().filter(|line| line.contains("pop3{peer=127.0.0.1:") && line.contains("pop3.login_refused"));
    assert_eq!(refused.count(), 4, "{log}");
    for secret in ["guessed-secret", "pass1", "AHVzcjFA", "Z3Vlc3NlZC1zZWNyZXQ"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    let metrics = town.site.call(Method::GET, EXMAIL, PortKey::PopHttp, "/metrics").await.text().await.unwrap();
    for (outcome, count) in [("ok", 1), ("wrong_password", 4), ("cancelled", 1), ("malformed", 0)] {
        let line = format!("mailtown_pop3_logins_total{{outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}
