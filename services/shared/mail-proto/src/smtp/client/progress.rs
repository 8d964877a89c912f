//! A transaction under way: which commands wait for their replies, and what is known about each recipient.

use super::{Client, State};
use crate::smtp::{Reply, Status};
use std::collections::VecDeque;

/// What is known about one recipient of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The server has decided by this reply.
    Decided(Reply),
    /// The server takes no more recipients in this transaction: this one belongs into the next
    /// (RFC 5321 §4.5.3.1.10).
    Postponed(Reply),
    /// The server has not decided.
    Undecided,
}

impl Verdict {
    /// What the server has said, if it has said anything.
    pub fn into_reply(self) -> Option<Reply> {
        match self {
            Self::Decided(reply) | Self::Postponed(reply) => Some(reply),
            Self::Undecided => None,
        }
    }
}

/// What a sent command was, so that its reply can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    Mail,
    /// The recipient's index.
    Rcpt(usize),
    Data,
}

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Progress {
    /// Sent or to be sent, in order; the first is the one whose reply is awaited.
    pub(super) pending: VecDeque<(Pending, Vec<u8>)>,
    pub(super) verdicts: Vec<Verdict>,
    /// How many recipients the server has taken.
    pub(super) accepted: usize,
    /// How many replies in a row have said that there are too many recipients.
    pub(super) over_limit: usize,
}

impl Progress {
    pub(super) fn all(&self) -> Vec<u8> {
        self.pending.iter().flat_map(|(_, line)| line).copied().collect()
    }

    pub(super) fn first(&self) -> Vec<u8> {
        self.pending.front().map(|(_, line)| line.clone()).unwrap_or_default()
    }

    /// Whether any recipient is still to get the message.
    pub(super) fn is_wanted(&self) -> bool {
        self.verdicts.contains(&Verdict::Undecided)
    }

    /// Decides about all that are undecided.
    pub(super) fn decide(&mut self, reply: &Reply) {
        for verdict in self.verdicts.iter_mut().filter(|verdict| **verdict == Verdict::Undecided) {
            *verdict = Verdict::Decided(reply.clone());
        }
    }

    /// Leaves all recipients that were not named yet to the next transaction.
    pub(super) fn postpone_pending(&mut self, reply: &Reply) {
        for (pending, _) in &self.pending {
            if let Pending::Rcpt(index) = pending {
                self.verdicts[*index] = Verdict::Postponed(reply.clone());
            }
        }
        self.pending.retain(|(pending, _)| *pending == Pending::Data);
    }
}

/// The enhanced status of "too many recipients" (RFC 3463 §3.6).
pub(super) const TOO_MANY_RECIPIENTS: Status = (5, 3);

/// Whether the refusal of a recipient, after others were taken, means that the transaction has enough of them: 452, or
/// the 552 of older servers (RFC 5321 §4.5.3.1.10). One about the address or the mailbox (RFC 3463 §3.2, §3.3) does not.
pub(super) fn says_too_many_recipients(reply: &Reply) -> bool {
    match (reply.code(), reply.status()) {
        (452, Some((subject, _))) => subject != 1 && subject != 2,
        (552, Some(status)) => status == TOO_MANY_RECIPIENTS,
        (code, None) => code == 452 || code == 552,
        _ => false,
    }
}

impl Client {
    /// Halves the number of recipients, for a server that takes too long at the commands of this transaction. Returns
    /// whether the next transaction is for fewer.
    pub fn halve_recipients(&mut self) -> bool {
        let State::Commands(Progress { pending, verdicts, .. }) = &self.state else { return false };
        let unanswered = pending.iter().filter(|(pending, _)| matches!(pending, Pending::Rcpt(_))).count();
        self.recipient_limit = Some((verdicts.len().saturating_sub(unanswered) / 2).max(1));
        self.recipient_limit < Some(verdicts.len())
    }
}
