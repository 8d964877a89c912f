//! One claim: messages for one domain, each seen to its end under the lease.

use super::{
    Context,
    deliver::{BrokenTransaction, Connection},
    here,
    route::{self, Exchange},
    settle::Settler,
};
use bytes::Bytes;
use futures_util::{FutureExt, future};
use mail_api::{BroughtClaim, Claim, MessageId, ProblemKind, Renewal};
use mail_proto::{Domain, smtp::Reply};
use service_kit::shutdown::CancellationToken;
use std::{collections::HashMap, time::Duration};

/// After so many broken connections the rest of a claim waits for its next attempt.
const BREAKS: usize = 2;

/// Works on a claim for as long as it is ours; answers the connection that is left of it.
pub(super) async fn work(
    context: &Context,
    BroughtClaim { claim, bodies }: BroughtClaim,
    shutdown: &CancellationToken,
) -> Option<Connection> {
    tokio::select! {
        connection = relay(context, &claim, bodies, shutdown) => connection,
        () = keep(context, &claim.lease) => {
            tracing::warn!("the lease was lost; another worker goes on");
            None
        }
    }
}

/// Renews the lease; answers when it is lost.
async fn keep(context: &Context, lease: &str) {
    let lease_seconds = context.stack.current().relay.lease_seconds;
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

async fn relay(
    context: &Context,
    claim: &Claim,
    bodies: HashMap<MessageId, Bytes>,
    shutdown: &CancellationToken,
) -> Option<Connection> {
    let settler = Settler::new(context, &claim.lease);
    if context.stack.current().is_local(&claim.domain) {
        here::deliver(context, &settler, &claim.messages).await;
        return None;
    }
    send(context, &settler, claim, &bodies, shutdown).await
}

/// Sends one message after the other over one connection, and answers it if it is still good. A message on which
/// the connection breaks must not keep the others: they get a new connection, until that breaks as well.
async fn send(
    context: &Context,
    settler: &Settler<'_>,
    Claim { domain, messages, .. }: &Claim,
    bodies: &HashMap<MessageId, Bytes>,
    shutdown: &CancellationToken,
) -> Option<Connection> {
    let mut kept = context.parked.take(domain);
    let (mut breaks, mut index) = (0, 0);
    // The outcome of one message is recorded while the next one is being sent.
    let mut settling = future::ready(()).boxed();
    while let Some(message) = messages.get(index) {
        if shutdown.is_cancelled() {
            settling.await;
            settler.release(&messages[index..]).await;
            return kept;
        }
        // What was said after the message before, and unasked, would be taken for the reply to this one.
        let mut connection = match connect(context, domain, kept.take().filter(Connection::is_quiet)).await {
            Ok(connection) => connection,
            Err(Refusal { reply, said_by }) => {
                settling.await;
                settler.settle_all(&messages[index..], &reply, said_by.as_ref()).await;
                return None;
            }
        };
        let exchange = connection.exchange().clone();
        let transaction = connection.transact(context, message, bodies.get(&message.id).cloned());
        let (sent, ()) = tokio::join!(transaction, std::mem::replace(&mut settling, future::ready(()).boxed()));
        match sent {
            Ok(replies) => {
                settling = async move { settler.settle(message, replies, Some(&exchange)).await }.boxed();
                kept = Some(connection);
            }
            // The exchange has had enough of this connection, and not seen this message: a new one will do.
            Err(broken) if broken.is_about_an_old_connection() => continue,
            Err(BrokenTransaction { broken, replies, .. }) => {
                settler.settle(message, replies, Some(&exchange).filter(|_| broken.is_said_by_exchange())).await;
                breaks += usize::from(!broken.is_about_one_message());
                if breaks == BREAKS {
                    settler.settle_all(&messages[index + 1..], &broken.reply_to_the_untried(&exchange), None).await;
                    return None;
                }
            }
        }
        index += 1;
    }
    settling.await;
    kept
}

/// Why no exchange can be used.
struct Refusal {
    reply: Reply,
    /// Whose words they are, if not ours.
    said_by: Option<Exchange>,
}

/// The connection that was kept, or else one to the first exchange that talks to us. It is over for good only when every
/// exchange said so: one that is down may be up again (RFC 5321 §5.1).
async fn connect(context: &Context, domain: &Domain, kept: Option<Connection>) -> Result<Connection, Refusal> {
    if let Some(connection) = kept {
        return Ok(connection);
    }
    let exchanges = route::exchanges(context, domain).await.map_err(|reply| Refusal { reply, said_by: None })?;
    let mut refusal: Option<Refusal> = None;
    for exchange in exchanges {
        match Connection::open(context, &exchange).await {
            Ok(connection) => return Ok(connection),
            Err(broken) => {
                tracing::info!(exchange = exchange.name, %broken, "the exchange cannot be used");
                let reply = broken.reply(&exchange);
                if refusal.as_ref().is_none_or(|earlier| earlier.reply.is_permanent()) {
                    let said_by = Some(exchange).filter(|_| broken.is_said_by_exchange());
                    refusal = Some(Refusal { reply, said_by });
                }
            }
        }
    }
    let nobody = || Refusal { reply: Reply::new(451, (4, 4), "no exchange to connect to"), said_by: None };
    Err(refusal.unwrap_or_else(nobody))
}
