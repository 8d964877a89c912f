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
    assert_eq!(ask(&mut client, "USER usr1").await, "+OK");
    assert_eq!(ask(&mut client, "PASS pass1").await, "+OK user successfully logged on");
    assert_eq!(store.calls(|calls| !calls.is_empty()).await, [format!("open {USR1}")]);
    gateway.stop().await;
}
