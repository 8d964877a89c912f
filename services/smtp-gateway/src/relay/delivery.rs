//! A message on its way to its recipients, in as many transactions as the exchange wants.

use super::verdict::Verdict;
use internal_api::{ClaimedMessage, ClaimedRecipient};
use mail_proto::{Mailbox, smtp::Reply};
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
    /// How often another exchange was found for it since a transaction of it came to its end.
    pub(super) detours: usize,
}

impl<'a> Delivery<'a> {
    /// A message for all its recipients except those that the store has seen to. The targets of one alias stand together.
    pub(super) fn new(message: &'a ClaimedMessage) -> Self {
        let mut recipients: Vec<_> =
            message.recipients.iter().filter(|recipient| recipient.said_by_store.is_none()).collect();
        recipients.sort_by(|one, other| group(one).cmp(&group(other)));
        Self { message, untried: recipients.into(), refused: Vec::new(), detours: 0 }
    }

    /// The alias through which the message goes to the recipients of the next transaction.
    pub(super) fn via(&self) -> Option<&'a Mailbox> {
        self.untried.front().and_then(|recipient| recipient.via.as_ref())
    }

    /// The recipients of the next transaction, `limit` at most. They are of one [`group`].
    pub(super) fn portion(&mut self, limit: Option<usize>) -> Vec<&'a ClaimedRecipient> {
        let first = self.untried.front().map(|recipient| group(recipient));
        let together = self.untried.iter().take_while(|recipient| Some(group(recipient)) == first).count();
        let count = limit.unwrap_or(usize::MAX).clamp(1, together.max(1));
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
    /// the next transaction come again, unless this one has decided about nobody. Then the others of the same [`group`]
    /// wait too.
    pub(super) fn record(&mut self, portion: Vec<&'a ClaimedRecipient>, verdicts: Vec<Verdict>) -> Verdicts<'a> {
        let tried = portion.first().map(|recipient| group(recipient));
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
            let (alike, others): (VecDeque<_>, _) =
                self.untried.drain(..).partition(|recipient| Some(group(recipient)) == tried);
            self.refused.extend(alike.into_iter().map(|recipient| (recipient, Verdict::Untried(reason.clone()))));
            self.untried = others;
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

/// What recipients have in common who get a message in one transaction. They get it through one alias, or through none:
/// its trace fields tell which. Addresses beyond ASCII are apart: not every server takes them (RFC 6531).
fn group(recipient: &ClaimedRecipient) -> (Option<&Mailbox>, bool) {
    (recipient.via.as_ref(), !recipient.mailbox.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use internal_api::MessageId;
    use mail_proto::{ReversePath, smtp::MailParameters};

    /// A message for these recipients: `address`, or `address via`.
    fn message(recipients: &[&str]) -> ClaimedMessage {
        let recipient = |text: &&str| {
            let (address, via) = text.split_once(' ').map_or((*text, None), |(address, via)| (address, Some(via)));
            let mailbox: Mailbox = address.parse().unwrap();
            let via = via.map(|via| via.parse().unwrap());
            ClaimedRecipient { via, ..ClaimedRecipient::new(mailbox.into(), 1) }
        };
        ClaimedMessage {
            id: MessageId::from_number(1),
            reverse_path: ReversePath::Null,
            octets: 2,
            queued_at: jiff::Timestamp::UNIX_EPOCH,
            age_seconds: Some(0),
            parameters: MailParameters::default(),
            recipients: recipients.iter().map(recipient).collect(),
            inline: false,
        }
    }

    fn portion(delivery: &mut Delivery<'_>, limit: Option<usize>) -> String {
        let recipients = delivery.portion(limit);
        let names = recipients.iter().map(|recipient| recipient.mailbox.local_part().as_str());
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_alias_has_transactions_of_its_own() {
        let message = message(&["a@x l@y", "b@x k@y", "c@x", "d@x l@y", "e@x", "f@x l@y"]);
        let mut delivery = Delivery::new(&message);
        assert_eq!(portion(&mut delivery, None), "c e");
        assert_eq!(delivery.via().map(ToString::to_string), Some("k@y".to_owned()));
        assert_eq!(portion(&mut delivery, None), "b");
        assert_eq!(portion(&mut delivery, Some(2)), "a d");
        assert_eq!(portion(&mut delivery, Some(2)), "f");
        assert!(delivery.is_done());
    }

    #[test]
    fn addresses_beyond_ascii_have_transactions_of_their_own() {
        let message = message(&["é@x", "a@x l@y", "b@x", "è@x l@y", "c@x"]);
        let mut delivery = Delivery::new(&message);
        assert_eq!(portion(&mut delivery, None), "b c");
        assert_eq!(portion(&mut delivery, None), "é");
        assert_eq!(portion(&mut delivery, None), "a");
        assert_eq!(portion(&mut delivery, None), "è");
        assert!(delivery.is_done());
    }

    /// A transaction that decides about nobody puts off those who would get the message in the same way, and no others.
    #[test]
    fn who_gets_the_message_through_another_alias_does_not_wait() {
        let message = message(&["a@x", "b@x", "c@x l@y"]);
        let mut delivery = Delivery::new(&message);
        let first = delivery.portion(Some(1));
        let later = Verdict::Ours(Reply::new(451, (3, 0), "later"));
        assert!(delivery.record(first, vec![later]).is_empty());
        let last = delivery.portion(None);
        assert_eq!(last[0].mailbox.to_string(), "c@x");
        let settled = delivery.record(last, vec![Verdict::Ours(Reply::new(550, (1, 1), "no"))]);
        let settled: Vec<_> = settled.iter().map(|(recipient, _)| recipient.mailbox.to_string()).collect();
        assert_eq!(settled, ["a@x", "b@x", "c@x"]);
        assert!(delivery.is_done());
    }
}
