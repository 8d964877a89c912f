//! What an operator does to single messages of the queue, over HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

mod support;

use bytes::Bytes;
use internal_api::{
    ApiError, BroughtClaim, Claim, ClaimRequest, Flushed, MessageEvents, MessageId, Outcome, ProblemKind, QueuePage,
    QueuedMessage, RecipientOutcome, Settlement,
};
use reqwest::{Method, StatusCode};
use std::time::Duration;
use support::{ACCOUNTS, NOW, Server, mailbox, problem, submission};
use tokio::task::JoinHandle;

const MAIL: &[u8] = b"Subject: x\r\n\r\nHello\r\n";
const HOUR: Duration = Duration::from_secs(3600);
/// The default of `relay.expiry`.
const EXPIRY: Duration = Duration::from_secs(24 * 3600);

async fn submit(server: &Server, transaction: &str, recipients: &[&str]) -> MessageId {
    server.client.submit(&submission(transaction, recipients), Bytes::from_static(MAIL)).await.unwrap().id
}

async fn claim(server: &Server) -> Option<Claim> {
    server.client.claim(&NOW).await.unwrap().map(|brought| brought.claim)
}

/// Claims, and defers all of it for an hour.
async fn defer(server: &Server) {
    let claim = claim(server).await.unwrap();
    for message in claim.messages {
        let reply = "451 4.2.0 later".to_owned();
        let outcome = Outcome::Deferred { retry_after_seconds: 3600, reply, untried: false, delay_told: false };
        let outcomes = message.recipients.into_iter().map(|recipient| recipient.mailbox);
        let outcomes = outcomes.map(|recipient| RecipientOutcome { recipient, outcome: outcome.clone() }).collect();
        let settlement = Settlement { message: message.id, outcomes, failure_message: None };
        server.client.settle(&claim.lease, &settlement, b"").await.unwrap();
    }
}

/// A relay worker that waits for work.
async fn waiting(server: &Server) -> JoinHandle<Result<Option<BroughtClaim>, ApiError>> {
    let (client, patient) = (server.client.clone(), ClaimRequest { wait_seconds: 60, ..NOW });
    let waiting = tokio::spawn(async move { client.claim(&patient).await });
    server.until_metric("mailtown_store_waiting_claims", "1").await;
    waiting
}

/// The answer to a call that has no body.
async fn call(server: &Server, method: Method, path: &str) -> reqwest::Response {
    server.request(method, path).send().await.unwrap()
}

#[tokio::test]
async fn a_message_is_shown_with_all_for_whom_it_waits() {
    let server = Server::start().await;
    let id = submit(&server, "t", &["a@local.test", "x@far.test", "y@far.test"]).await;
    defer(&server).await;
    let path = format!("/v1/queue/{id}");
    let queued: QueuedMessage = server.get(&path).await.json().await.unwrap();
    assert_eq!((queued.message, queued.octets, queued.held), (id, MAIL.len() as u64, false));
    assert_eq!(queued.reverse_path.to_string(), "<sender@far.test>");
    assert_eq!(queued.expires_at, Some(queued.queued_at + EXPIRY));
    let [x, y] = &queued.recipients[..] else { panic!("{queued:?}") };
    assert_eq!((&x.recipient, &y.recipient), (&mailbox("x@far.test"), &mailbox("y@far.test")));
    assert_eq!((x.attempts, x.leased, x.last_reply.as_str()), (1, false, "451 4.2.0 later"));
    assert_eq!(x.next_attempt_at, queued.queued_at + HOUR);
    let page: QueuePage = server.get("/v1/queue").await.json().await.unwrap();
    assert_eq!(page.entries.len(), 2);
    assert!(page.entries.iter().all(|entry| !entry.held && entry.expires_at == queued.expires_at));
    assert_eq!(server.client.queued(id).await.unwrap(), Some(queued));
}

#[tokio::test]
async fn a_hold_outlives_the_store_and_a_release_wakes_who_waits() {
    let server = Server::start().await;
    let id = submit(&server, "t", &["x@far.test"]).await;
    for _ in 0..2 {
        let held = call(&server, Method::POST, &format!("/v1/queue/{id}/hold")).await;
        assert_eq!(held.status(), StatusCode::NO_CONTENT);
    }
    let server = Server::start_in(server.stop().await, ACCOUNTS).await;
    server.time.advance(2 * EXPIRY);
    assert!(server.client.queued(id).await.unwrap().unwrap().held);
    assert_eq!(claim(&server).await, None);
    assert_eq!(server.client.flush_queue().await.unwrap(), Flushed { entries: 0 });
    let refused = call(&server, Method::POST, &format!("/v1/queue/{id}/retry")).await;
    assert_eq!(problem(refused).await, ProblemKind::MessageHeld);

    let waiting = waiting(&server).await;
    let released = call(&server, Method::POST, &format!("/v1/queue/{id}/release")).await;
    assert_eq!(released.status(), StatusCode::NO_CONTENT);
    let BroughtClaim { claim, .. } = waiting.await.unwrap().unwrap().unwrap();
    assert_eq!((claim.messages[0].id, claim.messages[0].recipients[0].attempts), (id, 1));
}

#[tokio::test]
async fn a_retry_wakes_who_waits() {
    let server = Server::start().await;
    let id = submit(&server, "t", &["x@far.test"]).await;
    submit(&server, "u", &["x@far.test"]).await;
    defer(&server).await;
    let waiting = waiting(&server).await;
    let retried = call(&server, Method::POST, &format!("/v1/queue/{id}/retry")).await;
    assert_eq!(retried.text().await.unwrap(), "{\"entries\":1}\n");
    let BroughtClaim { claim, .. } = waiting.await.unwrap().unwrap().unwrap();
    let [message] = &claim.messages[..] else { panic!("{claim:?}") };
    assert_eq!((message.id, message.recipients[0].attempts), (id, 2));
    assert_eq!(server.client.retry_queued(id).await.unwrap(), Flushed { entries: 0 }, "it is being tried");
}

#[tokio::test]
async fn a_removal_tells_nobody_but_the_events() {
    let server = Server::start().await;
    let id = submit(&server, "t", &["a@local.test", "x@far.test"]).await;
    let path = format!("/v1/queue/{id}");
    let claimed = claim(&server).await.unwrap();
    assert_eq!(problem(call(&server, Method::DELETE, &path).await).await, ProblemKind::MessageClaimed);
    assert!(server.client.queued(id).await.unwrap().unwrap().recipients[0].leased);
    server.time.advance(HOUR);
    assert_eq!(call(&server, Method::DELETE, &path).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(server.client.queued(id).await.unwrap(), None);
    assert_eq!(server.metric("mailtown_store_queue_entries").await, "0");
    assert_eq!(server.client.mailbox(&mailbox("a@local.test")).await.unwrap().unwrap().messages, 1);
    let events: MessageEvents = server.get(&format!("/v1/messages/{id}/events")).await.json().await.unwrap();
    let last = serde_json::to_value(&events.events.last().unwrap().kind).unwrap();
    assert_eq!(last, serde_json::json!({ "kind": "deleted", "recipients": ["x@far.test"], "by": "operator" }));
    // The worker that had it learns that it has lost it.
    let outcomes =
        vec![RecipientOutcome { recipient: mailbox("x@far.test"), outcome: Outcome::Finished { how: None } }];
    let settlement = Settlement { message: id, outcomes, failure_message: None };
    let settled = server.client.settle(&claimed.lease, &settlement, b"").await;
    assert_eq!(settled.unwrap_err().kind(), Some(ProblemKind::LeaseLost));
}

#[tokio::test]
async fn what_is_not_queued_is_not_found() {
    let server = Server::start().await;
    let delivered = submit(&server, "t", &["a@local.test"]).await;
    let never = MessageId::from_number(u64::MAX);
    for (id, expected) in [
        (delivered.to_string(), ProblemKind::NotQueued),
        (never.to_string(), ProblemKind::NotQueued),
        ("zzzzzzzzzzzzz".to_owned(), ProblemKind::MessageUnknown),
        ("%00".to_owned(), ProblemKind::MessageUnknown),
        ("%FF".to_owned(), ProblemKind::InvalidRequest),
    ] {
        for (method, action) in [
            (Method::GET, ""),
            (Method::DELETE, ""),
            (Method::POST, "/retry"),
            (Method::POST, "/hold"),
            (Method::POST, "/release"),
        ] {
            let answer = call(&server, method.clone(), &format!("/v1/queue/{id}{action}")).await;
            assert_eq!(problem(answer).await, expected, "{method} {id}{action}");
        }
    }
    for (method, path) in [(Method::GET, "/v1/queue/flush"), (Method::GET, "/v1/queue/claims/retry")] {
        assert_eq!(problem(call(&server, method, path).await).await, ProblemKind::MethodNotAllowed, "{path}");
    }
    assert_eq!(server.client.mailbox(&mailbox("a@local.test")).await.unwrap().unwrap().messages, 1);
}
