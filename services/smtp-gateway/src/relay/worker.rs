//! One claim: messages for one domain, each seen to its end under the lease.

use super::{
    Context,
    deliver::{BrokenTransaction, Connection},
    here,
    route::{self, Exchange},
    settle::Settler,
};
use futures_util::{FutureExt, future};
use mail_api::{Claim, ClaimedMessage, ProblemKind, Renewal};
use mail_proto::smtp::Reply;
use service_kit::shutdown::CancellationToken;
use std::time::Duration;

/// After so many broken connections the rest of a claim waits for its next attempt.
const BREAKS: usize = 2;

/// Works on a claim for as long as it is ours.
pub(super) async fn work(context: &Context, claim: Claim, shutdown: &CancellationToken) {
    tokio::select! {
        () = relay(context, &claim, shutdown) => {}
        () = keep(context, &claim.lease) => tracing::warn!("the lease was lost; another worker goes on"),
    }
}

/// Renews the lease; answers when it is lost.
async fn keep(context: &Context, lease: &str) {
    let lease_seconds = context.stack.relay.lease_seconds;
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
        return here::deliver(context, &settler, messages).await;
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
            Err(refusal) => {
                settling.await;
                return settler.settle_all(&messages[index..], &refusal.reply, refusal.said_by).await;
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
            Err(BrokenTransaction { broken, replies }) => {
                let said_by = Some(&exchange).filter(|_| broken.is_said_by_exchange());
                settler.settle(message, replies, said_by).await;
                breaks += 1;
                if breaks == BREAKS {
                    let reply = broken.reply(&exchange);
                    return settler.settle_all(&messages[index + 1..], &reply, said_by).await;
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

/// Why no exchange can be used.
struct Refusal<'a> {
    reply: Reply,
    /// Whose words they are, if not ours.
    said_by: Option<&'a Exchange>,
}

/// A connection to the first exchange that talks to us. It is over for good only when every exchange said so:
/// one that is down may be up again (RFC 5321 §5.1).
async fn connect<'a>(context: &Context, exchanges: &'a [Exchange]) -> Result<Connection, Refusal<'a>> {
    let mut refusal: Option<Refusal<'_>> = None;
    for exchange in exchanges {
        match Connection::open(context, exchange).await {
            Ok(connection) => return Ok(connection),
            Err(broken) => {
                tracing::info!(exchange = exchange.name, %broken, "the exchange cannot be used");
                let said_by = Some(exchange).filter(|_| broken.is_said_by_exchange());
                let found = Refusal { reply: broken.reply(exchange), said_by };
                if refusal.as_ref().is_none_or(|earlier| earlier.reply.is_permanent()) {
                    refusal = Some(found);
                }
            }
        }
    }
    let nobody = || Refusal { reply: Reply::new(451, (4, 4), "no exchange to connect to"), said_by: None };
    Err(refusal.unwrap_or_else(nobody))
}
