//! Events over HTTP: pages, long polls, streams, and one message's story.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

mod support;

use bytes::Bytes;
use internal_api::{Event, EventPage, MaildropUpdate, MessageEvents, MessageId, OpenSession, ProblemKind};
use reqwest::{Method, Response, StatusCode};
use support::{Server, mailbox, problem, submission};

const MAIL: &[u8] = b"Subject: x\r\n\r\nHello\r\n";

async fn submit(server: &Server, transaction: &str, recipients: &[&str]) -> MessageId {
    server.client.submit(&submission(transaction, recipients), Bytes::from_static(MAIL)).await.unwrap().id
}

async fn page(server: &Server, query: &str) -> EventPage {
    let response = server.get(&format!("/v1/events{query}")).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.unwrap()
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.kind.name()).collect()
}

async fn stream(server: &Server, last_event_id: Option<&str>) -> Response {
    let request = server.request(Method::GET, "/v1/events").header("accept", "text/event-stream");
    match last_event_id {
        Some(id) => request.header("last-event-id", id).send().await.unwrap(),
        None => request.send().await.unwrap(),
    }
}

/// The next `count` events of a stream, with the ids that it gives them.
async fn next_events(stream: &mut Response, count: usize) -> Vec<(String, Event)> {
    let mut text = String::new();
    while text.matches("\n\n").count() < count {
        text += std::str::from_utf8(&stream.chunk().await.unwrap().expect("the stream goes on")).unwrap();
    }
    let event = |block: &str| {
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("no {name} in {block:?}")).to_owned()
        };
        let event: Event = serde_json::from_str(&field("data")).unwrap();
        assert_eq!(field("event"), event.kind.name());
        (field("id"), event)
    };
    text.split_terminator("\n\n").map(event).collect()
}

#[tokio::test]
async fn events_come_in_pages_and_by_message() {
    let server = Server::start().await;
    let nothing = page(&server, "").await;
    assert_eq!((&nothing.events[..], nothing.next_after.as_str()), (&[][..], "0-0-0"));
    let id = submit(&server, "1", &["a@local.test", "x@far.test"]).await;
    let first = page(&server, "?limit=2").await;
    assert_eq!(kinds(&first.events), ["accepted", "delivered"]);
    let rest = page(&server, &format!("?after={}&limit=2", first.next_after)).await;
    assert_eq!(kinds(&rest.events), ["queued"]);
    assert_eq!(page(&server, &format!("?after={}", rest.events[0].cursor)).await.events, []);
    let latest = page(&server, "?after=latest").await;
    assert_eq!(latest.events, []);
    submit(&server, "2", &["a@local.test"]).await;
    assert_eq!(kinds(&page(&server, &format!("?after={}", latest.next_after)).await.events), ["accepted", "delivered"]);

    let a = mailbox("a@local.test");
    let open = OpenSession { password: "pass a".to_owned(), lease_seconds: 60, client: None, proved: false };
    let session = server.client.open_session(&a, &open).await.unwrap();
    server.client.update_maildrop(&a, &session.session, &MaildropUpdate { delete: vec![id] }).await.unwrap();
    let story: MessageEvents = server.get(&format!("/v1/messages/{id}/events")).await.json().await.unwrap();
    assert_eq!(kinds(&story.events), ["accepted", "delivered", "queued", "deleted"]);
    let unknown = MessageId::from_number(7);
    let unknown = server.get(&format!("/v1/messages/{unknown}/events")).await;
    assert_eq!(problem(unknown).await, ProblemKind::MessageUnknown);
    for query in ["?after=nonsense", "?limit=0", "?limit=1001", "?wait=61", "?unknown=1"] {
        assert_eq!(
            problem(server.get(&format!("/v1/events{query}")).await).await,
            ProblemKind::InvalidRequest,
            "{query}"
        );
    }
}

#[tokio::test]
async fn who_waits_hears_at_once() {
    let server = Server::start().await;
    let waiting = page(&server, "?after=latest&wait=60");
    let submitting = submit(&server, "1", &["a@local.test"]);
    let (page, id) = tokio::join!(waiting, submitting);
    // The first look may have come before or after the message.
    match &page.events[..] {
        [] => panic!("nothing came within a minute"),
        events => assert!(events.iter().all(|event| event.message == id)),
    }
}

#[tokio::test]
async fn a_stream_goes_on_where_its_reader_was() {
    let server = Server::start().await;
    let first = submit(&server, "1", &["a@local.test"]).await;
    let mut live = stream(&server, None).await;
    assert_eq!(live.headers()["content-type"], "text/event-stream");
    let before = next_events(&mut live, 2).await;
    let second = submit(&server, "2", &["x@far.test"]).await;
    let after = next_events(&mut live, 2).await;
    let told: Vec<_> = before.iter().chain(&after).map(|(_, event)| (event.message, event.kind.name())).collect();
    assert_eq!(told, [(first, "accepted"), (first, "delivered"), (second, "accepted"), (second, "queued")]);
    assert!(before.iter().chain(&after).all(|(id, event)| *id == event.cursor));
    drop(live);
    let mut again = stream(&server, Some(&before[0].0)).await;
    assert_eq!(next_events(&mut again, 3).await, [&before[1..], &after].concat());
    // A stream that is open does not keep the store from stopping.
    server.stop().await;
    while let Ok(Some(_)) = again.chunk().await {}
}

#[tokio::test]
async fn the_number_of_streams_is_bounded() {
    let server = Server::start().await;
    let mut streams = Vec::new();
    let refused = loop {
        let stream = stream(&server, None).await;
        if stream.status() != StatusCode::OK {
            break stream;
        }
        streams.push(stream);
        assert!(streams.len() <= 64);
    };
    assert_eq!(problem(refused).await, ProblemKind::Overloaded);
    assert_eq!(streams.len(), 64);
    // Who leaves makes room.
    streams.clear();
    while stream(&server, None).await.status() != StatusCode::OK {}
}
