//! Logins that open nothing, as SMTP's AUTH needs them.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

#[path = "../src/store/postgres/tests/server.rs"]
mod postgres;
mod support;

use internal_api::{Login, LoginSupport, OpenSession, ProblemKind, ProofOutcome, UserVerifier, VerifierRequest};
use mail_proto::{
    Mailbox,
    sasl::{Channel, ClientExchange, ServerExchange, Step},
};
use mailbox_store::Config;
use reqwest::Method;
use std::path::Path;
use support::{ACCOUNTS, Server, configured, mailbox, problem};
use tempfile::TempDir;

/// A hash of nobody's password.
const PHC: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGxvZ3MgaW4gIA$1YFkTVAFLdhf0f0Rwm8wYiGXUjkxA9GVnKpKZUvlNrE";

async fn log_in(server: &Server, user: &str, password: &str) -> Result<Mailbox, ProblemKind> {
    let login = Login { user: user.to_owned(), password: password.to_owned(), client: None };
    server.client.log_in(&login).await.map_err(|error| error.kind().expect("a problem"))
}

async fn verifier(server: &Server, user: &str) -> UserVerifier {
    server.client.verifier(&VerifierRequest { user: user.to_owned(), client: None }).await.unwrap()
}

/// Logs in with SCRAM, as a gateway has it done.
async fn scram(server: &Server, user: &str, password: &str) -> Option<Mailbox> {
    let mut client = ClientExchange::scram(user, &password.to_owned().into(), "client").unwrap();
    let (mut exchange, step) =
        ServerExchange::begin(client.mechanism(), Channel::default(), Some(client.initial().as_bytes()));
    let Step::FindVerifier(user) = step else { panic!("{step:?}") };
    let UserVerifier { mailbox, verifier } = verifier(server, &user).await;
    let mut step = exchange.verifier_found(mailbox, verifier, "server");
    while let Step::Challenge(challenge) = &step {
        step = exchange.response(client.challenge(challenge).ok()?.as_bytes());
    }
    match step {
        Step::Done(mailbox) => Some(mailbox),
        _ => None,
    }
}

#[tokio::test]
async fn a_password_is_checked_and_nothing_is_opened() {
    let server = Server::start().await;
    let (a, refused) = (mailbox("a@local.test"), Err(ProblemKind::AuthenticationFailed));
    // The same names as for POP3: the domain may be left out where there is one.
    for user in ["a@local.test", "a@LOCAL.test", "a"] {
        assert_eq!(log_in(&server, user, "pass a").await.as_ref(), Ok(&a), "{user}");
    }
    for (user, password) in [
        ("a@local.test", "pass b"),
        ("a@local.test", ""),
        ("nobody@local.test", "pass a"),
        ("postmaster@local.test", ""),
        ("a@far.test", "pass a"),
        ("", "pass a"),
        ("a@@", "pass a"),
        ("a\r\n", "pass a"),
    ] {
        assert_eq!(log_in(&server, user, password).await, refused, "{user:?} {password:?}");
    }
    assert_eq!(server.metric("mailtown_store_logins_total{outcome=\"accepted\"}").await, "3");
    assert_eq!(server.metric("mailtown_store_logins_total{outcome=\"refused\"}").await, "8");
    for path in ["/v1/logins", "/v1/verifiers"] {
        let empty = server.request(Method::POST, path).json(&serde_json::json!({})).send().await.unwrap();
        assert_eq!(problem(empty).await, ProblemKind::InvalidRequest);
    }
    server.stop().await;
}

#[tokio::test]
async fn passwords_are_proved_with_scram() {
    let server = Server::start().await;
    assert_eq!(server.client.login_support().await.unwrap(), Some(LoginSupport { scram: true, proved_sessions: true }));
    assert_eq!(scram(&server, "a@local.test", "pass a").await, Some(mailbox("a@local.test")));
    assert_eq!(scram(&server, "b", "pass b").await, Some(mailbox("b@local.test")));
    for (user, password) in [("a@local.test", "pass b"), ("nobody@local.test", "pass a"), ("a@far.test", "pass a")] {
        assert_eq!(scram(&server, user, password).await, None, "{user}");
    }
    server.stop().await;
}

/// The gateway has checked the proof.
#[tokio::test]
async fn a_maildrop_is_opened_for_who_has_proved_the_password() {
    let server = Server::start().await;
    let open = |proved| OpenSession { password: String::new(), lease_seconds: 60, client: None, proved };
    let a = mailbox("a@local.test");
    let refused = server.client.open_named_session(&a, "s", &open(false)).await.unwrap_err();
    assert_eq!(refused.kind(), Some(ProblemKind::AuthenticationFailed));
    assert_eq!(server.client.open_named_session(&a, "s", &open(true)).await.unwrap().session, "s");
    let nobody = server.client.open_named_session(&mailbox("nobody@local.test"), "t", &open(true)).await.unwrap_err();
    assert_eq!(nobody.kind(), Some(ProblemKind::MailboxUnknown));
    server.stop().await;
}

/// Where every address has a mailbox, one is made for who knows the password, and not for who asks.
#[tokio::test]
async fn a_mailbox_is_made_once_the_password_is_proved() {
    let data = TempDir::new().unwrap();
    let text = "accept = \"any\"\n[server.\"local.test\"]\nsmtp = 1\npop = 2\ndomains = [\"*\", \"local.test\"]\n";
    let config = town_config::Config::parse(text, Path::new("config.toml")).unwrap();
    let stack = config.stack("local.test").unwrap().clone().into();
    let config = Config { stack, ..configured(data.path(), "") };
    let server = Server::run(config, data).await;
    let new = mailbox("new@local.test");
    assert_eq!(scram(&server, "new@local.test", "guess").await, None);
    assert_eq!(scram(&server, "new@local.test", "test").await, Some(new.clone()));
    let proof = |proved| ProofOutcome { user: "new@local.test".to_owned(), client: None, proved };
    server.client.report_proof(&proof(false)).await.unwrap();
    assert_eq!(server.client.mailbox(&new).await.unwrap(), None);
    server.client.report_proof(&proof(true)).await.unwrap();
    assert!(server.client.mailbox(&new).await.unwrap().is_some());
    assert_eq!(scram(&server, "new@local.test", "test").await, Some(new.clone()));
    assert_eq!(scram(&server, "new@[192.0.2.1]", "test").await, None, "a domain that is not local");
    // Who asks for one that is not there learns what is.
    let missing = server.get("/v1/mailboxes/other@far.test").await.text().await.unwrap();
    assert!(missing.contains("mail domains: local.test, every one that no other server has"), "{missing}");
    server.stop().await;
}

/// Nobody finds out who has an account, also not by asking again after a restart.
#[tokio::test]
async fn who_does_not_exist_has_a_verifier_that_stays() {
    let server = Server::start().await;
    let users = ["nobody@local.test", "postmaster@local.test", "nobody", "a@far.test", "a@@", ""];
    let mut before = Vec::new();
    for user in users {
        before.push(verifier(&server, user).await);
    }
    let real = verifier(&server, "a@local.test").await.verifier;
    let looks = |known: &UserVerifier| (known.verifier.salt.len(), known.verifier.iterations);
    for nobody in &before {
        assert_eq!((nobody.mailbox.as_ref(), looks(nobody)), (None, (real.salt.len(), real.iterations)));
    }
    assert_eq!(before[0], before[2], "it is the same user");
    let server = Server::start_in(server.stop().await, ACCOUNTS).await;
    for (user, before) in users.into_iter().zip(before) {
        assert_eq!(verifier(&server, user).await, before, "{user}");
    }
    assert_eq!(verifier(&server, "a@local.test").await.verifier, real);
    server.stop().await;
}

/// A password that is configured as a hash has no verifier.
#[tokio::test]
async fn scram_is_possible_when_every_account_has_a_verifier() {
    let hashed = format!("{ACCOUNTS}\n\"h@local.test\" = \"{PHC}\"");
    let server = Server::start_in(TempDir::new().unwrap(), &hashed).await;
    assert_eq!(
        server.client.login_support().await.unwrap(),
        Some(LoginSupport { scram: false, proved_sessions: true })
    );
    assert_eq!(verifier(&server, "h@local.test").await.mailbox, None);
    // Also when all passwords have been hashed, and one is replaced by a plain text.
    assert_eq!(log_in(&server, "a", "pass a").await, Ok(mailbox("a@local.test")));
    let plain = format!("{ACCOUNTS}\n\"h@local.test\" = \"pass h\"");
    let server = Server::start_in(server.stop().await, &plain).await;
    assert_eq!(server.client.login_support().await.unwrap(), Some(LoginSupport { scram: true, proved_sessions: true }));
    assert_eq!(scram(&server, "h", "pass h").await, Some(mailbox("h@local.test")));
    // Control characters cannot be prepared for SCRAM.
    let odd = format!("{ACCOUNTS}\n\"h@local.test\" = \"a\\u0007\"");
    let server = Server::start_in(server.stop().await, &odd).await;
    assert_eq!(log_in(&server, "h", "a\u{7}").await, Ok(mailbox("h@local.test")));
    assert_eq!(
        server.client.login_support().await.unwrap(),
        Some(LoginSupport { scram: false, proved_sessions: true })
    );
    server.stop().await;
}

/// A login that was right once is not remembered longer than its password.
#[tokio::test]
async fn a_changed_password_is_effective_at_once() {
    let server = Server::start().await;
    assert_eq!(log_in(&server, "a", "pass a").await, Ok(mailbox("a@local.test")));
    let changed = ACCOUNTS.replace("pass a", "new");
    let server = Server::start_in(server.stop().await, &changed).await;
    assert_eq!(scram(&server, "a", "pass a").await, None);
    assert_eq!(scram(&server, "a", "new").await, Some(mailbox("a@local.test")));
    assert_eq!(log_in(&server, "a", "pass a").await, Err(ProblemKind::AuthenticationFailed));
    assert_eq!(log_in(&server, "a", "new").await, Ok(mailbox("a@local.test")));
    server.stop().await;
}

/// Two stores over one database agree on who does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn stores_of_one_database_share_their_secret() {
    let Some(server) = postgres::Server::shared() else { return };
    let database = server.new_database().await;
    let (one, other) = (Server::start_over(&database).await, Server::start_over(&database).await);
    let nobody = verifier(&one, "nobody").await;
    assert_eq!(verifier(&other, "nobody").await, nobody);
    assert_eq!(verifier(&other, "a").await, verifier(&one, "a").await);
    assert_eq!(scram(&other, "a", "pass a").await, Some(mailbox("a@local.test")));
    for server in [one, other] {
        server.stop().await;
    }
}
