//! Claims what is due, and gives each claim a task of its own, within the limits of connections.

use super::{
    Context,
    route::Destination,
    slots::{DomainSlot, DomainSlots},
    smtp_client::Connection,
    worker,
};
use futures_util::future::join_all;
use internal_api::{ApiError, BroughtClaim, ClaimRequest};
use mail_proto::Domain;
use service_kit::{
    shutdown::{CancellationToken, GRACE},
    telemetry,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// How long a claim waits at the store for something to do.
const CLAIM_WAIT_SECONDS: u32 = 20;
/// How many messages are claimed at once: they share one connection, one after the other.
const CLAIM_MESSAGES: u32 = 20;
/// How many octets of them come along: twenty small messages, which a worker has in memory then.
const CLAIM_OCTETS: u32 = 128 * 1024;
/// How often to look for mail to other domains while one has all the connections that it may have.
const CROWDED_PAUSE: Duration = Duration::from_millis(200);
/// A connection is not kept once it has carried this many messages: many servers end it after a hundred, in the middle of a
/// transaction.
const KEPT_TRANSACTIONS: u32 = 100 - CLAIM_MESSAGES;
/// How long to wait after a store that did not answer, at first and at most.
const STORE_PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// Relays until `shutdown`, then finishes the transactions under way, [`GRACE`] at most.
pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let context = Arc::new(context);
    let slots = Arc::new(DomainSlots::new(context.clock.io));
    let tasks = TaskTracker::new();
    let cut_off = CancellationToken::new();
    let mut pause = STORE_PAUSE[0];
    let mut looked_in_vain = None;
    while let Some(claimed) = shutdown.run_until_cancelled(next(&context, &slots, &mut looked_in_vain)).await {
        match claimed {
            Ok(claim) => {
                pause = STORE_PAUSE[0];
                let Some(brought) = claim else { continue };
                let (domain, stack) = (brought.claim.domain.clone(), context.stack.current());
                let destination = Destination::of(&domain, &stack.relay);
                let slot = slots.begin(&destination, &stack.relay, &shutdown);
                let task = relay(Arc::clone(&context), slot, brought, shutdown.clone());
                let task =
                    telemetry::connection(move |id| tracing::info_span!("relay", connection = %id, %domain), task);
                tasks.spawn(cut_off.clone().run_until_cancelled_owned(task.in_current_span()));
            }
            Err(error) => {
                if pause == STORE_PAUSE[0] {
                    facts::RelayQueueFailed { error }.log();
                }
                shutdown.run_until_cancelled(context.clock.io.sleep(pause)).await;
                pause = (pause * 2).min(STORE_PAUSE[1]);
            }
        }
    }
    tasks.close();
    if context.clock.io.timeout(GRACE, tasks.wait()).await.is_err() {
        // What they hold is claimed again when their leases run out.
        facts::RelayTransactionsCut { transactions: tasks.len() }.log();
        cut_off.cancel();
        tasks.wait().await;
    }
}

async fn relay(context: Arc<Context>, slot: DomainSlot, brought: BroughtClaim, shutdown: CancellationToken) {
    let destination = slot.destination().clone();
    // Connections that are kept count as well.
    let room = context.stack.current().relay.connections.saturating_sub(slot.total());
    join_all(context.pool.make_room(&destination, room).into_iter().map(Connection::quit)).await;
    match worker::work(&context, &slot, brought).await {
        Some(connection) if connection.transactions() < KEPT_TRANSACTIONS => {
            drop(slot);
            context.pool.keep(destination, connection, context.clock.io, &shutdown).await;
        }
        Some(connection) => connection.quit().await,
        None => {}
    }
}

/// A look at the queue that found nothing due except in these domains.
struct VainLook {
    at: Instant,
    except: Vec<Domain>,
}

/// The next claim; `None` when there was none and it is time to ask again.
async fn next(
    context: &Context,
    slots: &DomainSlots,
    looked_in_vain: &mut Option<VainLook>,
) -> Result<Option<BroughtClaim>, ApiError> {
    let stack = context.stack.current();
    let relay = &stack.relay;
    // From before the look at what is under way, so that no end falls between looking and waiting.
    let ended = slots.ended.notified();
    let closed = slots.closed_to(relay);
    let smarthost = Destination::smarthost(relay);
    let Some(crowded) = closed.filter(|closed| smarthost.is_none_or(|smarthost| !closed.contains(&smarthost))) else {
        // All slots are taken, or all of the only destination, and nobody is silent: until one ends, or falls silent.
        tokio::select! {
            () = ended => {}
            () = context.clock.io.sleep(CROWDED_PAUSE) => {}
        }
        return Ok(None);
    };
    let crowded: Vec<Domain> = crowded.into_iter().filter_map(Destination::into_domain).collect();
    if let Some(VainLook { at, except }) = looked_in_vain
        && context.clock.io.since(*at) < CROWDED_PAUSE
        && except.iter().all(|domain| crowded.contains(domain))
    {
        tokio::select! {
            () = ended => {}
            () = context.clock.io.sleep_until(*at + CROWDED_PAUSE) => {}
        }
        return Ok(None);
    }
    let request = ClaimRequest {
        lease_seconds: relay.lease_seconds,
        // A claim that waits could not be told when a domain has connections to spare again.
        wait_seconds: if crowded.is_empty() { CLAIM_WAIT_SECONDS } else { 0 },
        limit: CLAIM_MESSAGES,
        except: crowded,
        inline_octets: CLAIM_OCTETS,
        requiretls: true,
        smtputf8: true,
    };
    let claim = context.store.claim(&request).await?;
    let except = request.except;
    *looked_in_vain =
        (claim.is_none() && !except.is_empty()).then(|| VainLook { at: context.clock.io.instant(), except });
    Ok(claim)
}
