//! From a domain to a connection with one of its exchanges.

use super::{
    Context,
    broken::Broken,
    route::{self, Exchange, Found, Unanswered},
    security::Security,
    slots::DomainSlot,
    smtp_client::{Connection, Outgoing},
    verdict::Verdict,
};
use mail_proto::{Domain, smtp::Reply};
use std::sync::Arc;

/// The connection that was kept, or else one to the first exchange that talks to us. The mail fails for good only when every
/// exchange said so: one that is down may be up again (RFC 5321 §5.1).
///
/// # Errors
/// The verdict on all messages.
pub(super) async fn connect(
    context: &Context,
    slot: &DomainSlot,
    (domain, security): (&Domain, Security),
    kept: Option<Connection>,
) -> Result<Connection, Verdict> {
    if slot.is_stopping() {
        if let Some(connection) = kept {
            connection.quit().await;
        }
        return Err(Verdict::Released);
    }
    if let Some(connection) = kept {
        if connection.takes_another() && connection.is_fit_for(security, &context.stack.current()) {
            return Ok(connection);
        }
        connection.quit().await;
    }
    let mut search =
        Search { context, slot, security, mail: None, held: None, refusals: Vec::new(), all_are_well: true };
    let found = search.find(domain).await;
    // An exchange that is not fit for some messages is well.
    if !search.all_are_well && found.is_err() {
        slot.failed(&context.stack.current().relay);
    }
    found
}

/// A connection to an exchange that can take this message. The exchange that `lacking` leads to cannot, as it has shown.
/// That connection is ended before another exchange is tried: both may be one host that allows us one connection. The
/// message fails for good only when every exchange said so.
///
/// # Errors
/// [`Nowhere`].
pub(super) async fn connect_elsewhere(
    context: &Context,
    slot: &DomainSlot,
    (domain, security): (&Domain, Security),
    mail: &Outgoing<'_>,
    (lacking, obstacle): (Connection, Reply),
) -> Result<Connection, Nowhere> {
    let refusals = vec![(Arc::clone(lacking.exchange()), Verdict::Ours(obstacle.clone()))];
    let held = Some((lacking, obstacle));
    let mut search = Search { context, slot, security, mail: Some(mail), held, refusals, all_are_well: true };
    match search.find(domain).await {
        Ok(connection) => Ok(connection),
        Err(verdict) => Err(Nowhere { verdict, kept: search.held.map(|(lacking, _)| lacking) }),
    }
}

/// There is no other exchange that can take a message.
#[derive(Debug)]
pub(super) struct Nowhere {
    /// What that means for the message.
    pub(super) verdict: Verdict,
    /// The connection that there was, if no other exchange was tried.
    pub(super) kept: Option<Connection>,
}

/// Goes from one exchange to the next.
struct Search<'a> {
    context: &'a Context,
    slot: &'a DomainSlot,
    security: Security,
    /// What the exchange must be able to take; without it, any exchange will do.
    mail: Option<&'a Outgoing<'a>>,
    /// A connection that ends before another is opened, and what its exchange lacks.
    held: Option<(Connection, Reply)>,
    /// The exchanges that will not do, and what that means for the mail.
    refusals: Vec<(Arc<Exchange>, Verdict)>,
    /// Whether no exchange has failed.
    all_are_well: bool,
}

impl Search<'_> {
    async fn find(&mut self, domain: &Domain) -> Result<Connection, Verdict> {
        let Ok(found) = self.slot.until_shutdown(route::exchanges(self.context, domain)).await else {
            return Err(Verdict::Released);
        };
        let Found { exchanges, mut unanswered } = found.map_err(Verdict::Ours)?;
        for exchange in exchanges.into_iter().map(Arc::new) {
            if self
                .refusals
                .iter()
                .any(|(known, _)| (&known.name, &known.address) == (&exchange.name, &exchange.address))
            {
                continue;
            }
            let broken = match self.open(&exchange).await {
                Ok(connection) => return Ok(connection),
                Err(broken) => broken,
            };
            let verdict = broken.verdict(&exchange);
            // It says nothing about the exchange, and our store would fail at the next one too.
            if matches!(broken, Broken::Store(_)) {
                return Err(verdict);
            }
            self.all_are_well &= broken.is_about_fitness();
            if matches!(broken, Broken::Interrupted(_)) {
                return Err(verdict);
            }
            facts::RelayExchangeFailed { exchange: &exchange.name, error: &broken }.log();
            if broken.is_a_loop() {
                // Neither this exchange nor one that is not preferred to it (RFC 5321 §5.1).
                self.refusals.retain(|(earlier, _)| earlier.preference < exchange.preference);
                unanswered.take_if(|unanswered| unanswered.preference >= exchange.preference);
                self.refusals.push((exchange, verdict));
                break;
            }
            self.refusals.push((exchange, verdict));
        }
        Err(self.decisive(unanswered))
    }

    /// What becomes of the mail when no exchange will do. An exchange that may take it later counts more than a refusal
    /// for good, and so does one whose name could not be looked up: nobody has asked it.
    fn decisive(&mut self, unanswered: Option<Unanswered>) -> Verdict {
        if let Some(index) = self.refusals.iter().position(|(_, verdict)| !verdict.is_permanent()) {
            return self.refusals.swap_remove(index).1;
        }
        match (unanswered, self.refusals.pop()) {
            (Some(Unanswered { reply, .. }), _) => Verdict::Ours(reply),
            (None, Some((_, last))) => last,
            (None, None) => Verdict::Ours(Reply::new(451, (4, 4), "no exchange to connect to")),
        }
    }

    async fn open(&mut self, exchange: &Arc<Exchange>) -> Result<Connection, Broken> {
        if let Some((lacking, obstacle)) = self.held.take() {
            lacking.quit_because(obstacle.on_one_line()).await;
        }
        let connection = Connection::open(self.context, self.slot, exchange, self.security).await?;
        let Some(mail) = self.mail else { return Ok(connection) };
        match connection.check(self.context, mail).await {
            Ok(()) => Ok(connection),
            Err(broken) => {
                connection.quit_because(&broken).await;
                Err(broken)
            }
        }
    }
}
