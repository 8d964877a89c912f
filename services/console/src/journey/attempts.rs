//! The attempts to send a message, as its store tells of them.

use internal_api::{Event, EventKind};
use jiff::Timestamp;
use mail_proto::{Domain, Mailbox};

/// An attempt: a claim, and what became of the recipients in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attempt<'e> {
    /// When it was claimed.
    pub(super) claimed_at: Timestamp,
    /// For whom.
    pub(super) recipients: Vec<&'e Mailbox>,
    /// How often the first of them was tried, this time included.
    pub(super) number: u32,
    /// What became of them, in order.
    pub(super) outcomes: Vec<&'e Event>,
}

impl Attempt<'_> {
    /// The domain of all its recipients.
    pub(super) fn domain(&self) -> Option<&Domain> {
        self.recipients.first().map(|recipient| recipient.domain())
    }

    /// Whether it is about one of these.
    pub(super) fn concerns(&self, others: &[Mailbox]) -> bool {
        // A record without recipients may be about anybody.
        others.is_empty() || others.iter().any(|other| self.recipients.contains(&other))
    }

    /// When the last of its outcomes was written; absent while it lasts.
    pub(super) fn ended_at(&self) -> Option<Timestamp> {
        self.outcomes.last().map(|event| event.at)
    }

    fn takes(&self, event: &Event) -> bool {
        decided(&event.kind).is_some_and(|recipients| !recipients.is_empty() && self.concerns(recipients))
    }
}

/// The recipients about whom an attempt has decided something.
fn decided(kind: &EventKind) -> Option<&[Mailbox]> {
    match kind {
        EventKind::Deferred { recipients, .. }
        | EventKind::Relayed { recipients, .. }
        | EventKind::Failed { recipients, .. }
        | EventKind::Expired { recipients, .. }
        | EventKind::Finished { recipients } => Some(recipients),
        _ => None,
    }
}

/// The attempts that these events tell of, in the order of their claims; and the outcomes that no claim came before: the
/// store has refused a recipient itself, or its events begin later.
pub(super) fn attempts(events: &[Event]) -> (Vec<Attempt<'_>>, Vec<&Event>) {
    let mut attempts: Vec<Attempt<'_>> = Vec::new();
    let mut others = Vec::new();
    for event in events {
        if let EventKind::Claimed { recipients, .. } = &event.kind {
            attempts.push(Attempt {
                claimed_at: event.at,
                number: recipients.first().map_or(1, |recipient| recipient.attempts),
                recipients: recipients.iter().map(|recipient| &recipient.mailbox).collect(),
                outcomes: Vec::new(),
            });
        } else if decided(&event.kind).is_some() {
            match attempts.iter_mut().rev().find(|attempt| attempt.takes(event)) {
                Some(attempt) => attempt.outcomes.push(event),
                None => others.push(event),
            }
        }
    }
    (attempts, others)
}
