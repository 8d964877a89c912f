//! The order of events where several transactions are under way at once.

use super::*;
use crate::store::Events;
use internal_api::{Event, EventPosition};
use std::time::Duration;

/// The events so far, as soon as there are this many.
async fn events(store: &dyn Events, count: usize) -> Vec<Event> {
    let mut changes = store.event_changes();
    loop {
        let page = store.events(EventPosition::default(), 100).await.unwrap();
        if page.events.len() >= count {
            return page.events;
        }
        // Transactions in other databases of this server delay them, too.
        let _ = tokio::time::timeout(Duration::from_millis(20), changes.changed()).await;
    }
}

/// Nobody reads past a transaction that is under way: its events would appear before what was read.
#[tokio::test]
async fn a_slow_transaction_holds_back_what_follows() {
    let Some(town) = Town::new().await else { return };
    let (one, other) = (town.fixture().await, town.fixture().await);
    let slow = town.stranger().await;
    let begin = "BEGIN; INSERT INTO events (xact_id, message_id, at_ms, detail)
         VALUES (pg_current_xact_id()::text::bigint, 1, 0, '[{\"kind\":\"bounced\",\"as_message\":\"0000000000002\"}]')";
    slow.batch_execute(begin).await.unwrap();
    let first = one.send("1", &["a@local.test"]).await;
    let second = other.send("2", &["a@local.test"]).await;
    for store in [&one.store, &other.store] {
        let page = store.events(EventPosition::default(), 100).await.unwrap();
        assert_eq!((page.events, page.next_after), (Vec::new(), EventPosition::default().to_string()));
        assert_eq!(store.last_event().await, Ok(EventPosition::default()));
    }
    // Who asks for one message sees what there is.
    assert_eq!(one.store.message_events(second).await.unwrap().len(), 2);
    slow.batch_execute("COMMIT").await.unwrap();
    let told: Vec<_> = events(&*other.store, 5).await.iter().map(|event| event.message).collect();
    assert_eq!(told, [MessageId::from_number(1), first, first, second, second]);
}

/// A transaction that is rolled back leaves a gap in the numbers, and nobody waits for it.
#[tokio::test]
async fn nobody_waits_for_what_was_rolled_back() {
    let Some(town) = Town::new().await else { return };
    let fixture = town.fixture().await;
    let stranger = town.stranger().await;
    stranger.batch_execute("BEGIN; SELECT pg_current_xact_id(); ROLLBACK").await.unwrap();
    let id = fixture.send("1", &["a@local.test"]).await;
    assert!(events(&*fixture.store, 2).await.iter().all(|event| event.message == id));
}
