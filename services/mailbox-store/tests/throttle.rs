//! The login throttle over HTTP, as the gateways meet it.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

mod support;

use internal_api::{ApiError, Login, OpenSession, ProblemKind, ProofOutcome, StoreClient, VerifierRequest};
use mail_net::Clock;
use mail_proto::Mailbox;
use std::{net::IpAddr, time::Duration};
use support::{ACCOUNTS, Server, configured_with, mailbox};
use tempfile::TempDir;
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinSet,
};

const DELAYED: &str = "mailtown_store_logins_delayed_total";
const REFUSED_UNCHECKED: &str = "mailtown_store_logins_refused_unchecked_total";
const REFUSED: &str = "mailtown_store_logins_total{outcome=\"refused\"}";

/// All stores of a process hash in turn, and a login waits for its turn for 5 s only.
static HASHER: Mutex<()> = Mutex::const_new(());

async fn hasher() -> MutexGuard<'static, ()> {
    HASHER.lock().await
}

/// Waits until a metric of the server has a value.
async fn until(server: &Server, metric: &str, value: &str) {
    let waiting = server.until_metric(metric, value);
    if Clock::system().io.timeout(Duration::from_secs(30), waiting).await.is_err() {
        panic!("{metric} is {}, not {value}", server.metric(metric).await);
    }
}

/// Has a network fail with SCRAM until its logins have the longest delay.
async fn delay(server: &Server, from: &str) {
    let outcome = ProofOutcome { user: "nobody".to_owned(), client: address(from), proved: false };
    for _ in 0..20 {
        server.client.report_proof(&outcome).await.unwrap();
    }
}

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

async fn log_in(client: &StoreClient, from: &str, user: &str, password: &str) -> Result<Mailbox, ApiError> {
    let login = Login { user: user.to_owned(), password: password.to_owned(), client: address(from) };
    client.log_in(&login).await
}

/// Logs in wrongly from an address until its logins are delayed, but for a moment only.
async fn guess_until_delayed(server: &Server, from: &str) {
    for _ in 0..=10 {
        let refused = log_in(&server.client, from, "a", "guess").await.unwrap_err();
        assert_eq!(refused.kind(), Some(ProblemKind::AuthenticationFailed));
    }
    assert_eq!(server.metric(DELAYED).await, "1");
}

/// Begins wrong logins at once.
fn guess(server: &Server, count: usize, from: &'static str) -> JoinSet<Option<ProblemKind>> {
    let mut guesses = JoinSet::new();
    for number in 0..count {
        let client = server.client.clone();
        let user = format!("{}@local.test", if number % 2 == 0 { "a" } else { "nobody" });
        guesses.spawn(async move { log_in(&client, from, &user, "guess").await.unwrap_err().kind() });
    }
    guesses
}

/// The one that guesses waits; nobody else does, for the same account and for others, over SMTP and POP3.
#[tokio::test]
async fn a_good_user_elsewhere_gets_in_while_somebody_guesses() {
    let (_hasher, server) = (hasher().await, Server::start().await);
    delay(&server, "192.0.2.1").await;
    let mut guesses = guess(&server, 50, "192.0.2.1");
    until(&server, REFUSED_UNCHECKED, "34").await;
    until(&server, REFUSED, "16").await;
    // These 16 wait for 8 s now.
    let a = mailbox("a@local.test");
    assert_eq!(log_in(&server.client, "198.51.100.1", "a", "pass a").await.unwrap(), a);
    assert_eq!(log_in(&server.client, "198.51.100.1", "b", "pass b").await.unwrap(), mailbox("b@local.test"));
    let client = address("2001:db8::1");
    let open = OpenSession { password: "pass a".to_owned(), lease_seconds: 60, client, proved: false };
    server.client.open_session(&a, &open).await.unwrap();
    server.client.verifier(&VerifierRequest { user: "a".to_owned(), client }).await.unwrap();
    let mut answered = 0;
    while let Some(guess) = guesses.try_join_next() {
        assert_eq!(guess.unwrap(), Some(ProblemKind::Overloaded));
        answered += 1;
    }
    assert!(answered <= 34, "{answered} of 50: had a good user waited as the guesses do, all had their answers");
    guesses.shutdown().await;
    server.stop().await;
}

/// The same behind an address that many users share, of which gateways tell nothing: other accounts are not held up.
#[tokio::test]
async fn a_good_user_gets_in_while_somebody_guesses_at_another_account_behind_the_same_bridge() {
    let (_hasher, server) = (hasher().await, Server::start().await);
    let mut guesses = JoinSet::new();
    for round in 0..2 {
        for _ in 0..300 {
            let client = server.client.clone();
            let guess = Login { user: "a".to_owned(), password: "guess".to_owned(), client: None };
            guesses.spawn(async move { client.log_in(&guess).await.unwrap_err().kind() });
        }
        match round {
            // Then the account is over its limit of 10 failures.
            0 => until_more(&server, REFUSED, 10).await,
            // It is so from the beginning, and its guesses find no room.
            _ => until_more(&server, REFUSED_UNCHECKED, 100).await,
        }
        let good = Login { user: "b".to_owned(), password: "pass b".to_owned(), client: None };
        let wrong = Login { password: "mistyped".to_owned(), ..good.clone() };
        let before = count(&server, REFUSED).await;
        server.client.log_in(&wrong).await.unwrap_err();
        assert_eq!(server.client.log_in(&good).await.unwrap(), mailbox("b@local.test"));
        let meanwhile = count(&server, REFUSED).await - before;
        assert!(meanwhile < 30, "the good user has waited for {meanwhile} of 300 guesses");
    }
    guesses.shutdown().await;
    server.stop().await;
}

/// What a metric has counted.
async fn count(server: &Server, metric: &str) -> u64 {
    server.metric(metric).await.parse().unwrap_or_default()
}

/// Waits until a metric has counted more than this.
async fn until_more(server: &Server, metric: &str, than: u64) {
    let waiting = async {
        while count(server, metric).await <= than {
            tokio::task::yield_now().await;
        }
    };
    Clock::system().io.timeout(Duration::from_secs(60), waiting).await.expect(metric);
}

/// Also those that come all at once, before any of them has failed.
#[tokio::test]
async fn guesses_at_once_are_delayed_more_and_more() {
    let (_hasher, server) = (hasher().await, Server::start().await);
    let mut guesses = guess(&server, 20, "192.0.2.1");
    until(&server, REFUSED, "20").await;
    assert_eq!(server.metric(DELAYED).await, "10");
    let mut answered = 0;
    while answered < 10 {
        assert_eq!(guesses.join_next().await.unwrap().unwrap(), Some(ProblemKind::AuthenticationFailed));
        answered += 1;
    }
    guesses.shutdown().await;
    server.stop().await;
}

/// A network that is delayed has a bounded number of logins in the store. The others are told to come back.
#[tokio::test]
async fn too_many_guesses_at_once_are_refused_for_now() {
    let (_hasher, server) = (hasher().await, Server::start().await);
    delay(&server, "192.0.2.1").await;
    let guesses = guess(&server, 17, "192.0.2.1");
    until(&server, REFUSED, "16").await;
    // The right password is refused like any other, and so are the ways of POP3 and SCRAM.
    let client = address("192.0.2.1");
    let kind = |error: ApiError| error.kind();
    let right = log_in(&server.client, "192.0.2.1", "a", "pass a").await.map_err(kind);
    let open = OpenSession { password: "pass a".to_owned(), lease_seconds: 60, client, proved: false };
    let opened = server.client.open_session(&mailbox("a@local.test"), &open).await.map(drop).map_err(kind);
    let verifier = VerifierRequest { user: "a".to_owned(), client };
    let found = server.client.verifier(&verifier).await.map(drop).map_err(kind);
    assert_eq!([right.map(drop), opened, found], [Err(Some(ProblemKind::Overloaded)); 3]);
    drop(guesses);
    server.stop().await;
}

/// SCRAM is checked by the gateways, which tell what became of it.
#[tokio::test]
async fn proofs_are_counted_with_passwords() {
    let (_hasher, server) = (hasher().await, Server::start().await);
    let client = address("192.0.2.1");
    let request = VerifierRequest { user: "a".to_owned(), client };
    let outcome = |proved| ProofOutcome { user: "a".to_owned(), client, proved };
    // Right ones never cost anything.
    for _ in 0..1000 {
        server.client.verifier(&request).await.unwrap();
        server.client.report_proof(&outcome(true)).await.unwrap();
    }
    // A report that is lost, or never sent because the client broke off, does not either.
    for _ in 0..50 {
        server.client.verifier(&request).await.unwrap();
    }
    assert_eq!(server.metric(DELAYED).await, "0");
    for _ in 0..11 {
        server.client.report_proof(&outcome(false)).await.unwrap();
    }
    server.client.verifier(&request).await.unwrap();
    assert_eq!(server.metric(DELAYED).await, "1");
    // Passwords and proofs count together. A user whose proof was right has been here before, and does not wait.
    server.client.report_proof(&outcome(true)).await.unwrap();
    assert_eq!(log_in(&server.client, "192.0.2.1", "a", "pass a").await.unwrap(), mailbox("a@local.test"));
    assert_eq!(server.metric(DELAYED).await, "1");
    log_in(&server.client, "192.0.2.1", "b", "guess").await.unwrap_err();
    assert_eq!(server.metric(DELAYED).await, "2");
    server.stop().await;
}

/// The store's wall clock forgets a failure each minute.
#[tokio::test]
async fn failures_are_forgotten_as_time_passes() {
    let (_hasher, server) = (hasher().await, Server::start().await);
    guess_until_delayed(&server, "192.0.2.1").await;
    server.time.advance(Duration::from_secs(120));
    log_in(&server.client, "192.0.2.1", "b", "guess").await.unwrap_err();
    assert_eq!(server.metric(DELAYED).await, "1", "it is the tenth again");
    log_in(&server.client, "192.0.2.1", "b", "guess").await.unwrap_err();
    assert_eq!(server.metric(DELAYED).await, "2");
    server.stop().await;
}

/// A user who has logged in over POP3 waits for a while. One who has not is not concerned, and nor is SMTP.
#[tokio::test]
async fn a_user_logs_in_again_after_the_delay() {
    let data = TempDir::new().unwrap();
    let config = configured_with(data.path(), ACCOUNTS, "[pop3]\nlogin_delay = \"60s\"\n");
    let server = Server::run(config, data).await;
    let kind = |error: ApiError| error.kind().unwrap();
    let open = async |user: &str, password: &str| {
        let open = OpenSession { password: password.to_owned(), lease_seconds: 60, client: None, proved: false };
        let address = mailbox(&format!("{user}@local.test"));
        let session = server.client.open_session(&address, &open).await.map_err(kind)?;
        server.client.close_session(&address, &session.session).await.map_err(kind)
    };
    assert_eq!(open("a", "wrong").await, Err(ProblemKind::AuthenticationFailed));
    assert_eq!(open("a", "pass a").await, Ok(()), "nobody has logged in yet");
    assert_eq!(open("a", "pass a").await, Err(ProblemKind::LoginTooSoon));
    assert_eq!(open("a", "wrong").await, Err(ProblemKind::AuthenticationFailed), "a guess learns nothing of it");
    assert_eq!(open("b", "pass b").await, Ok(()));
    assert_eq!(log_in(&server.client, "192.0.2.1", "a", "pass a").await.unwrap(), mailbox("a@local.test"));
    server.time.advance(Duration::from_secs(59));
    assert_eq!(open("a", "pass a").await, Err(ProblemKind::LoginTooSoon));
    server.time.advance(Duration::from_secs(1));
    assert_eq!(open("a", "pass a").await, Ok(()));
    server.stop().await;
}

/// What an ordinary user meets is what there was before: also one who polls, mistypes the password at times, or whose
/// gateway is of the version before.
#[tokio::test]
async fn nothing_changes_for_ordinary_users() {
    let (_hasher, server) = (hasher().await, Server::start().await);
    let mut users = JoinSet::new();
    for number in 0..20 {
        let client = server.client.clone();
        let name = ["a", "b"][number % 2];
        users.spawn(async move {
            log_in(&client, "192.0.2.1", name, &format!("pass {name}")).await.map(|mailbox| mailbox.to_string())
        });
    }
    while let Some(user) = users.join_next().await {
        assert!(user.unwrap().unwrap().ends_with("@local.test"));
    }
    for _ in 0..10 {
        log_in(&server.client, "192.0.2.1", "a", "mistyped").await.unwrap_err();
    }
    log_in(&server.client, "192.0.2.1", "a", "pass a").await.unwrap();
    for _ in 0..10 {
        let login = Login { user: "b".to_owned(), password: "mistyped".to_owned(), client: None };
        server.client.log_in(&login).await.unwrap_err();
    }
    assert_eq!((server.metric(DELAYED).await, server.metric(REFUSED_UNCHECKED).await), ("0".into(), "0".into()));
    server.stop().await;
}

#[tokio::test]
async fn the_throttle_can_be_switched_off() {
    let (_hasher, data) = (hasher().await, TempDir::new().unwrap());
    let config = configured_with(data.path(), ACCOUNTS, "[limits]\nlogin_failures = 0\n");
    let server = Server::run(config, data).await;
    let mut guesses = guess(&server, 20, "192.0.2.1");
    while let Some(guess) = guesses.join_next().await {
        assert_eq!(guess.unwrap(), Some(ProblemKind::AuthenticationFailed));
    }
    assert_eq!(server.metric(DELAYED).await, "0");
    server.stop().await;
}
