//! Snapshots and holds over HTTP.

#![allow(clippy::unwrap_used, reason = "a test that cannot do its part fails")]

mod support;

use bytes::Bytes;
use internal_api::{
    ApiError, HoldRequest, HoldStage, MessageId, ProblemKind, RestoreRequest, SNAPSHOT_NOTE_OCTETS, StoreClient,
};
use support::{Server, submission};
use tokio::task::JoinHandle;

const HOLD: HoldRequest = HoldRequest { stage: HoldStage::Commits, lease_seconds: 60 };

fn kind<T: std::fmt::Debug>(outcome: Result<T, ApiError>) -> ProblemKind {
    outcome.unwrap_err().kind().unwrap()
}

fn submit(client: &StoreClient, transaction: String) -> JoinHandle<Result<MessageId, ApiError>> {
    let client = client.clone();
    tokio::spawn(async move {
        let mail = Bytes::from_static(b"Subject: x\r\n\r\nHello\r\n");
        client.submit(&submission(&transaction, &["a@local.test"]), mail).await.map(|submitted| submitted.id)
    })
}

#[tokio::test]
async fn a_note_has_a_bound() {
    let server = Server::start().await;
    // JSON takes two octets for each.
    let longest = "\"".repeat(SNAPSHOT_NOTE_OCTETS);
    let taken = server.client.take_snapshot("s", longest.clone()).await.unwrap();
    assert!(taken.note == longest);
    assert!(server.client.snapshots().await.unwrap().snapshots == [taken]);
    let longer = "x".repeat(SNAPSHOT_NOTE_OCTETS + 1);
    assert_eq!(kind(server.client.take_snapshot("t", longer).await), ProblemKind::InvalidRequest);
    server.stop().await;
}

#[tokio::test]
async fn a_check_of_a_restore_changes_nothing() {
    let server = Server::start().await;
    let taken = server.client.take_snapshot("s", String::new()).await.unwrap();
    let id = submit(&server.client, "t".to_owned()).await.unwrap().unwrap();
    assert_eq!(server.client.check_snapshot("s").await.unwrap(), taken);
    assert_eq!(kind(server.client.check_snapshot("t").await), ProblemKind::SnapshotUnknown);
    server.client.message(id).await.unwrap();
    assert_eq!(server.client.restore_snapshot("s", RestoreRequest::default()).await.unwrap(), taken);
    assert_eq!(server.client.message(id).await.err().and_then(|error| error.kind()), Some(ProblemKind::MessageUnknown));
    server.stop().await;
}

/// How many changes wait in the test below: more than the store itself has at its start.
const WAITING: usize = 20;

/// The store stops long before the hold ends, and tells those who wait under it to come again.
#[tokio::test]
async fn a_store_that_stops_ends_holds() {
    let server = Server::start().await;
    server.client.hold("console", HOLD).await.unwrap();
    let waiting: Vec<_> = (0..WAITING).map(|number| submit(&server.client, number.to_string())).collect();
    while server.metric("mailtown_store_waiting_writes").await.parse::<usize>().unwrap() < WAITING {
        tokio::task::yield_now().await;
    }
    let data = server.stop().await;
    let mut told = 0;
    for outcome in waiting {
        told += usize::from(outcome.await.unwrap().unwrap_err().kind() == Some(ProblemKind::StorageUnavailable));
    }
    assert!(told > 0, "those who waited were told");
    let server = Server::start_in(data, support::ACCOUNTS).await;
    submit(&server.client, "again".to_owned()).await.unwrap().unwrap();
    server.stop().await;
}
