//! A gateway of this version asks stores of this version and of the one before what an address means, and tells them how
//! proofs ended.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

use axum::{
    Json, Router,
    extract::Path,
    routing::{get, post},
};
use internal_api::{ApiError, Endpoint, MailboxSummary, Problem, ProblemKind, ProofOutcome, Resolved, StoreClient};
use mail_net::Clock;
use mail_proto::Mailbox;
use tokio::net::TcpListener;

fn mailbox(address: &str) -> Mailbox {
    address.parse().unwrap()
}

fn summary() -> MailboxSummary {
    let address = mailbox("a@local.test");
    MailboxSummary { address, messages: 7, octets: 8, quota_messages: None, quota_octets: None }
}

async fn client(routes: Router) -> StoreClient {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    StoreClient::new(Endpoint::new(&url, None).unwrap(), Clock::system().io)
}

/// The routes of the version before that count here.
fn before() -> Router {
    let show = async |Path(address): Path<String>| match address.as_str() {
        "a@local.test" => Ok(Json(summary())),
        "busy@local.test" => Err(Problem::from(ProblemKind::Overloaded)),
        _ => Err(Problem::from(ProblemKind::MailboxUnknown)),
    };
    Router::new().route("/v1/mailboxes/{address}", get(show))
}

#[tokio::test]
async fn a_store_of_the_version_before_is_asked_for_the_mailbox() {
    let no_route = || async { Problem::from(ProblemKind::NotFound) };
    // Whether it says so in our words or in those of a web server.
    for store in [client(before().fallback(no_route)).await, client(before()).await] {
        assert_eq!(store.resolve(&mailbox("a@local.test")).await.unwrap(), Resolved::Mailbox(summary()));
        assert_eq!(store.resolve(&mailbox("nobody@local.test")).await.unwrap(), Resolved::Unknown);
        let busy = store.resolve(&mailbox("busy@local.test")).await.unwrap_err();
        assert_eq!(busy.kind(), Some(ProblemKind::Overloaded));
    }
}

#[tokio::test]
async fn what_this_version_says_stands() {
    let resolve = async |Path(address): Path<String>| match address.as_str() {
        "list@local.test" => "{\"kind\":\"of a later version\"}".to_owned(),
        _ => "{\"kind\":\"unknown\"}".to_owned(),
    };
    let store = client(before().route("/v1/addresses/{address}", get(resolve))).await;
    assert_eq!(store.resolve(&mailbox("a@local.test")).await.unwrap(), Resolved::Unknown);
    // What is not understood is no reason to refuse mail for good.
    let later = store.resolve(&mailbox("list@local.test")).await;
    assert!(matches!(later, Err(ApiError::Unavailable(_))), "{later:?}");
}

#[tokio::test]
async fn a_store_of_the_version_before_is_not_told_of_proofs() {
    let outcome = ProofOutcome { user: "a".to_owned(), client: None, proved: false };
    let no_route = || async { Problem::from(ProblemKind::NotFound) };
    for store in [client(before().fallback(no_route)).await, client(before()).await] {
        store.report_proof(&outcome).await.unwrap();
    }
    let busy = post(|| async { Problem::from(ProblemKind::Overloaded) });
    let store = client(before().route("/v1/verifiers/outcomes", busy)).await;
    assert_eq!(store.report_proof(&outcome).await.unwrap_err().kind(), Some(ProblemKind::Overloaded));
}
