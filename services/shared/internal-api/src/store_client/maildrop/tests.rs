use super::*;
use crate::{Endpoint, InProcess, OpenSession, StoreClient, frame};
use axum::{
    Router,
    body::Body,
    routing::post,
};
use futures_util::{StreamExt, stream};
use mail_net::Clock;
use mail_proto::Mailbox;
use std::convert::Infallible;

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
