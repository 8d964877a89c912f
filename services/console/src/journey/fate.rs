//! What has become of a message for each recipient.

use super::{Fate, Known, Outcome, join};
use internal_api::{DeletedBy, Event, EventKind, Handled, MessageId, reports::GIVEN_UP};
use mail_proto::Mailbox;

/// How many servers a message is followed over.
const MOST_HOPS: usize = 16;

/// For all recipients of the envelope, in the order in which the store has named them.
pub(super) fn of_all(known: &Known, message: MessageId) -> Vec<Fate> {
    let Some(mail) = known.mail.get(&message) else { return Vec::new() };
    let mut addresses: Vec<&Mailbox> = Vec::new();
    for event in &mail.events {
        for recipient in named(&event.kind) {
            if !addresses.contains(&recipient) {
                addresses.push(recipient);
            }
        }
    }
    addresses.into_iter().map(|address| of(known, message, address, 0)).collect()
}

/// The recipients whom an event is about.
fn named(kind: &EventKind) -> Vec<&Mailbox> {
    match kind {
        EventKind::Delivered { recipients }
        | EventKind::Queued { recipients }
        | EventKind::Deferred { recipients, .. }
        | EventKind::Relayed { recipients, .. }
        | EventKind::Failed { recipients, .. }
        | EventKind::Expired { recipients, .. }
        | EventKind::Finished { recipients }
        | EventKind::Held { recipients }
        | EventKind::Released { recipients }
        | EventKind::Deleted { recipients, .. } => recipients.iter().collect(),
        EventKind::Claimed { recipients, .. } => recipients.iter().map(|recipient| &recipient.mailbox).collect(),
        EventKind::Accepted { .. }
        | EventKind::Bounced { .. }
        | EventKind::Reported { .. }
        | EventKind::Restored { .. } => Vec::new(),
    }
}

fn of(known: &Known, message: MessageId, address: &Mailbox, hops: usize) -> Fate {
    let fate = |outcome, sentence| Fate { address: address.to_string(), outcome, sentence };
    let events = known.mail.get(&message).map(|mail| mail.events.as_slice()).unwrap_or_default();
    let about: Vec<&Event> = events.iter().filter(|event| named(&event.kind).contains(&address)).collect();
    let Some(last) = about.last() else {
        return fate(Outcome::Waiting, "Nothing is known of it there.".to_owned());
    };
    let is_in_mailbox = about.iter().any(|event| matches!(event.kind, EventKind::Delivered { .. }));
    match &last.kind {
        EventKind::Relayed { exchange, peer_id, .. } => {
            let there = peer_id.filter(|id| known.mail.contains_key(id) && hops < MOST_HOPS);
            match there {
                Some(there) => {
                    let next = of(known, there, address, hops + 1);
                    // An alias there has other recipients.
                    if next.sentence.starts_with("Nothing is known") {
                        return fate(Outcome::Ok, format!("{exchange} has it for other addresses."));
                    }
                    next
                }
                None => fate(Outcome::Ok, format!("{exchange} has it. What it does with it is not known here.")),
            }
        }
        EventKind::Delivered { .. } if is_read(known, message, address) => fate(Outcome::Ok, "It was read.".to_owned()),
        EventKind::Delivered { .. } => fate(Outcome::Ok, "It is in the mailbox, and nobody has read it.".to_owned()),
        EventKind::Deleted { by: DeletedBy::Operator, .. } => {
            fate(Outcome::Refused, "An operator has removed it from the queue.".to_owned())
        }
        EventKind::Deleted { .. } if is_in_mailbox => {
            let read = if is_read(known, message, address) { "It was read, and deleted" } else { "It was deleted" };
            fate(Outcome::Ok, format!("{read}."))
        }
        EventKind::Deleted { .. } => fate(Outcome::Ok, "It was deleted.".to_owned()),
        EventKind::Failed { said_by: None, reply, .. } if reply == GIVEN_UP => {
            fate(Outcome::Refused, "An operator has given it up.".to_owned())
        }
        EventKind::Failed { said_by, reply, .. } => {
            let who = said_by.as_deref().unwrap_or("This server");
            fate(Outcome::Refused, format!("{who} has refused it for good: {reply}"))
        }
        EventKind::Expired { reply, .. } => fate(Outcome::Refused, format!("It was given up: {reply}")),
        EventKind::Finished { .. } => fate(Outcome::Ok, "It has left the queue.".to_owned()),
        EventKind::Deferred { reply, .. } => fate(Outcome::Waiting, format!("It waits for the next attempt: {reply}")),
        EventKind::Held { .. } => fate(Outcome::Waiting, "An operator holds it.".to_owned()),
        EventKind::Claimed { .. } => fate(Outcome::Waiting, "It is being sent.".to_owned()),
        _ => fate(Outcome::Waiting, "It waits to be sent.".to_owned()),
    }
}

fn is_read(known: &Known, message: MessageId, address: &Mailbox) -> bool {
    let address = address.to_string();
    join::handlings(known, message).iter().any(|handling| {
        let user = handling.session.session.user.as_deref();
        handling.how == Handled::Fetched && user.is_none_or(|user| user.eq_ignore_ascii_case(&address))
    })
}
