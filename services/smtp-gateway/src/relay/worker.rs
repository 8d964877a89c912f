//! One claim: messages for one domain, each seen to its end under the lease.

use super::{
    Context,
    broken::{Broken, BrokenTransaction},
    delivery::{Delivery, Verdicts},
    forwarded,
    search::{Nowhere, connect, connect_elsewhere},
    security::Security,
    settle::Settler,
    slots::DomainSlot,
    smtp_client::{Connection, Outgoing},
    verdict::Verdict,
};
use bytes::Bytes;
use futures_util::{FutureExt, future};
use internal_api::{BroughtClaim, Claim, ClaimedMessage, ClaimedRecipient, MessageId, ProblemKind, Renewal};
use mail_proto::{Domain, smtp::Reply};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// How many broken connections a claim survives: then the rest of it waits for its next attempt.
const BREAKS: usize = 2;
/// How many other exchanges are found for a message that do not keep their connections: then it waits for its next attempt.
const DETOURS: usize = 2;

/// Works on a claim for as long as it is ours. Returns the connection that is left of it.
pub(super) async fn work(
    context: &Context,
    slot: &DomainSlot,
    BroughtClaim { claim, bodies }: BroughtClaim,
) -> Option<Connection> {
    tokio::select! {
        connection = relay(context, slot, &claim, &bodies) => connection,
        () = keep(context, &claim.lease) => {
            facts::RelayLeaseLost {}.log();
            None
        }
    }
}

/// Renews the lease; returns when it is lost.
async fn keep(context: &Context, lease: &str) {
    let lease_seconds = context.stack.current().relay.lease_seconds;
    let mut interval = context.clock.io.interval(Duration::from_secs(u64::from(lease_seconds)) / 3);
    interval.tick().await;
    loop {
        interval.tick().await;
        if let Err(error) = context.store.renew_claim(lease, Renewal { lease_seconds }).await {
            if error.kind() == Some(ProblemKind::LeaseLost) {
                return;
            }
            facts::RelayRenewalFailed { error }.log();
        }
    }
}

async fn relay(
    context: &Context,
    slot: &DomainSlot,
    claim: &Claim,
    bodies: &HashMap<MessageId, Bytes>,
) -> Option<Connection> {
    let settler = Settler::new(context, &claim.lease);
    let is_local = context.stack.current().is_local(&claim.domain);
    for message in &claim.messages {
        // A recipient that has got the message must not get it again, wherever its domain is by now.
        let here = message.recipients.iter().filter(|recipient| is_local || recipient.said_by_store.is_some());
        settler.settle(message, here.map(|recipient| (recipient, Verdict::of_store(recipient))).collect()).await;
    }
    if is_local {
        return None;
    }
    let mut wanted = Vec::with_capacity(claim.messages.len());
    for message in &claim.messages {
        wanted.push(Security::of(context, message, bodies.get(&message.id)).await);
    }
    let mut kept = None;
    // A connection that is safe enough for the first is good for the others too. What keeps the first does not keep the
    // others.
    for security in [Security::Required, Security::Configured, Security::Waived] {
        let messages = claim.messages.iter().zip(&wanted).filter(|(_, wanted)| **wanted == security);
        let waiting =
            messages.map(|(message, _)| Delivery::new(message)).filter(|delivery| !delivery.is_done()).collect();
        let (settler, domain) = (&settler, &claim.domain);
        let sender = Sender { context, slot, settler, domain, bodies, security, waiting, breaks: 0, limit: None };
        kept = sender.send(kept).await;
    }
    kept
}

/// Sends the messages of a claim.
struct Sender<'a> {
    context: &'a Context,
    slot: &'a DomainSlot,
    settler: &'a Settler<'a>,
    domain: &'a Domain,
    bodies: &'a HashMap<MessageId, Bytes>,
    /// What all of them need.
    security: Security,
    /// The first is under way.
    waiting: VecDeque<Delivery<'a>>,
    /// How many connections have broken.
    breaks: usize,
    /// How many recipients the exchange took before a connection broke.
    limit: Option<usize>,
}

/// What follows a transaction.
enum Next<'a> {
    /// The connection, if there is one, is good for more. These verdicts are to be settled.
    On(Option<Box<Connection>>, &'a ClaimedMessage, Verdicts<'a>),
    /// What is left needs another connection.
    Again,
    /// What is left gets this verdict.
    Over(Verdict),
}

impl<'a> Sender<'a> {
    /// Sends one message after the other over one connection, and returns it if it is still good. A message for more
    /// recipients than the exchange takes at once is sent again to the others. A message on which the connection breaks
    /// must not keep the others: they get a new connection, until that breaks as well.
    async fn send(mut self, kept: Option<Connection>) -> Option<Connection> {
        let Self { context, slot, settler, domain, security, .. } = self;
        if self.waiting.is_empty() {
            return kept;
        }
        let mut kept = kept.or_else(|| context.pool.take(slot.destination()));
        // The outcome of one transaction is recorded while the next one is under way.
        let mut settling = future::ready(()).boxed();
        while !self.waiting.is_empty() {
            // What was said after the message before, and unasked, would be taken for the reply to this one.
            let quiet = kept.take().and_then(Connection::if_quiet);
            let connection = match connect(context, slot, (domain, security), quiet).await {
                Ok(connection) => connection,
                Err(verdict) => {
                    settling.await;
                    self.end(verdict).await;
                    return None;
                }
            };
            let settled = std::mem::replace(&mut settling, future::ready(()).boxed());
            let (next, ()) = tokio::join!(self.transact(connection), settled);
            match next {
                Next::On(connection, message, verdicts) => {
                    settling = async move { settler.settle(message, verdicts).await }.boxed();
                    kept = connection.map(|connection| *connection);
                }
                Next::Again => {}
                Next::Over(verdict) => {
                    self.end(verdict).await;
                    return None;
                }
            }
            if self.waiting.front().is_some_and(Delivery::is_done) {
                self.waiting.pop_front();
            }
        }
        settling.await;
        kept
    }

    /// Sends the first message to as many recipients as the exchange takes at once.
    async fn transact(&mut self, mut connection: Connection) -> Next<'a> {
        let Self { context, slot, bodies, limit, .. } = *self;
        let Some(delivery) = self.waiting.front_mut() else { return Next::Again };
        let message = delivery.message;
        let via = delivery.via();
        let portion = delivery.portion(connection.recipient_limit().into_iter().chain(limit).min());
        let recipients = portion.iter().map(|recipient| recipient.recipient()).collect();
        let body = bodies.get(&message.id).cloned();
        let trace = via.map(|alias| forwarded::trace(message, alias, &context.stack.current()));
        let started = context.clock.io.instant();
        let mail = Outgoing { message, recipients, body, trace };
        let sent = connection.transact(context, slot, &mail).await;
        context.metrics.attempt_seconds.observe(context.clock.io.since(started).as_secs_f64());
        match sent {
            Ok(verdicts) => {
                delivery.detours = 0;
                slot.succeeded(&context.stack.current().relay);
                Next::On(Some(Box::new(connection)), message, delivery.record(portion, verdicts))
            }
            Err(BrokenTransaction { broken: Broken::Unable(obstacle), .. }) => {
                self.look_elsewhere(connection, portion, (&mail, obstacle)).await
            }
            Err(broken) => self.broke(connection, portion, broken).await,
        }
    }

    /// Finds another exchange for the first message, which this one cannot take (RFC 5321 §5.1).
    async fn look_elsewhere(
        &mut self,
        connection: Connection,
        portion: Vec<&'a ClaimedRecipient>,
        (mail, obstacle): (&Outgoing<'a>, Reply),
    ) -> Next<'a> {
        let Self { context, slot, domain, security, .. } = *self;
        let Some(delivery) = self.waiting.front_mut() else { return Next::Again };
        let found = if delivery.detours < DETOURS {
            connect_elsewhere(context, slot, (domain, security), mail, (connection, obstacle)).await
        } else {
            // Otherwise an exchange that ends each connection at once would keep us for ever.
            let reply = Reply::new(451, (4, 2), "no exchange that can take the message keeps a connection");
            Err(Nowhere { verdict: Verdict::Ours(reply), kept: Some(connection) })
        };
        match found {
            Ok(other) => {
                delivery.detours += 1;
                delivery.put_back(portion);
                Next::On(Some(Box::new(other)), mail.message, Vec::new())
            }
            Err(Nowhere { verdict, kept }) => {
                delivery.detours = 0;
                let verdicts = vec![verdict; portion.len()];
                Next::On(kept.map(Box::new), mail.message, delivery.record(portion, verdicts))
            }
        }
    }

    /// Settles what is known of the first message, on which the connection broke.
    async fn broke(
        &mut self,
        connection: Connection,
        portion: Vec<&'a ClaimedRecipient>,
        broken: BrokenTransaction,
    ) -> Next<'a> {
        let exchange = Arc::clone(connection.exchange());
        self.limit = connection.recipient_limit().or(self.limit);
        if broken.broken.leaves_an_open_dialogue() {
            connection.quit().await;
        }
        let Some(delivery) = self.waiting.front_mut() else { return Next::Again };
        // The exchange has had enough of this connection, and not seen this message: a new one will do.
        if broken.is_about_an_old_connection() {
            delivery.put_back(portion);
            return Next::Again;
        }
        let BrokenTransaction { broken, verdicts, .. } = broken;
        let verdicts = delivery.record_broken(portion, verdicts);
        self.settler.settle(delivery.message, verdicts).await;
        self.breaks += usize::from(!broken.is_about_one_message());
        if self.breaks == BREAKS || matches!(broken, Broken::Interrupted(_)) {
            return Next::Over(broken.verdict_on_the_untried(&exchange));
        }
        Next::Again
    }

    /// Settles all that is left.
    async fn end(self, verdict: Verdict) {
        for delivery in self.waiting {
            let (message, verdicts) = delivery.end(&verdict);
            if !verdicts.is_empty() {
                self.settler.settle(message, verdicts).await;
            }
        }
    }
}
