//! What goes wrong on purpose between the relay and an exchange.

use super::{Connection, Outgoing};
use crate::relay::{
    Context,
    route::{Destination, Exchange},
};
use faults::{Action, Cut, Faults, Outcome, Point, ShapedIo, Shaping};
use mail_net::{Hop, Io};
use mail_proto::smtp::{Reply, ReplyReader, client::Awaited};
use records::Recording;
use std::{fmt, io, time::Duration};
use town_config::Stack;

/// What faults know a connection by.
#[derive(Debug)]
pub(super) struct Faulted {
    faults: Faults,
    /// The exchange by each of its names, and the destination.
    peers: [String; 3],
    /// The server of the town that has the destination.
    peer_stack: Option<String>,
    shaping: Option<Shaping>,
    /// The transaction that is under way, while there are faults.
    transaction: Option<Box<Addresses>>,
    /// What happens to the next reply.
    next: Option<Action>,
    /// The exchange and we no longer mean the same: nothing more is sent.
    pub(super) is_out_of_step: bool,
}

#[derive(Debug)]
struct Addresses {
    mail_from: String,
    recipients: Vec<String>,
}

impl Faulted {
    pub(super) fn new(context: &Context, destination: &Destination, exchange: &Exchange, stack: &Stack) -> Self {
        let peer_stack = match destination {
            Destination::Domain(domain) => stack.server_of(domain).map(ToString::to_string),
            Destination::Smarthost(_) => None,
        };
        let peers = [exchange.name.clone(), exchange.address.clone(), destination.to_string()];
        Self {
            faults: context.faults.clone(),
            peers,
            peer_stack,
            shaping: None,
            transaction: None,
            next: None,
            is_out_of_step: false,
        }
    }

    /// Whether anything can go wrong.
    pub(super) fn is_on(&self) -> bool {
        self.faults.is_on_at(Hop::SmtpToPeer)
    }

    /// What goes wrong at a command. `recipient` is the place of the one that RCPT names; every other command is about all.
    fn at(&self, verbs: &[&str], recipient: Option<usize>, recording: &Recording) -> Option<Box<Outcome>> {
        let peers = self.peers.each_ref().map(String::as_str);
        let (mail_from, recipients) = match &self.transaction {
            Some(addresses) => {
                let all = addresses.recipients.as_slice();
                let named = recipient.and_then(|index| all.get(index)).map(std::slice::from_ref);
                (Some(addresses.mail_from.as_str()), named.unwrap_or(all))
            }
            None => (None, [].as_slice()),
        };
        let peer_stack = self.peer_stack.as_deref();
        let outcome = self.faults.at(&Point {
            peers: &peers,
            peer_stack,
            mail_from,
            recipients,
            is_shapable: self.shaping.is_some() || verbs == ["CONNECT"],
            ..Point::of(Hop::SmtpToPeer, verbs)
        })?;
        recording.fault(&self.faults, &outcome);
        Some(outcome)
    }

    /// Connects while there are faults.
    pub(super) async fn dial(
        &mut self,
        context: &Context,
        recording: &Recording,
        dialing: impl Future<Output = io::Result<Box<dyn Io>>>,
    ) -> io::Result<Box<dyn Io>> {
        let outcome = self.at(&["CONNECT"], None, recording).unwrap_or_default();
        context.clock.io.sleep(outcome.delay).await;
        match &outcome.action {
            Some(Action::Refuse | Action::Cut(_)) => {
                return Err(broken(io::ErrorKind::ConnectionRefused, "refused", outcome.names()));
            }
            Some(Action::Stall) => std::future::pending().await,
            _ => {}
        }
        let (io, shaping) = ShapedIo::wrap(dialing.await?, context.clock.io);
        shaping.add(outcome.shape);
        (self.shaping, self.next) = (Some(shaping), outcome.action);
        Ok(io)
    }
}

fn broken(kind: io::ErrorKind, how: &str, why: impl fmt::Display) -> io::Error {
    io::Error::new(kind, format!("{how} by the fault {why}"))
}

impl Connection {
    /// Tells faults which transaction begins.
    pub(super) fn tell_faults(&mut self, mail: &Outgoing<'_>) {
        self.faulted.transaction = self.faulted.is_on().then(|| {
            let mail_from = mail.message.reverse_path.bare();
            let recipients = mail.recipients.iter().map(|recipient| recipient.mailbox.to_string()).collect();
            Box::new(Addresses { mail_from, recipients })
        });
    }

    /// The next reply, while there are faults.
    pub(super) async fn reply_or_fault(&mut self, patience: Duration) -> io::Result<Reply> {
        let awaited = self.client.awaited();
        let recipient = if let Awaited::Rcpt(index) = awaited { Some(index) } else { None };
        let verbs: &[&str] = match awaited {
            Awaited::Greeting => &["EHLO", "HELO"],
            Awaited::Mail => &["MAIL"],
            Awaited::Rcpt(_) => &["RCPT"],
            Awaited::Data => &["DATA"],
            Awaited::FinalDot => &["."],
            Awaited::Quit => &["QUIT"],
        };
        let outcome = match self.faulted.next.take() {
            Some(action) => Outcome { action: Some(action), ..Outcome::default() },
            None => match self.faulted.at(verbs, recipient, &self.recording) {
                Some(outcome) => *outcome,
                None => return self.unspoilt_reply(patience).await,
            },
        };
        if let Some(shaping) = &self.faulted.shaping {
            shaping.add(outcome.shape);
        }
        let names = outcome.names();
        if outcome.delay >= patience || outcome.action == Some(Action::Stall) {
            self.io.sleep_until(self.stream.deadline_after(patience)).await;
            return Err(broken(io::ErrorKind::TimedOut, "kept silent", names));
        }
        self.io.sleep(outcome.delay).await;
        let patience = patience - outcome.delay;
        match outcome.action {
            None | Some(Action::Dns(_) | Action::Status(_) | Action::Stall) => self.unspoilt_reply(patience).await,
            Some(Action::Cut(Cut::AfterReply)) => {
                self.faulted.next = Some(Action::Refuse);
                self.unspoilt_reply(patience).await
            }
            Some(Action::Cut(_) | Action::Refuse) => Err(broken(io::ErrorKind::ConnectionReset, "cut", names)),
            // What the exchange says instead is heard, and comes to nothing.
            Some(Action::Reply(text) | Action::Corrupt(text)) => {
                let heard = self.unspoilt_reply(patience).await?;
                let reply = ReplyReader::default().line(text.as_bytes()).map_err(io::Error::other)?;
                let is_other = reply.as_ref().is_some_and(|reply| reply.code() / 100 != heard.code() / 100);
                self.faulted.is_out_of_step = is_other && self.client.awaited() != Awaited::FinalDot;
                reply.ok_or_else(|| broken(io::ErrorKind::InvalidData, "left unfinished", names))
            }
        }
    }

    async fn unspoilt_reply(&mut self, patience: Duration) -> io::Result<Reply> {
        match self.client.awaited() {
            Awaited::FinalDot => self.unspoilt_answer(patience).await,
            _ => self.reply_within(patience).await,
        }
    }
}
