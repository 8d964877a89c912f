//! SMTP to an exchange: the stream on one side, the client's state machine on the other.

mod body;
mod faulted;
mod fitness;
mod opening;

use super::{
    Context,
    broken::{Broken, BrokenTransaction, is_about_the_session},
    route::Exchange,
    security::Security,
    slots::{DomainSlot, Stage},
    verdict::Verdict,
};
use body::{Body, Framing};
use bytes::Bytes;
use faulted::Faulted;
use internal_api::{ApiError, ClaimedMessage, Handled, Mark, RawMessage};
use mail_net::{Closed, IoClock, LineStream};
use mail_proto::smtp::{
    Recipient, Reply, ReplyReader,
    client::{self, Awaited, Client, Step, Transaction},
};
use opening::Way;
use records::{LISTED, Recording};
use std::{fmt, io, sync::Arc, time::Duration};
use town_config::{Patience, Smarthost, Stack};

/// How long an exchange that has closed the connection may take over its last reply.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a transaction may take until the message is sent. A thousand recipients with minutes for each reply would last
/// for days, beyond the expiry of the message.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How much is read at once, and the largest piece of a message that is encoded at once.
const BUFFER_OCTETS: usize = 16 * 1024;

/// A connection to an exchange that is ready for transactions.
#[derive(Debug)]
pub(crate) struct Connection {
    exchange: Arc<Exchange>,
    stream: LineStream,
    client: Client,
    replies: ReplyReader,
    io: IoClock,
    patience: Patience,
    /// Whether lines of replies may end with LF alone.
    takes_bare_lf: bool,
    /// Whether TLS is spoken, and a certificate has proved the name of the exchange.
    is_verified: bool,
    /// The smarthost by the configuration with which it was opened, if the exchange is it.
    smarthost: Option<Smarthost>,
    transactions: u32,
    /// Whether the exchange has taken a message over it.
    has_carried: bool,
    /// What goes wrong on purpose.
    faulted: Faulted,
    /// It ends after the stream.
    recording: Recording,
}

/// A message for some of its recipients. Its octets may be at hand.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) message: &'a ClaimedMessage,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) body: Option<Bytes>,
    /// What goes before it.
    pub(crate) trace: Option<String>,
}

impl Outgoing<'_> {
    /// What is said of it before its octets.
    fn transaction(&self) -> Transaction {
        let reverse_path = self.message.reverse_path.clone();
        let mut parameters = self.message.parameters.clone();
        // Who named an alias in ASCII need not know what it stands for.
        parameters.smtputf8 |= self.goes_beyond_ascii();
        let octets = self.message.octets + self.trace.as_ref().map_or(0, |trace| trace.len() as u64);
        Transaction { reverse_path, parameters, recipients: self.recipients.clone(), octets }
    }

    /// Its octets, as they were received.
    async fn open(&self, context: &Context) -> Result<RawMessage, ApiError> {
        match &self.body {
            Some(octets) => Ok(RawMessage::from(octets.clone())),
            None => context.store.message(self.message.id).await,
        }
    }
}

impl Connection {
    /// Whom this is a connection to.
    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// How many recipients the exchange takes in one transaction, as far as it has shown.
    pub(crate) fn recipient_limit(&self) -> Option<usize> {
        self.client.recipient_limit()
    }

    /// How many messages it has carried, or tried to.
    pub(crate) fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Whether the exchange takes one more message over this connection (RFC 9422 §4.1).
    pub(crate) fn takes_another(&self) -> bool {
        self.client.extensions().limits.transactions.is_none_or(|limit| self.transactions < limit)
    }

    /// Whether mail that needs this may go over it by the configuration in force. It may have been opened by an earlier
    /// one, or for other mail.
    pub(crate) fn is_fit_for(&self, security: Security, stack: &Stack) -> bool {
        // While there are faults, each message has a connection of its own, so that one of a connection concerns it.
        !self.faulted.is_on()
            && self.smarthost == stack.relay.smarthost
            && (self.is_verified || !Way::to(&self.exchange, stack, security).is_verified())
            && self.is_promised(security)
    }

    /// The connection, if the exchange has neither closed it nor said anything that nobody asked for.
    pub(crate) fn if_quiet(mut self) -> Option<Self> {
        if self.stream.is_quiet() {
            return Some(self);
        }
        self.recording.ends("the exchange has closed it while it was kept");
        None
    }

    /// Sends one message to these recipients. Returns a verdict for each, in their order.
    ///
    /// # Errors
    /// [`BrokenTransaction`]; the connection is of no more use then. With [`Broken::Unable`], nothing was sent: the
    /// connection is as it was, and there are no verdicts.
    pub(crate) async fn transact(
        &mut self,
        context: &Context,
        slot: &DomainSlot,
        mail: &Outgoing<'_>,
    ) -> Result<Vec<Verdict>, BrokenTransaction> {
        if let Err(broken) = self.check(context, mail).await {
            return Err(self.unsent(broken, mail));
        }
        self.transactions += 1;
        self.tell_faults(mail);
        self.record(Handled::Sending, mail, |_| true);
        let outcome = self.transact_unrecorded(context, slot, mail).await;
        let verdicts = match &outcome {
            Ok(verdicts) => verdicts,
            Err(BrokenTransaction { broken, verdicts, .. }) => {
                self.recording.breaks(broken);
                verdicts
            }
        };
        if verdicts.iter().any(Verdict::is_taken) {
            self.record(Handled::Relayed, mail, |index| verdicts.get(index).is_some_and(Verdict::is_taken));
        }
        outcome
    }

    /// A transaction that did not begin.
    fn unsent(&self, broken: Broken, mail: &Outgoing<'_>) -> BrokenTransaction {
        let verdicts = match broken {
            Broken::Unable(_) => Vec::new(),
            _ => {
                self.recording.ends(&broken);
                vec![broken.verdict(&self.exchange); mail.recipients.len()]
            }
        };
        BrokenTransaction { broken, verdicts, is_old_and_undecided: false }
    }

    /// Records what happens to a message and those of its recipients that `is_concerned` names by their places.
    fn record(&self, how: Handled, mail: &Outgoing<'_>, is_concerned: impl Fn(usize) -> bool) {
        self.recording.mark(|| {
            let concerned = mail.recipients.iter().enumerate().filter(|(index, _)| is_concerned(*index));
            let recipients = concerned.map(|(_, recipient)| recipient.mailbox.clone()).take(LISTED).collect();
            Mark::Message { message: mail.message.id, how, transaction: self.transactions, recipients }
        });
    }

    async fn transact_unrecorded(
        &mut self,
        context: &Context,
        slot: &DomainSlot,
        mail: &Outgoing<'_>,
    ) -> Result<Vec<Verdict>, BrokenTransaction> {
        let recipients = mail.recipients.len();
        match self.try_transact(context, slot, mail).await {
            Ok(verdicts) => {
                if self.has_carried
                    && let Some(refusal) = self.client.sender_refusal().filter(|refusal| is_about_the_session(refusal))
                {
                    let broken = Broken::Refused(refusal.clone());
                    return Err(BrokenTransaction { broken, verdicts, is_old_and_undecided: true });
                }
                self.has_carried |= verdicts.iter().any(Verdict::is_taken);
                Ok(verdicts)
            }
            Err(broken) => {
                let is_old_and_undecided = self.transactions > 1 && self.client.is_at_commands();
                let is_too_much = matches!(broken, Broken::TooSlow) && self.client.halve_recipients();
                let known = self.client.give_up().unwrap_or_else(|| vec![client::Verdict::Undecided; recipients]);
                let undecided = match broken.verdict(&self.exchange) {
                    // The next transaction is for fewer, and comes to its end.
                    Verdict::Ours(reply) if is_too_much => Verdict::Untried(reply),
                    verdict => verdict,
                };
                let verdicts =
                    known.into_iter().map(|known| self.verdict(known).unwrap_or(undecided.clone())).collect();
                Err(BrokenTransaction { broken, verdicts, is_old_and_undecided })
            }
        }
    }

    /// `None` for a recipient about whom nothing was decided.
    fn verdict(&self, known: client::Verdict) -> Option<Verdict> {
        match known {
            client::Verdict::Decided(reply) if reply.is_positive() => {
                let (exchange, reports) = (Arc::clone(&self.exchange), self.client.extensions().dsn);
                Some(Verdict::Taken { reply, exchange, reports })
            }
            client::Verdict::Decided(reply) => Some(Verdict::Said(reply, Arc::clone(&self.exchange))),
            client::Verdict::Postponed(reply) => Some(Verdict::Untried(reply)),
            client::Verdict::Undecided => None,
        }
    }

    async fn try_transact(
        &mut self,
        context: &Context,
        slot: &DomainSlot,
        mail: &Outgoing<'_>,
    ) -> Result<Vec<Verdict>, Broken> {
        let message = mail.message;
        let transaction = mail.transaction();
        let mut step = self.client.begin(&transaction);
        let (mut stage, started) = (Stage::BeforeDot, self.io.instant());
        loop {
            if stage == Stage::BeforeDot && self.io.since(started) >= TRANSACTION_TIMEOUT {
                return Err(Broken::TooSlow);
            }
            let sent = match step {
                Step::Send(octets) => {
                    self.nothing_unasked()?;
                    slot.wait(Stage::BeforeDot, self.send(&octets)).await?.map_err(Broken::from)
                }
                Step::SendBody | Step::SendChunk => {
                    self.nothing_unasked()?;
                    self.is_in_step()?;
                    let framing = if step == Step::SendBody { Framing::Dots } else { Framing::Octets };
                    stage = Stage::AfterDot;
                    // Not before: the exchange may have taken minutes for its replies, and the store waits only for seconds.
                    let raw = mail.open(context).await?;
                    let body = Body { raw, octets: message.octets, trace: mail.trace.as_deref() };
                    self.send_body(slot, framing, body).await
                }
                Step::Await | Step::Ready => Ok(()),
                Step::Finished(known) => {
                    return Ok(known.into_iter().filter_map(|known| self.verdict(known)).collect());
                }
                Step::Refused(reply) => return Err(Broken::Refused(reply)),
                Step::Unexpected(reply) => return Err(Broken::Unexpected(reply)),
                Step::LoginFailed(error) => return Err(error.into()),
                Step::StartTls | Step::SendSecret(_) | Step::InTheClear | Step::Closed => {
                    return Err(io::Error::from(Closed::End).into());
                }
            };
            let reply = match sent {
                Ok(()) if stage == Stage::AfterDot => slot.wait(stage, self.answer()).await??,
                Ok(()) => slot.wait(stage, self.reply()).await??,
                Err(broken) => return Err(self.last_words(broken).await),
            };
            step = self.client.reply(reply);
        }
    }

    /// Fails when a fault has said something else than the exchange: what follows would mean another thing to it.
    fn is_in_step(&self) -> io::Result<()> {
        if self.faulted.is_out_of_step {
            return Err(io::Error::other("a fault has replaced a reply of the exchange"));
        }
        Ok(())
    }

    /// Fails when the exchange has replied to what was not sent yet: no later reply could be told from it. Only while no
    /// reply is awaited.
    fn nothing_unasked(&self) -> io::Result<()> {
        if self.stream.has_input() {
            return Err(io::Error::other("the exchange replied before it was asked"));
        }
        Ok(())
    }

    /// An exchange that stops listening may have said why.
    async fn last_words(&mut self, broken: Broken) -> Broken {
        match &broken {
            Broken::Connection(_) if !self.faulted.is_out_of_step => {
                match self.reply_within(LAST_WORDS_TIMEOUT).await {
                    Ok(reply) if !reply.is_positive() => Broken::Refused(reply),
                    _ => broken,
                }
            }
            _ => broken,
        }
    }

    /// Says goodbye; whether the exchange hears it does not matter.
    pub(crate) async fn quit(mut self) {
        self.recording.ends("QUIT");
        if let Step::Send(octets) = self.client.quit() {
            let (io, patience) = (self.io, self.patience.quit);
            let goodbye = async {
                self.send(&octets).await?;
                self.reply().await
            };
            let _ = io.timeout(patience, goodbye).await;
        }
    }

    /// As [`Connection::quit`]; its recording ends with this reason.
    pub(crate) async fn quit_because(self, reason: impl fmt::Display) {
        self.recording.ends(reason);
        self.quit().await;
    }

    async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.is_in_step()?;
        self.stream.push(octets);
        Ok(self.stream.flush().await?)
    }

    /// The next reply, in the time that there is for it.
    async fn reply(&mut self) -> io::Result<Reply> {
        let Patience { greeting, mail, rcpt, data, final_dot, quit, .. } = self.patience;
        let patience = match self.client.awaited() {
            Awaited::Greeting => greeting,
            Awaited::Mail => mail,
            Awaited::Rcpt(_) => rcpt,
            Awaited::Data => data,
            Awaited::FinalDot => final_dot,
            Awaited::Quit => quit,
        };
        if self.faulted.is_on() {
            return Box::pin(self.reply_or_fault(patience)).await;
        }
        self.reply_within(patience).await
    }

    async fn reply_within(&mut self, patience: Duration) -> io::Result<Reply> {
        let deadline = self.stream.deadline_after(patience);
        loop {
            let line = self.stream.line(deadline).await?.map_err(io::Error::other)?;
            if let Some(reply) = self.replies.line(&line).map_err(io::Error::other)? {
                return Ok(reply);
            }
        }
    }
}

#[cfg(test)]
mod tests;
