//! How clients log in, beyond what dialogues show: what the store is asked and told, and what is counted.
#![allow(clippy::disallowed_methods, reason = "a test waits for processes, sockets and files in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use dialogue::Duplex;
use support::{
    FakeStore, RunningGateway,
    client::{ask, read_line, scram},
    fixture::ACCOUNTS,
};

const USR1: &str = "usr1@mail.sustech.edu.cn";

/// The store is told how a proof has ended before it opens the maildrop without a password.
#[tokio::test]
async fn scram_opens_the_maildrop_in_clear_and_over_tls() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway = RunningGateway::start(store.address, |_| {}).await;
    let encrypted = gateway.agree(Box::new(gateway.connect_to_pops().await)).await.unwrap();
    let clear: Box<dyn Duplex> = Box::new(gateway.connect().await);
    for (count, mut client) in [encrypted, clear].into_iter().enumerate() {
        assert_eq!(read_line(&mut client).await, "+OK POP3 server ready");
        for user in [USR1, "nobody"] {
            assert_eq!(scram(&mut client, user, "wrong").await, "-ERR [AUTH] wrong user or password");
        }
        assert_eq!(scram(&mut client, "usr1", "pass1").await, "+OK user successfully logged on");
        assert_eq!(ask(&mut client, "STAT").await, "+OK 6 316");
        assert_eq!(ask(&mut client, "QUIT").await, "+OK");
        let expected = [
            format!("proved {USR1} false"),
            "proved nobody false".to_owned(),
            "proved usr1 true".to_owned(),
            format!("open {USR1}"),
            format!("update {USR1} lock []"),
        ];
        let calls = store.calls(|calls| calls.len() >= 5 * (count + 1)).await;
        assert_eq!(calls[5 * count..], expected);
    }
    gateway.stop().await;
}

/// Whoever wanted to prove a password and could not has not proved it with the password of another login.
#[tokio::test]
async fn no_proof_is_reported_that_was_not_given() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway = RunningGateway::start(store.address, |_| {}).await;
    let mut client: Box<dyn Duplex> = Box::new(gateway.connect().await);
    assert_eq!(read_line(&mut client).await, "+OK POP3 server ready");
    let unavailable = "-ERR [SYS/TEMP] the mailbox store is not available, try again later";
    assert_eq!(scram(&mut client, "down@mail.sustech.edu.cn", "pass").await, unavailable);
    // Nor has it failed to, with a login of which the store hears nothing: `usr1^@spaces@mail.sustech.edu.cn^@pass`.
    let plain = "AUTH PLAIN dXNyMQBzcGFjZXNAbWFpbC5zdXN0ZWNoLmVkdS5jbgBwYXNz";
    assert_eq!(ask(&mut client, plain).await, "-ERR [AUTH] wrong user or password");
    assert_eq!(ask(&mut client, "USER usr1").await, "+OK");
    assert_eq!(ask(&mut client, "PASS pass1").await, "+OK user successfully logged on");
    assert_eq!(store.calls(|calls| !calls.is_empty()).await, [format!("open {USR1}")]);
    gateway.stop().await;
}

/// How many logins have ended as wrong passwords.
async fn wrong_passwords(gateway: &RunningGateway) -> u64 {
    let metrics = reqwest::get(format!("http://{}/metrics", gateway.http)).await.unwrap().text().await.unwrap();
    let count =
        metrics.lines().find_map(|line| line.strip_prefix("mailtown_pop3_logins_total{outcome=\"wrong_password\"} "));
    count.unwrap().parse().unwrap()
}

/// A client that has learned from the challenge that its token is wrong may go without acknowledging that (RFC 7628
/// §3.2.3).
#[tokio::test]
async fn a_token_that_is_refused_is_counted_before_it_is_acknowledged() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway = RunningGateway::start(store.address, |_| {}).await;
    for (message, count) in [
        // `n,a=usr1@mail.sustech.edu.cn,^Aauth=Bearer x^A^A`.
        ("bixhPXVzcjFAbWFpbC5zdXN0ZWNoLmVkdS5jbiwBYXV0aD1CZWFyZXIgeAEB", 1),
        // `n,a=@,^Aauth=Bearer pass1^A^A`: it is no address, so the store is not asked.
        ("bixhPUAsAWF1dGg9QmVhcmVyIHBhc3MxAQE=", 2),
    ] {
        let mut client: Box<dyn Duplex> = Box::new(gateway.connect().await);
        assert_eq!(read_line(&mut client).await, "+OK POP3 server ready");
        let challenge = ask(&mut client, &format!("AUTH OAUTHBEARER {message}")).await;
        assert!(challenge.starts_with("+ "), "{challenge}");
        assert_eq!(wrong_passwords(&gateway).await, count);
        // It counts once.
        assert_eq!(ask(&mut client, "AQ==").await, "-ERR [AUTH] wrong user or password");
        assert_eq!(wrong_passwords(&gateway).await, count);
    }
    gateway.stop().await;
}

/// Whoever has proved the password is not told that it is wrong: the account was removed meanwhile.
#[tokio::test]
async fn after_a_proof_an_account_that_is_gone_is_a_temporary_failure() {
    let store = FakeStore::start(ACCOUNTS).await;
    let gateway = RunningGateway::start(store.address, |_| {}).await;
    store.remove_accounts();
    let mut client: Box<dyn Duplex> = Box::new(gateway.connect().await);
    assert_eq!(read_line(&mut client).await, "+OK POP3 server ready");
    let unavailable = "-ERR [SYS/TEMP] the mailbox store is not available, try again later";
    assert_eq!(scram(&mut client, "usr1", "pass1").await, unavailable);
    assert_eq!(wrong_passwords(&gateway).await, 0);
    // A password says nothing of an account that there is not.
    assert_eq!(ask(&mut client, "USER usr1").await, "+OK");
    assert_eq!(ask(&mut client, "PASS pass1").await, "-ERR [AUTH] wrong user or password");
    let opened = format!("open {USR1}");
    assert_eq!(store.calls(|calls| calls.len() >= 3).await, ["proved usr1 true", &opened, &opened]);
    gateway.stop().await;
}
