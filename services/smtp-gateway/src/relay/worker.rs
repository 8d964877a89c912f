//! One relay worker: claims the messages for one domain, and sees each to its end under the lease.

use super::{
    Context,
    deliver::Connection,
    route::{self, Exchange},
    settle::Settler,
};
use crate::policy::no_such_mailbox;
use futures_util::{FutureExt, future};
use mail_api::{Claim, ClaimRequest, ClaimedMessage, ProblemKind, Renewal};
use mail_proto::smtp::Reply;
use service_kit::shutdown::CancellationToken;
use std::{sync::Arc, time::Duration};
use tracing::Instrument;

/// How long a claim waits at the store for something to do.
const CLAIM_WAIT_SECONDS: u32 = 20;
/// How many messages are claimed at once: they share one connection.
const CLAIM_MESSAGES: u32 = 100;
/// After so many broken connections the rest of a claim waits for its next attempt.
const BREAKS: usize = 2;
/// How long to wait after a store that did not answer, at first and at most.
const STORE_PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// Works until `shutdown`; a transaction under way is finished first.
pub(crate) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let request = ClaimRequest {
        lease_seconds: lease_seconds(&context),
        wait_seconds: CLAIM_WAIT_SECONDS,
        limit: CLAIM_MESSAGES,
    };
    let mut pause = STORE_PAUSE[0];
    loop {
        let claimed = tokio::select! {
            () = shutdown.cancelled() => return,
            claimed = context.store.claim(request) => claimed,
        };
        match claimed {
            Ok(claim) => {
                pause = STORE_PAUSE[0];
                if let Some(claim) = claim {
                    let span = tracing::info_span!("relay", domain = %claim.domain);
                    work(&context, claim, &shutdown).instrument(span).await;
                }
            }
            Err(error) => {
                if pause == STORE_PAUSE[0] {
                    tracing::warn!(%error, "the queue cannot be read; trying on");
                }
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(STORE_PAUSE[1]);
            }
        }
    }
}

fn lease_seconds(context: &Context) -> u32 {
    u32::try_from(context.stack.relay.lease.as_secs()).unwrap_or(u32::MAX).clamp(1, 3600)
}

/// Works on a claim for as long as it is ours.
async fn work(context: &Context, claim: Claim, shutdown: &CancellationToken) {
    tokio::select! {
        () = relay(context, &claim, shutdown) => {}
        () = keep(context, &claim.lease) => tracing::warn!("the lease was lost; another worker goes on"),
    }
}

/// Renews the lease; answers when it is lost.
async fn keep(context: &Context, lease: &str) {
    let lease_seconds = lease_seconds(context);
    let mut interval = tokio::time::interval(Duration::from_secs(u64::from(lease_seconds)) / 3);
    interval.tick().await;
    loop {
        interval.tick().await;
        if let Err(error) = context.store.renew_claim(lease, Renewal { lease_seconds }).await {
            if error.kind() == Some(ProblemKind::LeaseLost) {
                return;
            }
            tracing::warn!(%error, "the lease cannot be renewed; trying on");
        }
    }
}

async fn relay(context: &Context, claim: &Claim, shutdown: &CancellationToken) {
    let settler = Settler::new(context, &claim.lease);
    let messages = claim.messages.as_slice();
    if context.stack.is_local(&claim.domain) {
        for message in messages {
            let refusals = message.recipients.iter().map(|recipient| no_such_mailbox(&recipient.mailbox)).collect();
            settler.settle(message, refusals, None).await;
        }
        return;
    }
    match route::exchanges(context, &claim.domain).await {
        Ok(exchanges) => send(context, &settler, messages, &exchanges, shutdown).await,
        Err(reply) => settler.settle_all(messages, &reply, None).await,
    }
}

/// Sends one message after the other over one connection. A message on which the connection breaks must not
/// keep the others: they get a new connection, until that breaks as well.
async fn send(
    context: &Context,
    settler: &Settler<'_>,
    messages: &[ClaimedMessage],
    exchanges: &[Exchange],
    shutdown: &CancellationToken,
) {
    let mut kept: Option<Connection> = None;
    let mut breaks = 0;
    // The outcome of one message is recorded while the next one is being sent.
    let mut settling = future::ready(()).boxed();
    for (index, message) in messages.iter().enumerate() {
        if shutdown.is_cancelled() {
            settling.await;
            settler.release(&messages[index..]).await;
            return goodbye(kept).await;
        }
        let connection = match kept.take() {
            Some(connection) => Ok(connection),
            None => connect(context, exchanges).await,
        };
        let mut connection = match connection {
            Ok(connection) => connection,
            Err((reply, exchange)) => {
                settling.await;
                return settler.settle_all(&messages[index..], &reply, Some(exchange)).await;
            }
        };
        let exchange = connection.exchange().clone();
        let (sent, ()) = tokio::join!(connection.transact(context, message), settling);
        settling = future::ready(()).boxed();
        match sent {
            Ok(replies) => {
                settling = async move { settler.settle(message, replies, Some(&exchange)).await }.boxed();
                kept = Some(connection);
            }
            Err(broken) => {
                let reply = broken.reply(&exchange);
                breaks += 1;
                let hit = if breaks < BREAKS { &messages[index..=index] } else { &messages[index..] };
                settler.settle_all(hit, &reply, Some(&exchange)).await;
                if breaks == BREAKS {
                    return;
                }
            }
        }
    }
    settling.await;
    goodbye(kept).await;
}

async fn goodbye(connection: Option<Connection>) {
    if let Some(connection) = connection {
        connection.quit().await;
    }
}

/// A connection to the first exchange that talks to us; else the last refusal, and whose it was. There is
/// always at least one exchange.
async fn connect<'a>(context: &Context, exchanges: &'a [Exchange]) -> Result<Connection, (Reply, &'a Exchange)> {
    let mut refusal = (Reply::new(451, (4, 4), "no exchange to connect to"), &exchanges[0]);
    for exchange in exchanges {
        match Connection::open(context, exchange).await {
            Ok(connection) => return Ok(connection),
            Err(broken) => {
                tracing::info!(exchange = exchange.name, %broken, "the exchange cannot be used");
                refusal = (broken.reply(exchange), exchange);
            }
        }
    }
    Err(refusal)
}
