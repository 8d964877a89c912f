use super::*;
use crate::{Endpoint, InProcess, OpenSession, StoreClient, frame};
use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response as Answer},
    routing::{get, post},
};
use futures_util::{StreamExt, stream};
use mail_net::Clock;
use mail_proto::Mailbox;
use std::convert::Infallible;
use tokio::net::TcpListener;

/// A client of a store in this process, which is served until the second is dropped.
fn store(routes: Router) -> (StoreClient, crate::Served) {
    let (in_process, io) = (InProcess::default(), Clock::system().io);
    let served = in_process.serve(routes);
    // Nobody listens there.
    let endpoint = Endpoint::new("http://127.0.0.1:1", None).unwrap().in_process(in_process);
    (StoreClient::new(endpoint, io), served)
}

fn address() -> Mailbox {
    "a@b.test".parse().unwrap()
}

fn entry(number: u64, octets: u64) -> MaildropEntry {
    MaildropEntry { id: MessageId::from_number(number), octets }
}

/// A store that lists this number of messages, one each five seconds.
async fn listed_slowly(messages: u64) -> (Result<usize, ApiError>, Duration) {
    let list = move || async move {
        let head = stream::once(async { Ok::<_, Infallible>(frame(&MaildropHead { session: "lock".to_owned() })) });
        let lines = stream::iter(0..messages).then(async |number| {
            Clock::system().io.sleep(Duration::from_secs(5)).await;
            Ok(crate::listing_lines(&[entry(number, 7)]).into())
        });
        ([(header::CONTENT_TYPE, MAILDROP_MEDIA_TYPE)], Body::from_stream(head.chain(lines)))
    };
    let (store, _served) = store(Router::new().route("/v1/mailboxes/{address}/sessions", post(list)));
    let (io, open) =
        (Clock::system().io, OpenSession { password: "x".to_owned(), lease_seconds: 60, client: None, proved: false });
    let started = io.instant();
    let mut opened = store.open_maildrop(&address(), "name", &open).await.unwrap();
    let mut listed = 0;
    let outcome = loop {
        match opened.page().await {
            Ok(page) if page.is_empty() => break Ok(listed),
            Ok(page) => listed += page.len(),
            Err(error) => break Err(error),
        }
    };
    (outcome, io.since(started))
}

/// Each line alone comes in time.
#[tokio::test(start_paused = true)]
async fn a_listing_takes_no_longer_than_a_minute() {
    let (listed, took) = listed_slowly(11).await;
    assert_eq!((listed.unwrap(), took), (11, Duration::from_secs(55)));
    let (listed, took) = listed_slowly(1000).await;
    assert_eq!((listed.unwrap_err().kind(), took.as_secs()), (Some(ProblemKind::Overloaded), 60));
}

fn message(number: u64, octets: &str) -> Vec<u8> {
    let head = DeliveredHead { id: MessageId::from_number(number), octets: octets.len() as u64 };
    [&frame(&head)[..], octets.as_bytes()].concat()
}

/// What a client makes of an answer, when it asks for 1, 2 and 3 of 3 octets each.
async fn asked_for_three(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Result<Vec<u64>, ApiError> {
    let answer = move || std::future::ready::<Answer>(answer.clone().into_response());
    let (store, _served) = store(Router::new().route("/v1/mailboxes/{address}/raw", get(answer)));
    let read = store.delivered_messages(&address(), &[entry(1, 3), entry(2, 3), entry(3, 3)]).await?;
    assert!(read.iter().all(|(_, octets)| octets.len() == 3), "{read:?}");
    Ok(read.iter().map(|(id, _)| id.number()).collect())
}

#[tokio::test]
async fn only_what_was_asked_for_is_taken() {
    let (one, two, three) = (message(1, "a\r\n"), message(2, "b\r\n"), message(3, "c\r\n"));
    let long = "x".repeat(10_000);
    let table = [
        (vec![], Some(vec![])),
        (vec![one.clone(), two.clone(), three.clone()], Some(vec![1, 2, 3])),
        (vec![one.clone(), two.clone()], Some(vec![1, 2])),
        // It has grown or shrunk, however much: the first is read all the same.
        (vec![one.clone(), message(2, "b")], Some(vec![1])),
        (vec![one.clone(), message(2, &long), three.clone()], Some(vec![1])),
        (vec![two.clone()], None),
        (vec![one.clone(), one.clone()], None),
        (vec![one.clone(), two.clone(), three.clone(), message(4, "d\r\n")], None),
        (vec![one.clone(), b"{".to_vec()], None),
        (vec![one.clone(), two[..two.len() - 1].to_vec()], None),
    ];
    for (answer, expected) in table {
        let answer = answer.concat();
        assert_eq!(asked_for_three(answer.clone()).await.ok(), expected, "{}", answer.escape_ascii());
    }
}

/// The rest is not read.
#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let endless = async || {
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from(message(1, "a\r\n")))]);
        let rest = stream::repeat_with(|| Ok(Bytes::from_static(&[b'x'; 8192])));
        Body::from_stream(first.chain(rest))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().route("/v1/mailboxes/{address}/raw", get(endless));
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
    let store = StoreClient::new(Endpoint::new(&url, None).unwrap(), Clock::system().io);
    let read = store.delivered_messages(&address(), &[entry(1, 3), entry(2, 3)]).await.unwrap();
    assert_eq!(read, [(MessageId::from_number(1), Bytes::from_static(b"a\r\n"))]);
    serving.abort();
}
