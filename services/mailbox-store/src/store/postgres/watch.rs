//! Learning what other stores have put into the queue.

use super::{database::Database, queue};
use futures_util::FutureExt;
use std::{sync::Arc, time::Duration};

/// How often to look, while somebody waits.
const INTERVAL: Duration = Duration::from_millis(500);

/// Looks into the queue as long as anybody wants to know of its changes. Never ends.
pub(super) async fn watch(database: Arc<Database>) {
    let mut next_due_ms = None;
    loop {
        database.io().sleep(INTERVAL).await;
        if database.queue_changes().receiver_count() == 0 {
            continue;
        }
        // Whoever claims will find out that the database is away, and say so.
        let Ok(due_ms) = database.read(&(), |tx, ()| queue::next_due_ms(tx).boxed()).await else { continue };
        let is_due = due_ms.is_some_and(|due_ms| due_ms <= database.now().as_millisecond());
        let is_earlier = due_ms.is_some_and(|due_ms| next_due_ms.is_none_or(|before_ms| due_ms < before_ms));
        if is_due || is_earlier {
            database.queue_changes().send_replace(());
        }
        next_due_ms = due_ms;
    }
}
