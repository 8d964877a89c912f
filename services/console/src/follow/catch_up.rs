//! Waits until the index has what the stores have. Callers share the calls that this takes.

use super::FollowedStore;
use futures_util::future::join_all;
use mail_net::IoClock;
use service_kit::{shutdown::CancellationToken, telemetry};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// How long a caller waits at most. A store that has much to tell takes longer.
const LIMIT: Duration = Duration::from_secs(2);

/// The callers that wait.
#[derive(Debug, Clone)]
pub(super) struct CatchingUp {
    /// How many have asked.
    asked: Arc<watch::Sender<u64>>,
    /// How many of them have their answer: the first ones.
    answered: watch::Receiver<u64>,
}

impl CatchingUp {
    pub(super) fn start(stores: Arc<Vec<FollowedStore>>, io: IoClock, shutdown: &CancellationToken) -> Self {
        let asked = Arc::new(watch::Sender::new(0));
        let (answer, answered) = watch::channel(0);
        let (mut questions, until) = (asked.subscribe(), shutdown.clone());
        let answering = async move {
            while questions.changed().await.is_ok() {
                // Who asks from now on is answered next time.
                let asked = *questions.borrow_and_update();
                let _ = io.timeout(LIMIT, join_all(stores.iter().map(caught_up))).await;
                answer.send_replace(asked);
            }
        };
        telemetry::spawn(async move { until.run_until_cancelled(answering).await.unwrap_or_default() });
        Self { asked, answered }
    }

    /// Waits until the index has all that has happened before this call, [`LIMIT`] at most for each of two rounds.
    pub(super) async fn wait(&self) {
        let mut number = 0;
        self.asked.send_modify(|asked| {
            *asked += 1;
            number = *asked;
        });
        // Without a sender the console stops.
        let _ = self.answered.clone().wait_for(|answered| *answered >= number).await;
    }
}

async fn caught_up(store: &FollowedStore) {
    let Ok(last) = store.client.last_event().await else { return };
    // Without a sender the console stops.
    let _ = store.applied.clone().wait_for(|applied| *applied >= last).await;
}
