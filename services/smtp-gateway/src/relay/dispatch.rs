//! Claims what is due, and gives each claim a task of its own, within the limits of connections.

use super::{Context, worker};
use mail_api::{Claim, ClaimRequest};
use mail_proto::Domain;
use service_kit::shutdown::{CancellationToken, GRACE};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::sleep};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// How long a claim waits at the store for something to do.
const CLAIM_WAIT_SECONDS: u32 = 20;
/// How many messages are claimed at once: they share one connection, one after the other.
const CLAIM_MESSAGES: u32 = 20;
/// How often to look for mail to other domains while one has all the connections that it may have.
const CROWDED_PAUSE: Duration = Duration::from_millis(200);
/// How long to wait after a store that did not answer, at first and at most.
const STORE_PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// Relays until `shutdown`, then finishes the transactions under way, [`GRACE`] at most.
pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let context = Arc::new(context);
    let under_way = Arc::new(UnderWay::default());
    let tasks = TaskTracker::new();
    let cut_off = CancellationToken::new();
    let mut pause = STORE_PAUSE[0];
    while let Some(claimed) = shutdown.run_until_cancelled(next(&context, &under_way)).await {
        match claimed {
            Ok(claim) => {
                pause = STORE_PAUSE[0];
                let Some(claim) = claim else { continue };
                let span = tracing::info_span!("relay", domain = %claim.domain);
                let task = relay(Arc::clone(&context), under_way.begin(&claim.domain), claim, shutdown.clone());
                tasks.spawn(cut_off.clone().run_until_cancelled_owned(task.instrument(span)));
            }
            Err(error) => {
                if pause == STORE_PAUSE[0] {
                    tracing::warn!(%error, "the queue cannot be read; trying on");
                }
                shutdown.run_until_cancelled(sleep(pause)).await;
                pause = (pause * 2).min(STORE_PAUSE[1]);
            }
        }
    }
    tasks.close();
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        // What they hold is claimed again when their leases run out.
        tracing::warn!(transactions = tasks.len(), "cut off transactions that did not finish in time");
        cut_off.cancel();
        tasks.wait().await;
    }
}

async fn relay(context: Arc<Context>, place: Place, claim: Claim, shutdown: CancellationToken) {
    worker::work(&context, claim, &shutdown).await;
    drop(place);
}

/// The next claim; `None` when there was none and it is time to ask again.
async fn next(context: &Context, under_way: &UnderWay) -> Result<Option<Claim>, mail_api::ApiError> {
    let relay = &context.stack.relay;
    // From before the look at what is under way, so that no end falls between looking and waiting.
    let ended = under_way.ended.notified();
    if under_way.total() >= relay.connections {
        ended.await;
        return Ok(None);
    }
    let crowded = under_way.crowded(relay.connections_per_domain);
    let request = ClaimRequest {
        lease_seconds: context.stack.relay.lease_seconds,
        // A claim that waits could not be told when a domain has connections to spare again.
        wait_seconds: if crowded.is_empty() { CLAIM_WAIT_SECONDS } else { 0 },
        limit: CLAIM_MESSAGES,
        except: crowded,
    };
    let claim = context.store.claim(&request).await?;
    if claim.is_none() && request.wait_seconds == 0 {
        tokio::select! {
            () = ended => {}
            () = sleep(CROWDED_PAUSE) => {}
        }
    }
    Ok(claim)
}

/// How many claims are being worked on, by domain.
#[derive(Debug, Default)]
struct UnderWay {
    by_domain: Mutex<HashMap<Domain, usize>>,
    /// Told when one of them ends.
    ended: Notify,
}

impl UnderWay {
    fn begin(self: &Arc<Self>, domain: &Domain) -> Place {
        *self.lock().entry(domain.clone()).or_default() += 1;
        Place { domain: domain.clone(), under_way: Arc::clone(self) }
    }

    fn total(&self) -> usize {
        self.lock().values().sum()
    }

    /// The domains with at least so many.
    fn crowded(&self, limit: usize) -> Vec<Domain> {
        self.lock().iter().filter(|(_, count)| **count >= limit).map(|(domain, _)| domain.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Domain, usize>> {
        self.by_domain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A claim's place among those under way, given up when dropped.
#[derive(Debug)]
struct Place {
    domain: Domain,
    under_way: Arc<UnderWay>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_domain = self.under_way.lock();
        if let Some(count) = by_domain.get_mut(&self.domain) {
            *count -= 1;
            if *count == 0 {
                by_domain.remove(&self.domain);
            }
        }
        drop(by_domain);
        self.under_way.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_domain() {
        let under_way = Arc::new(UnderWay::default());
        let [near, far]: [Domain; 2] = ["near.test", "far.test"].map(|domain| domain.parse().unwrap());
        let places = [under_way.begin(&near), under_way.begin(&near), under_way.begin(&far)];
        assert_eq!((under_way.total(), under_way.crowded(2)), (3, vec![near]));
        drop(places);
        assert_eq!((under_way.total(), under_way.crowded(1)), (0, Vec::new()));
    }
}
