//! A message on its way to its recipients, in as many transactions as the exchange wants.

use super::verdict::Verdict;
use internal_api::{ClaimedMessage, ClaimedRecipient};
use mail_proto::smtp::Reply;
use std::collections::VecDeque;

/// Recipients with what became of them.
pub(super) type Verdicts<'a> = Vec<(&'a ClaimedRecipient, Verdict)>;

/// A message, and those of its recipients that are not settled.
#[derive(Debug)]
pub(super) struct Delivery<'a> {
    pub(super) message: &'a ClaimedMessage,
    /// They belong into the next transaction.
    untried: VecDeque<&'a ClaimedRecipient>,
    /// Those who did not get the message. They wait for the last transaction, so that one report tells of all.
    refused: Verdicts<'a>,
}

impl<'a> Delivery<'a> {
    /// A message for all its recipients.
    pub(super) fn new(message: &'a ClaimedMessage) -> Self {
        Self { message, untried: message.recipients.iter().collect(), refused: Vec::new() }
    }

    /// The recipients of the next transaction, `limit` at most.
    pub(super) fn portion(&mut self, limit: Option<usize>) -> Vec<&'a ClaimedRecipient> {
        let count = limit.unwrap_or(usize::MAX).clamp(1, self.untried.len().max(1));
        self.untried.drain(..count.min(self.untried.len())).collect()
    }

    /// Takes a portion back that nothing was decided about.
    pub(super) fn put_back(&mut self, portion: Vec<&'a ClaimedRecipient>) {
        portion.into_iter().rev().for_each(|recipient| self.untried.push_front(recipient));
    }

    /// Whether no recipient is left.
    pub(super) fn is_done(&self) -> bool {
        self.untried.is_empty() && self.refused.is_empty()
    }

    /// Takes the verdicts on a portion, and returns what is to be settled now. The recipients that the exchange has left to
    /// the next transaction come again, unless this one has decided about nobody.
    pub(super) fn record(&mut self, portion: Vec<&'a ClaimedRecipient>, verdicts: Vec<Verdict>) -> Verdicts<'a> {
        let helped = verdicts.iter().any(|verdict| verdict.is_taken() || verdict.is_permanent());
        let mut taken = Vec::new();
        let mut postponed = Vec::new();
        let mut reason: Option<Reply> = None;
        for (recipient, verdict) in portion.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Untried(reply) => {
                    postponed.push(recipient);
                    reason = Some(reply);
                }
                verdict if verdict.is_taken() => taken.push((recipient, verdict)),
                verdict => self.refused.push((recipient, verdict)),
            }
        }
        self.put_back(postponed);
        if !helped {
            let reason = reason.unwrap_or_else(|| Reply::new(451, (4, 5), "not tried, because others were put off"));
            self.refused.extend(self.untried.drain(..).map(|recipient| (recipient, Verdict::Untried(reason.clone()))));
        }
        if self.untried.is_empty() {
            taken.append(&mut self.refused);
        }
        taken
    }

    /// As [`Delivery::record`], when the connection broke: those that were left to the next transaction get it over
    /// another connection.
    pub(super) fn record_broken(&mut self, portion: Vec<&'a ClaimedRecipient>, verdicts: Vec<Verdict>) -> Verdicts<'a> {
        let (untried, tried): (Vec<_>, Vec<_>) =
            portion.into_iter().zip(verdicts).partition(|(_, verdict)| matches!(verdict, Verdict::Untried(_)));
        self.put_back(untried.into_iter().map(|(recipient, _)| recipient).collect());
        self.refused.extend(tried);
        if self.untried.is_empty() { std::mem::take(&mut self.refused) } else { Vec::new() }
    }

    /// Ends it: a verdict on the whole message counts as an attempt only if the message was not tried before.
    pub(super) fn end(mut self, verdict: &Verdict) -> (&'a ClaimedMessage, Verdicts<'a>) {
        let was_tried = self.untried.len() < self.message.recipients.len();
        let verdict = match verdict {
            Verdict::Said(reply, _) | Verdict::Ours(reply) if was_tried && !reply.is_permanent() => {
                Verdict::Untried(reply.clone())
            }
            verdict => verdict.clone(),
        };
        self.refused.extend(self.untried.drain(..).map(|recipient| (recipient, verdict.clone())));
        (self.message, self.refused)
    }
}
